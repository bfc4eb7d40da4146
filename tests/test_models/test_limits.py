"""Limits and terms as they are stored."""

from __future__ import annotations

import msgspec

from app.models.keys import ClientKey
from app.models.limits import Group, Injection, Limit, Span, Unit

LIMIT = Limit(unit=Unit.USD, span=Span.MONTH, size=25_000_000_000)


def test_the_id_stays_with_what_is_counted() -> None:
    """A change of size, of mode or for a time forgets nothing; counting something else does."""
    assert LIMIT.id == msgspec.structs.replace(LIMIT, size=1, shadow=True, raised_to=5, raised_until=9.0).id
    others = {
        LIMIT.id,
        msgspec.structs.replace(LIMIT, span=Span.DAY).id,
        msgspec.structs.replace(LIMIT, unit=Unit.REQUESTS).id,
        msgspec.structs.replace(LIMIT, models="openai/*").id,
        msgspec.structs.replace(LIMIT, each_user=True).id,
    }
    assert len(others) == 5


def test_a_raise_ends() -> None:
    """It counts until its end, and never lowers."""
    raised = msgspec.structs.replace(LIMIT, raised_to=30_000_000_000, raised_until=100.0)
    assert raised.size_at(99.9) == 30_000_000_000
    assert raised.size_at(100.0) == LIMIT.size
    assert msgspec.structs.replace(raised, raised_to=1).size_at(0.0) == LIMIT.size
    assert LIMIT.size_at(0.0) == LIMIT.size


def test_terms_are_stored_and_read() -> None:
    """Of clients and groups alike; what is not set takes no room."""
    group = Group(id="g_1", name="team", limits=(LIMIT,), injections=(Injection(field="user", value='"x"'),))
    assert msgspec.json.decode(msgspec.json.encode(group), type=Group) == group
    client = ClientKey(id="ck_1", name="n", digest="d", masked="m", group="g_1", clamp=True)
    stored = msgspec.json.encode(client)
    assert msgspec.json.decode(stored, type=ClientKey) == client
    assert b"limits" not in stored
