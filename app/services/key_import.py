"""Reads lists of OpenRouter keys and reports line by line. Pure; never shows a key in plain."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from app.core.security import OPENROUTER_KEY_RE, mask_openrouter_key

MOST_LINES: Final = 10_000
# Not str.splitlines: it would part a key at any of a dozen characters and take its first half for a key.
_LINE_END: Final = re.compile(r"\r\n|\r|\n")


class ImportOutcome(StrEnum):
    ADDED = "added"
    KNOWN = "known"
    DUPLICATE = "duplicate"
    INVALID = "invalid"
    MANAGEMENT = "management"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ImportLine:
    """What became of one line. `masked` is empty where the line does not look like a key: nothing of it is shown."""

    number: int
    masked: str
    outcome: ImportOutcome


@dataclass(frozen=True, slots=True)
class ImportReport:
    """All lines, in their order."""

    lines: tuple[ImportLine, ...] = field(default=())

    def counts(self) -> dict[str, int]:
        return dict(Counter(line.outcome.value for line in self.lines))

    @property
    def lost(self) -> bool:
        """Whether some line did not end as a key of the pool."""
        bad = {ImportOutcome.INVALID, ImportOutcome.REFUSED, ImportOutcome.FAILED}
        return any(line.outcome in bad for line in self.lines)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A line's text that may be a key."""

    number: int
    key: str = field(repr=False)
    outcome: ImportOutcome | None = None

    @property
    def masked(self) -> str:
        return "" if self.outcome is ImportOutcome.INVALID else mask_openrouter_key(self.key)


def candidates(text: str) -> Iterator[Candidate]:
    """One for each key-like piece: lines or commas part them, `#` begins a comment, blanks and a BOM do not matter."""
    seen: set[str] = set()
    for number, line in enumerate(_LINE_END.split(text.removeprefix("\ufeff")), 1):
        for piece in line.partition("#")[0].split(","):
            key = piece.strip().strip("\"'").strip()
            if not key:
                continue
            if not OPENROUTER_KEY_RE.fullmatch(key):
                yield Candidate(number, key, ImportOutcome.INVALID)
            elif key in seen:
                yield Candidate(number, key, ImportOutcome.DUPLICATE)
            else:
                seen.add(key)
                yield Candidate(number, key)
