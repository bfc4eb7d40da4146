"""What follows from three records is made once, and anew when one of them is replaced."""

from __future__ import annotations

import msgspec

from app.models.keys import ClientKey
from app.models.limits import Group, Limit, Span, Unit
from app.services.client_terms import NO_TERMS, TermsBook, group_lost

CLIENT = ClientKey(id="ck_1", name="n", digest="", masked="", group="g_1")
TEAM = Group(id="g_1", name="team", limits=(Limit(unit=Unit.REQUESTS, span=Span.DAY, size=5),))
GATEWAY = Group(id="gateway", name="gateway", keep_bodies=True)


def test_terms_live_as_long_as_their_records() -> None:
    """The same object until the client, its group or the gateway's group is another one."""
    book, groups = TermsBook(), {"g_1": TEAM}
    first = book.of(CLIENT, groups)
    assert book.of(CLIENT, groups) is first
    assert (first.plan.empty, first.keeps_bodies, first.lost) == (False, False, False)
    for client, others in (
        (msgspec.structs.replace(CLIENT, rev=1), groups),
        (CLIENT, {"g_1": msgspec.structs.replace(TEAM, rev=1)}),
        (CLIENT, {"g_1": TEAM, "gateway": GATEWAY}),
    ):
        assert book.of(client, others) is not first
    assert book.of(CLIENT, {"g_1": TEAM, "gateway": GATEWAY}).keeps_bodies


def test_a_group_that_is_gone_is_noticed() -> None:
    """What it forbade is not known any more, so nothing is allowed; who has no group has lost none."""
    assert TermsBook().of(CLIENT, {}).lost
    assert not TermsBook().of(msgspec.structs.replace(CLIENT, group=""), {}).lost
    assert not NO_TERMS.lost
    assert group_lost().status == 503
