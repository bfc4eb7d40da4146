"""The journal's records: what is written is read, and what is left open is found."""

from __future__ import annotations

import msgspec
import pytest

from app.models.ledger import CostKind
from app.models.limits import Span
from app.models.usage import Usage
from app.services.settle_records import (
    OPENED,
    UNPROVEN,
    Closed,
    Named,
    Record,
    Unpriced,
    closed_in,
    entry_of,
    entry_packed,
    open_calls,
    packed,
    priced,
    unpacked,
    unproven,
    with_usage,
)
from tests.test_services.settle_world import a_sent, an_entry

J = "00000000000000aa"
PURSES = (("c:ck_1~a", Span.DAY), ("g:gateway~b~u", Span.TOTAL))


def raw(number: int = 1, **changes: object) -> msgspec.Raw:
    return msgspec.Raw(entry_packed(an_entry(J, number, **changes)))


@pytest.mark.parametrize(
    "record",
    [
        a_sent(7, spenders=("c:ck_1", "g:gateway"), purses=PURSES),
        Named(7, "gen-1"),
        Unpriced(7, raw(7), True, ("c:ck_1",), PURSES),
        Closed(7, raw(7), True, (), 5, 6, PURSES),
    ],
)
def test_what_is_written_is_read(record: Record) -> None:
    """Every kind of record comes back as it was."""
    found = unpacked(packed(record))
    assert type(found) is type(record)
    assert msgspec.msgpack.encode(found) == msgspec.msgpack.encode(record)


def test_entries_come_back_whole() -> None:
    """An entry stands in its record as it is stored in Redis."""
    entry = an_entry(J, 3, cost_nano=17, flags=("odd",))
    closed = closed_in(packed(Closed(3, msgspec.Raw(entry_packed(entry)))))
    assert closed is not None
    assert entry_of(closed) == entry
    assert bytes(closed.entry) == entry_packed(entry)
    assert closed_in(packed(Named(3, "gen-1"))) is None


@pytest.mark.parametrize("text", [b"", OPENED, b"E", b"Sxx", b"?\x91\x01", b"N\x92\x01\xff", b"E\x92\x01\x91\xc1"])
def test_what_cannot_be_read_is_passed_over(text: bytes) -> None:
    """Records of another release, and nonsense, are none."""
    assert unpacked(text) is None


@pytest.mark.parametrize("record", [a_sent(1, purses=PURSES), Unpriced(1, raw(), True, (), PURSES)])
def test_an_open_call_knows_its_purses(record: Record) -> None:
    """Whichever of its records is left."""
    (call,) = open_calls(J, [packed(record)])
    assert call.purses == PURSES


def test_an_entry_of_another_release_is_none() -> None:
    """Its record can be read, and what stands in it cannot."""
    closed = unpacked(packed(Closed(1, msgspec.Raw(b"\x91\x01"))))
    assert isinstance(closed, Closed)
    assert entry_of(closed) is None


def test_records_of_later_releases_may_have_more_fields() -> None:
    """Fields are added at the end, and those that are not known are passed over."""
    longer = b"N" + msgspec.msgpack.encode((7, "gen-1", "more"))
    assert unpacked(longer) == Named(7, "gen-1")
    shorter = b"E" + msgspec.msgpack.encode((7, 0))
    assert isinstance(unpacked(shorter), Closed)


def test_what_callers_write_is_bounded() -> None:
    """A model's name of a megabyte neither fills the journal nor the ledger."""
    long = "m" * 1_000_000
    sent = packed(a_sent(1, model=long, user=long))
    entry = entry_packed(an_entry(J, 1, model_asked=long, cost_nano=5))
    assert len(sent) < 2000
    assert len(entry) < 2000
    found = entry_of(Closed(1, msgspec.Raw(entry)))
    assert found is not None
    assert (found.cost_nano, found.model_asked) == (5, "m" * 256)
    assert len(packed(Named(1, long))) < 2000


def test_what_a_journal_leaves_open() -> None:
    """The last try counts, the last name, and of what is over the entry that is known."""
    texts = [
        OPENED,
        packed(a_sent(1)),
        packed(a_sent(2, key_id="k1")),
        packed(a_sent(2, key_id="k2")),
        packed(Named(1, "gen-1")),
        packed(Closed(1, raw(1))),
        packed(Named(2, "gen-a")),
        packed(Named(2, "/videos/2")),
        packed(a_sent(3, held=False, spenders=("c:ck_1",))),
        packed(Unpriced(4, raw(4, key_id="k4", generation_id="gen-4"), True)),
        packed(a_sent(5)),
        packed(Named(5, "gen-5")),
        packed(Unpriced(5, raw(5, outcome="left", key_id="k5"), True)),
        packed(Unpriced(6, msgspec.Raw(b"\x91\x01"))),
        b"?",
    ]
    two, three, four, five = open_calls(J, texts)
    assert (two.number, two.key_id, two.generation_id, two.held) == (2, "k2", "/videos/2", True)
    assert (two.entry.id, two.entry.outcome, two.entry.generation_id) == (f"{J}-2", "failed", "")
    assert two.tokens == (100, 50)
    assert (three.number, three.generation_id, three.held, three.spenders) == (3, "", False, ("c:ck_1",))
    assert (four.key_id, four.generation_id, four.held) == ("k4", "gen-4", True)
    assert (five.entry.outcome, five.generation_id, five.tokens) == ("left", "gen-5", (100, 50))


def test_a_call_that_was_cut_off_says_so() -> None:
    """Its entry tells all that was known before it was sent."""
    (call,) = open_calls(J, [packed(a_sent(9, group_id="g_1", user="u")), packed(Named(9, "gen-9"))])
    entry = call.entry
    assert (entry.id, entry.client_id, entry.group_id, entry.key_id) == (f"{J}-9", "ck_1", "g_1", "k1")
    assert (entry.outcome, entry.error, entry.generation_id) == ("failed", "gateway_died", "gen-9")
    assert (entry.reserved_nano, entry.user, entry.cost_nano) == (1_000_000, "u", 0)


def test_what_is_known_survives_a_poorer_report() -> None:
    """A record that does not speak of a detail does not take it away."""
    entry = an_entry(J, 1, cache_write_tokens=5, input_tokens=10, flags=("odd",))
    found = with_usage(entry, Usage(input_tokens=12, output_tokens=3, cost_nano=7, flags=("odd", "absurd:cost")))
    assert (found.input_tokens, found.output_tokens, found.cache_write_tokens, found.cost_nano) == (12, 3, 5, 7)
    assert found.flags == ("odd", "absurd:cost")


def test_prices_found_afterwards() -> None:
    """What is found out counts; what is not is charged as reserved, and flagged."""
    entry = an_entry(J, 1, reserved_nano=500)
    found = priced(entry, Usage(cost_nano=7, upstream_nano=2), (10, 20))
    assert (found.cost_nano, found.upstream_nano, found.cost_kind, found.flags) == (7, 2, CostKind.LOOKED_UP, ())
    charged = priced(entry, None, (10, 20))
    assert (charged.cost_nano, charged.cost_kind, charged.flags) == (500, CostKind.UNKNOWN, (UNPROVEN,))
    assert (charged.input_tokens, charged.output_tokens) == (10, 20)
    assert unproven(an_entry(J, 1, input_tokens=3), (10, 20)).input_tokens == 3
