"""The ledger's entry as it is journalled and stored."""

from __future__ import annotations

import msgspec

from app.models.ledger import CostKind, Entry, TryMade


def test_an_entry_is_stored_and_read() -> None:
    """Money and tokens stay whole numbers, whatever their size."""
    entry = Entry(
        id="ab-1",
        request_id="r",
        at_s=1795407344.5,
        client_id="ck_1",
        tries=(TryMade("k", "429 rate", 12.5), TryMade("l", "200", 300.0)),
        cost_nano=2**60 + 1,
        cost_kind=CostKind.REPORTED,
        flags=("doubled",),
    )
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(entry), type=Entry) == entry


def test_an_entry_of_a_newer_or_older_release_is_read() -> None:
    """Fields are added at the end: what is missing has its default, what is unknown is passed over."""
    whole = msgspec.msgpack.decode(msgspec.msgpack.encode(Entry(id="a-1", request_id="r", at_s=1.0, client_id="c")))
    older, newer = whole[:6], [*whole, "more"]
    for form in (older, newer):
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(form), type=Entry).client_id == "c"
