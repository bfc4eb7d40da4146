"""What is known of how the gateway's books and OpenRouter's agree about the days of a period."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from app.models.books import Comparison, Finding
from app.panel.context import PanelContext
from app.panel.usage_view import Wanted

_MOST_DAYS: Final = 31
_CALM: Final = (Finding.AGREES, Finding.CORRECTED)


@dataclass(frozen=True, slots=True)
class BookDay:
    """`gap_nano`: by how much OpenRouter's sum is above ours, over `keys` that were compared."""

    day: str
    keys: int
    differ: int
    gap_nano: int
    corrected: bool


@dataclass(frozen=True, slots=True)
class Books:
    """`days` are those that were compared, of `over` days that are over; `today` tells whether the period has some."""

    days: tuple[BookDay, ...]
    over: int
    today: bool

    @property
    def gap_nano(self) -> int:
        return sum(one.gap_nano for one in self.days)

    @property
    def differing(self) -> tuple[BookDay, ...]:
        return tuple(one for one in self.days if one.differ)


async def books_of(ctx: PanelContext, wanted: Wanted) -> Books:
    """Of the last days of the period, at most a month. Raises RedisUnavailable."""
    days, today = days_of(wanted.since_s, wanted.until_s, wanted.now_s)
    stored = await asyncio.gather(*(ctx.reconciliation.stored(day) for day in days))
    found = [day_of(str(day), some) for day, some in zip(days, stored, strict=True)]
    return Books(tuple(one for one in found if one is not None), len(days), today)


def days_of(since_s: float, until_s: float, now_s: float) -> tuple[list[date], bool]:
    """The days of a period that are over, the newest first, and whether it also has a part of today."""
    first = datetime.fromtimestamp(since_s, UTC).date()
    last = datetime.fromtimestamp(max(since_s, min(until_s, now_s) - 1), UTC).date()
    today = datetime.fromtimestamp(now_s, UTC).date()
    days = [last - timedelta(days=back) for back in range(min(_MOST_DAYS, (last - first).days + 1))]
    return [day for day in days if day < today], last >= today


def day_of(day: str, stored: Sequence[Comparison]) -> BookDay | None:
    """None where nobody told what OpenRouter has booked."""
    compared = [one for one in stored if one.theirs_nano is not None and one.finding is not Finding.NOT_COMPARED]
    if not compared:
        return None
    return BookDay(
        day,
        len(compared),
        sum(one.finding not in _CALM for one in compared),
        sum((one.theirs_nano or 0) - one.own_nano for one in compared if one.finding not in _CALM),
        any(one.finding is Finding.CORRECTED for one in compared),
    )
