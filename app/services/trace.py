"""What a client that may know is told of its call's way: a header's value in plain words. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Protocol

from app.models.lease import Skipped

_MOST_NAMED = 8


class KeyAsked(Protocol):
    """One try of a call, seen from here."""

    @property
    def masked(self) -> str: ...

    @property
    def result(self) -> str: ...


def trace_line(tries: Iterable[KeyAsked], skipped: Iterable[Skipped], strategy: str) -> bytes:
    """`strategy=balanced; tried=sk-or-v1-0e6...1c96 429 free_daily, …; skipped=…`. Keys show only their masks."""
    tried = ", ".join(f"{one.masked} {one.result}" for one in tries)
    passed = [f"{one.masked} {one.reason}{_until(one.until_s)}" for one in skipped]
    more = f" and {len(passed) - _MOST_NAMED} more" if len(passed) > _MOST_NAMED else ""
    text = f"strategy={strategy}; tried={tried}; skipped={', '.join(passed[:_MOST_NAMED]) or 'none'}{more}"
    return text.replace("\u2026", "...").encode("ascii", "replace")


def _until(at_s: float | None) -> str:
    if at_s is None or not 0 < at_s < 4e9:
        return ""
    return f" until {datetime.fromtimestamp(at_s, UTC):%Y-%m-%dT%H:%M:%SZ}"
