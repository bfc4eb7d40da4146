"""The audit's hash chain: what a deed is, how an entry is linked to the one before it, and where a chain breaks. Pure.

A link's hash covers the hash before it, its number, its own text, and all entries since the last link that are none
themselves: where a link cannot be made in time, a deed is noted in passing, and the next link seals it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import msgspec

START: Final = "0" * 64
"""The hash before the first link."""
_HEAD: Final = re.compile(rb"([1-9][0-9]{0,14}) ([0-9a-f]{64}) ([0-9]+-[0-9]+)")


class Deed(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the audit: what somebody did to which record. Holds what people may see and never a secret."""

    at: float
    by: str
    deed: str
    kind: str
    id: str
    name: str
    before: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """The last link: its number, its hash and its id in the stream. Number 0: there is none yet."""

    number: int = 0
    hash: str = START
    id: str = ""


def head_of(stored: bytes | None) -> Head:
    """Raises ValueError for what is no head."""
    if not stored:
        return Head()
    found = _HEAD.fullmatch(bytes(stored))
    if found is None:
        raise ValueError("no head of a chain")
    number, digest, entry_id = (part.decode() for part in found.groups())
    return Head(int(number), digest, entry_id)


def stored_head(head: Head) -> bytes:
    return f"{head.number} {head.hash} {head.id}".encode()


def with_loose(loose: bytes, entry_id: str, text: bytes) -> bytes:
    """The digest of the entries since the last link, with one more. It begins with b""."""
    return hashlib.sha256(_framed(loose, entry_id.encode(), text)).digest()


def link_hash(before: Head, loose: bytes, text: bytes) -> str:
    """The hash of the link that follows."""
    parts = (bytes.fromhex(before.hash), b"%d" % (before.number + 1), loose, text)
    return hashlib.sha256(_framed(*parts)).hexdigest()


def _framed(*parts: bytes) -> bytes:
    """With their lengths, so that nothing can move from one part to the next unseen."""
    return b"".join(b"%d:%b," % (len(part), part) for part in parts)


class Flaw(StrEnum):
    """How a chain is broken."""

    GAP = "gap"
    CHANGED = "changed"
    BEGUN_ANEW = "begun_anew"
    SHORTENED = "shortened"
    HEAD = "head"


@dataclass(frozen=True, slots=True)
class Break:
    """Where, and how."""

    entry_id: str
    flaw: Flaw

    def __str__(self) -> str:
        return _FLAWS[self.flaw].format(self.entry_id)


_FLAWS: Final = {
    Flaw.GAP: "entry {} does not follow the link before it: what stood between them was removed",
    Flaw.CHANGED: "entry {}, or one that it seals, was changed, removed or put in",
    Flaw.BEGUN_ANEW: "the chain begins anew at entry {}: what stood before it was cut off",
    Flaw.SHORTENED: "the newest entries, up to {}, are gone",
    Flaw.HEAD: "entry {} is not the one that the chain's head names",
}
_MOST_BREAKS: Final = 20


@dataclass(slots=True)
class ChainCheck:
    """Fed with every entry, oldest first, it finds where the chain breaks. `head` is what was stored when it began."""

    head: Head
    known: str = ""
    """A hash from an earlier check, which must still be there."""
    before: int = 0
    """Entries from before there was a chain."""
    links: int = 0
    sealed: int = 0
    open: int = 0
    """Entries that no link seals yet."""
    breaks: list[Break] = field(default_factory=list)
    known_seen: bool = False
    _last: Head = field(default_factory=Head)
    _loose: bytes = b""
    _head_seen: bool = False

    @property
    def intact(self) -> bool:
        return not self.breaks and (not self.known or self.known_seen)

    @property
    def last(self) -> Head:
        """The last link that was seen."""
        return self._last

    def feed(self, entry_id: str, fields: Mapping[bytes, bytes]) -> None:
        text = fields.get(b"entry", b"")
        if not fields.get(b"hash"):
            self._take_loose(entry_id, text)
        else:
            self._take_link(entry_id, text, fields)

    def end(self, head: Head) -> None:
        """Everything was fed, and this is the head now."""
        if self.head.number and not self._head_seen:
            self._broken(self.head.id, Flaw.SHORTENED)
        if not head.number and self.links:
            self._broken(self._last.id, Flaw.HEAD)

    def _take_loose(self, entry_id: str, text: bytes) -> None:
        if not self.links:
            self.before += 1
            return
        self.open += 1
        self._loose = with_loose(self._loose, entry_id, text)

    def _take_link(self, entry_id: str, text: bytes, fields: Mapping[bytes, bytes]) -> None:
        number, previous, digest = (_ascii(fields, name) for name in (b"n", b"prev", b"hash"))
        if number == "1" and self.links:
            self._broken(entry_id, Flaw.BEGUN_ANEW)
        elif previous != self._last.hash or number != str(self._last.number + 1):
            self._broken(entry_id, Flaw.GAP)
        elif digest != link_hash(self._last, self._loose, text):
            self._broken(entry_id, Flaw.CHANGED)
        else:
            self.sealed += self.open
        self.links += 1
        self.open = 0
        self._loose = b""
        # It goes on from what the entry says of itself, so that one break is told once.
        self._last = Head(int(number) if number.isdecimal() else 0, digest if _is_hash(digest) else START, entry_id)
        self.known_seen = self.known_seen or digest == self.known
        if entry_id == self.head.id:
            self._head_seen = True
            if self._last != self.head:
                self._broken(entry_id, Flaw.HEAD)

    def _broken(self, entry_id: str, flaw: Flaw) -> None:
        if len(self.breaks) < _MOST_BREAKS:
            self.breaks.append(Break(entry_id, flaw))


def _ascii(fields: Mapping[bytes, bytes], name: bytes) -> str:
    return fields.get(name, b"").decode("ascii", "replace")


def _is_hash(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")
