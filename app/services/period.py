"""Words for periods of time, in UTC: `24h`, `7d`, `today`, `last-month`, `2026-11`, `2026-11-03..2026-11-20`. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

WORDS: Final = "30m, 24h, 7d, 4w, today, yesterday, week, last-week, month, last-month, 2026-11, 2026-11-03 or FROM..TO"
_SPANS_S: Final = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_DAY: Final = timedelta(days=1)


class PeriodError(ValueError):
    """The words name no period. The text is a sentence for people."""


def period(words: str, now_s: float) -> tuple[float, float]:
    """The first second and the one after the last. Raises PeriodError."""
    begin, between, end = words.strip().lower().partition("..")
    since, until = _named(begin, now_s)
    if between:
        until = _named(end, now_s)[1] if end else now_s
    if since >= until:
        raise PeriodError(f"The period {words!r} ends before it begins.")
    return since, until


def _named(word: str, now_s: float) -> tuple[float, float]:
    if span := re.fullmatch(r"([1-9]\d{0,4})([mhdw])", word):
        return max(0.0, now_s - int(span[1]) * _SPANS_S[span[2]]), now_s
    today = datetime.fromtimestamp(now_s, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    monday, first = today - today.weekday() * _DAY, today.replace(day=1)
    known = {
        "today": (today, today + _DAY),
        "yesterday": (today - _DAY, today),
        "week": (monday, monday + 7 * _DAY),
        "last-week": (monday - 7 * _DAY, monday),
        "month": (first, _next_month(first)),
        "last-month": ((first - _DAY).replace(day=1), first),
    }
    begin, end = known[word] if word in known else _dated(word)
    return begin.timestamp(), end.timestamp()


def _dated(word: str) -> tuple[datetime, datetime]:
    try:
        if re.fullmatch(r"\d{4}-\d\d", word):
            begin = datetime.fromisoformat(f"{word}-01").replace(tzinfo=UTC)
            return begin, _next_month(begin)
        if re.fullmatch(r"\d{4}-\d\d-\d\d", word):
            begin = datetime.fromisoformat(word).replace(tzinfo=UTC)
            return begin, begin + _DAY
        at = datetime.fromisoformat(word.upper())
    except (ValueError, OverflowError):
        raise PeriodError(f"{word!r} is no period: use {WORDS}.") from None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return at, at


def _next_month(first: datetime) -> datetime:
    return (first + 32 * _DAY).replace(day=1)
