"""Words for periods of time."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from app.services.period import PeriodError, period
from tests.test_services.ledger_world import NOW_S


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("words", "since", "until"),
    [
        ("today", "2026-11-23", "2026-11-24"),
        ("yesterday", "2026-11-22", "2026-11-23"),
        ("week", "2026-11-23", "2026-11-30"),
        ("last-week", "2026-11-16", "2026-11-23"),
        ("month", "2026-11-01", "2026-12-01"),
        ("Last-Month", "2026-10-01", "2026-11-01"),
        ("2026-12", "2026-12-01", "2027-01-01"),
        ("2026-11-03", "2026-11-03", "2026-11-04"),
        ("2026-11-03..2026-11-05", "2026-11-03", "2026-11-06"),
        ("2026-10..2026-11", "2026-10-01", "2026-12-01"),
        ("2026-11-03T10:00..2026-11-03T12:30", "2026-11-03T10:00", "2026-11-03T12:30"),
        ("2026-11-03T10:00+02:00..2026-11-03T12:00Z", "2026-11-03T08:00", "2026-11-03T12:00"),
        ("yesterday..today", "2026-11-22", "2026-11-24"),
    ],
)
def test_words_name_periods(words: str, since: str, until: str) -> None:
    """In UTC, the end not in it."""
    assert period(words, NOW_S) == (at(since), at(until))


@pytest.mark.parametrize(("words", "long_s"), [("30m", 1800), ("24h", 86_400), ("7d", 604_800), ("2w", 1_209_600)])
def test_spans_end_now(words: str, long_s: int) -> None:
    """Counted back from this moment; with an open end too."""
    assert period(words, NOW_S) == period(f"{words}..", NOW_S) == (NOW_S - long_s, NOW_S)


@pytest.mark.parametrize(
    "words", ["", "soon", "0d", "7y", "2026-13", "2026-02-30", "today..yesterday", "2026-11-03T10:00"]
)
def test_what_names_no_period_is_refused(words: str) -> None:
    """With a sentence."""
    with pytest.raises(PeriodError, match=r"period|ends before"):
        period(words, NOW_S)
