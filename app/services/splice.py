"""Cuts and looks into raw JSON without re-serialising it. Pure; knows JSON's grammar and nothing of its meaning.

Everything here works on text that a JSON parser has accepted before, and leaves every byte it does not remove as it
was.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

# One structural token: a whole string, a bracket, a colon or a comma. Numbers, literals and blanks lie between.
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]:,]', re.DOTALL)


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
