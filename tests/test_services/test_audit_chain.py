"""The audit's hash chain, without a store."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.audit_chain import START, Break, ChainCheck, Flaw, Head, head_of, link_hash, stored_head, with_loose

Entry = tuple[str, dict[bytes, bytes]]


def chain(forms: str) -> tuple[list[Entry], Head]:
    """Entries as they are stored: `b` before the chain began or loose, `l` a link."""
    entries: list[Entry] = []
    head, loose = Head(), b""
    for number, form in enumerate(forms, 1):
        entry_id, text = f"{number}-0", b"text %d" % number
        if form == "l":
            digest = link_hash(head, loose, text)
            fields = {b"entry": text, b"n": b"%d" % (head.number + 1), b"prev": head.hash.encode(),
                      b"hash": digest.encode()}  # fmt: skip
            head, loose = Head(head.number + 1, digest, entry_id), b""
        else:
            fields = {b"entry": text}
            loose = with_loose(loose, entry_id, text) if head.number else b""
        entries.append((entry_id, fields))
    return entries, head


def checked(entries: list[Entry], head: Head, known: str = "") -> ChainCheck:
    check = ChainCheck(head, known)
    for entry_id, fields in entries:
        check.feed(entry_id, fields)
    check.end(head)
    return check


@given(st.text("bl", max_size=40))
def test_what_nobody_touched_is_intact(forms: str) -> None:
    """However links and loose entries follow each other; each is counted as what it is."""
    entries, head = chain(forms)
    check = checked(entries, head)
    begun = forms.lstrip("b")
    behind = len(begun) - len(begun.rstrip("b"))
    assert check.intact
    assert check.last == head
    assert (check.before, check.links) == (len(forms) - len(begun), forms.count("l"))
    assert (check.sealed, check.open) == (begun.count("b") - behind, behind)


def _without(place: int) -> Callable[[list[Entry]], None]:
    def change(entries: list[Entry]) -> None:
        del entries[place]

    return change


def _text(place: int, field: bytes, value: bytes) -> Callable[[list[Entry]], None]:
    def change(entries: list[Entry]) -> None:
        entries[place][1][field] = value

    return change


def _put_in(entries: list[Entry]) -> None:
    entries.insert(3, ("3-5", {b"entry": b"forged"}))


def _moved(entries: list[Entry]) -> None:
    entries[3], entries[4] = (entries[3][0], entries[4][1]), (entries[4][0], entries[3][1])


def _anew(entries: list[Entry]) -> None:
    fields = entries[6][1]
    fields[b"n"], fields[b"prev"] = b"1", START.encode()
    fields[b"hash"] = link_hash(Head(), b"", fields[b"entry"]).encode()


@pytest.mark.parametrize(
    ("tamper", "place", "flaw"),
    [
        (_text(2, b"entry", b"other"), "3-0", Flaw.CHANGED),
        (_text(3, b"entry", b"other"), "6-0", Flaw.CHANGED),  # a loose one, that the next link seals
        (_text(2, b"hash", b"f" * 64), "3-0", Flaw.CHANGED),
        (_text(2, b"hash", b"canary"), "3-0", Flaw.CHANGED),
        (_text(2, b"n", b"9"), "3-0", Flaw.GAP),
        (_text(2, b"prev", b"\xff"), "3-0", Flaw.GAP),
        (_without(2), "6-0", Flaw.GAP),
        (_without(3), "6-0", Flaw.CHANGED),
        (_without(1), "3-0", Flaw.GAP),
        (_put_in, "6-0", Flaw.CHANGED),
        (_moved, "6-0", Flaw.CHANGED),
        (_anew, "7-0", Flaw.BEGUN_ANEW),
        (_without(-1), "7-0", Flaw.SHORTENED),
    ],
)
def test_tampering_is_found(tamper: Callable[[list[Entry]], None], place: str, flaw: Flaw) -> None:
    """At the entry where the chain breaks, with how it does."""
    entries, head = chain("bllbbll")
    tamper(entries)
    check = checked(entries, head)
    assert not check.intact
    assert check.breaks[0] == Break(place, flaw)
    assert place in str(check.breaks[0])


def test_a_damaged_link_is_told_once() -> None:
    """What follows holds again."""
    entries, head = chain("l" * 10)
    entries[4][1][b"entry"] = b"other"
    assert [one.entry_id for one in checked(entries, head).breaks] == ["5-0"]


def test_a_replaced_chain_is_told_by_a_known_hash() -> None:
    """A whole new one is intact in itself."""
    entries, head = chain("lll")
    assert checked(entries, head, entries[1][1][b"hash"].decode()).intact
    check = checked(entries, head, "a" * 64)
    assert not check.intact
    assert not check.breaks


def test_a_head_that_says_something_else() -> None:
    """Of an entry that is there, or that there is none."""
    entries, head = chain("ll")
    assert checked(entries, Head(2, "a" * 64, head.id)).breaks == [Break("2-0", Flaw.HEAD)]
    assert checked(entries, Head()).breaks == [Break("2-0", Flaw.HEAD)]


def test_entries_that_came_meanwhile_are_no_flaw() -> None:
    """The head was read first."""
    entries, head = chain("lll")
    check = ChainCheck(Head(1, entries[0][1][b"hash"].decode(), "1-0"))
    for entry_id, fields in entries:
        check.feed(entry_id, fields)
    check.end(head)
    assert check.intact


def test_a_ruined_chain_does_not_flood() -> None:
    """The first breaks say enough."""
    entries, head = chain("l" * 100)
    for _, fields in entries:
        fields[b"entry"] = b"other"
    assert len(checked(entries, head).breaks) == 20


@pytest.mark.parametrize("stored", [b"1", b"x y z", b"1 " + b"a" * 63 + b" 1-0", b"0 " + b"a" * 64 + b" 1-0",
                                    b"1 " + b"a" * 64 + b" -", b"\xff"])  # fmt: skip
def test_what_is_no_head(stored: bytes) -> None:
    """Is not taken for one; what is stored is read back."""
    with pytest.raises(ValueError, match="no head"):
        head_of(stored)
    assert head_of(None) == head_of(b"") == Head()
    head = Head(7, "a" * 64, "5-1")
    assert head_of(stored_head(head)) == head
