"""Entries and managed keys as they are stored."""

from __future__ import annotations

import msgspec
import pytest

from app.models.renewal import Entry, Kind, ManagedKey, Pace, Step, Terms

ENTRY = Entry(kind=Kind.RENEW, step=Step.SHIFT, key="old", name="main #0badcafe", terms=Terms(name="main"), stage=2)


def test_entries_come_back_as_they_were() -> None:
    """Through JSON, with what is missing at its default."""
    assert msgspec.json.decode(msgspec.json.encode(ENTRY), type=Entry) == ENTRY
    assert msgspec.json.decode(b'{"kind":"retire","step":"drain"}', type=Entry).pace == Pace()
    managed = ManagedKey(id="k", admin="a", terms=Terms(name="main", limit_nano=5), created_at=1.0)
    assert msgspec.json.decode(msgspec.json.encode(managed), type=ManagedKey) == managed


def test_an_entry_is_named_by_its_deed() -> None:
    """One of a kind for each key; a new key has only its name."""
    assert ENTRY.id == "renew:old"
    assert Entry(kind=Kind.CREATE, step=Step.CREATE, name="x #1").id == "create:x #1"


@pytest.mark.parametrize("step", Step)
def test_only_ends_are_closed(step: Step) -> None:
    """Everything else is gone on with."""
    assert msgspec.structs.replace(ENTRY, step=step).is_open is (step not in {Step.DONE, Step.UNDONE})
