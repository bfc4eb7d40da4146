"""Cuts and looks into raw JSON without re-serialising it. Pure; knows JSON's grammar and nothing of its meaning.

Everything here works on text that a JSON parser has accepted before, and leaves every byte it does not remove as it
was.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

Path = tuple[str | int, ...]
"""How to reach a value: names of members and numbers of items."""

# One structural token: a whole string, a bracket, a colon or a comma. Numbers, literals and blanks lie between.
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]:,]', re.DOTALL)
_MEMBER_NAME: Final = re.compile(rb'[\s,]*"((?:[^"\\]|\\.)*)"\s*:\s*', re.DOTALL)
_BEFORE_ITEM: Final = re.compile(rb"[\s,]*")
_TEXT_VALUE: Final = re.compile(rb'\s*:\s*("(?:[^"\\]|\\.)*")', re.DOTALL)
_CLOSING: Final = re.compile(rb"\s*\}")
_raw_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_raw_items: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a JSON object: its raw name (quotes included) and where it stands, name to end of value."""

    raw_name: bytes
    start: int
    value_start: int
    end: int


def members(text: bytes, start: int = 0) -> Iterator[Member]:
    """The members of the object that begins at or after `start`, in their order. Values are not looked into."""
    tokens = _TOKEN.finditer(text, start)
    opening = next(tokens, None)
    if opening is None or opening.group() != b"{":
        return
    depth = 1
    name: re.Match[bytes] | None = None
    value_start = -1
    for token in tokens:
        mark = token.group()
        if depth == 1 and mark in (b",", b"}"):
            if name is not None and value_start >= 0:
                yield Member(name.group(), name.start(), value_start, _trimmed(text, value_start, token.start()))
            name, value_start = None, -1
        if mark in (b"{", b"["):
            depth += 1
        elif mark in (b"}", b"]"):
            depth -= 1
            if depth == 0:
                return
        elif depth == 1 and mark == b":":
            value_start = token.end()
        elif depth == 1 and value_start < 0 and mark != b",":
            name = token


def _trimmed(text: bytes, start: int, end: int) -> int:
    while end > start and text[end - 1] in b" \t\r\n":
        end -= 1
    return end


def without_members(text: bytes, names: Collection[bytes]) -> bytes:
    """The object's text with the named top-level members (raw names, in quotes) and one comma each taken out."""
    found = list(members(text))
    kept = [member for member in found if member.raw_name not in names]
    if len(kept) == len(found):
        return text
    head = text[: found[0].start]
    tail = text[found[-1].end :]
    return head + b",".join(text[member.start : member.end] for member in kept) + tail


class DoubledMemberError(ValueError):
    """An object has a member twice: nobody can say which of them counts."""


class Place(NamedTuple):
    """Where a value stands."""

    start: int
    end: int


def places(text: bytes) -> dict[str, Place]:
    """Where the values of an object's members stand, by their names, in their order. Raises DoubledMemberError.

    The parser jumps over the values; only the outermost names are looked at here.
    """
    found: dict[str, Place] = {}
    at = text.index(b"{") + 1
    for name, raw in _raw_members(text).items():
        value = bytes(raw)
        spelled = _MEMBER_NAME.match(text, at)
        if spelled is None or (b"\\" not in spelled[1] and spelled[1] != name.encode()):
            raise DoubledMemberError
        place = Place(spelled.end(), spelled.end() + len(value))
        # The parser keeps the last one's value in the first one's turn.
        if text[place.start : place.end] != value:
            raise DoubledMemberError
        found[name] = place
        at = place.end
    if _CLOSING.match(text, at) is None:
        raise DoubledMemberError
    return found


def item_places(text: bytes) -> list[Place]:
    """Where the items of an array stand."""
    found: list[Place] = []
    at = text.index(b"[") + 1
    for raw in _raw_items(text):
        start = _BEFORE_ITEM.match(text, at).end()  # type: ignore[union-attr]  # it fits nothing, too
        at = start + len(bytes(raw))
        found.append(Place(start, at))
    return found


def edited(text: bytes, edits: Iterable[tuple[Place, bytes]]) -> bytes:
    """The text with other values at these places, which do not overlap."""
    pieces: list[bytes] = []
    at = 0
    for place, value in sorted(edits):
        pieces += (text[at : place.start], value)
        at = place.end
    return b"".join((*pieces, text[at:]))


def with_members(text: bytes, new: Mapping[str, bytes], held: Collection[str]) -> bytes:
    """The object's text with these members (raw values). `held` are the names that it has already: those are replaced
    where they stand, the others come first. Raises DoubledMemberError.
    """
    there = [name for name in new if name in held]
    if len(there) == 1 and (place := _text_place(text, there[0])) is not None:
        text = text[: place.start] + new[there[0]] + text[place.end :]
    elif there:
        where = places(text)
        text = edited(text, [(where[name], new[name]) for name in there])
    if len(there) == len(new):
        return text
    added = b",".join(b"%b:%b" % (_encode(name), value) for name, value in new.items() if name not in there)
    at = text.index(b"{") + 1
    comma = b"" if _CLOSING.match(text, at) is not None else b","
    return b"".join((text[:at], added, comma, text[at:]))


def _text_place(text: bytes, name: str) -> Place | None:
    """Where the member's value stands, if it is a text and no other place in the text looks like the member."""
    spelled = _encode(name)
    if text.count(spelled) != 1 or b"\\u00" in text:
        return None
    found = _TEXT_VALUE.match(text, text.index(spelled) + len(spelled))
    return Place(*found.span(1)) if found is not None else None


def with_values(text: bytes, new: Iterable[tuple[Path, bytes]]) -> bytes:
    """The text with other values (raw) at these paths, all of which it has. Raises DoubledMemberError."""
    return edited(text, [(_place_of(text, path), value) for path, value in new])


def _place_of(text: bytes, path: Path) -> Place:
    place = Place(0, len(text))
    for step in path:
        part = text[place.start : place.end]
        inner = item_places(part)[step] if isinstance(step, int) else places(part)[step]
        place = Place(place.start + inner.start, place.start + inner.end)
    return place
