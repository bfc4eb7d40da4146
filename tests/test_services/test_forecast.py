"""What is foretold of keys and accounts."""

from __future__ import annotations

import pytest

from app.models.key_facts import Budget, KeyFacts
from app.services.forecast import (
    Forecast,
    Sample,
    forecast,
    forecast_account,
    in_words,
    period_end,
    rate_nano_per_h,
    resets_at,
)

DAY = 86_400.0
NOW = 20_000 * DAY + 7200  # Friday 2024-10-04, 02:00 UTC
USD = 10**9
ONE_USD_PER_H = (Sample(NOW - 3600, 5 * USD), Sample(NOW, 6 * USD))


@pytest.mark.parametrize(
    ("period", "days"), [("daily", 1), ("weekly", 3), ("monthly", 28), ("", None), ("yearly", None)]
)
def test_periods_end_at_utc_midnights(period: str, days: int | None) -> None:
    """The next day, Monday, or first of the month."""
    assert period_end(period, NOW) == (None if days is None else 20_000 * DAY + days * DAY)


def test_december_is_followed_by_january() -> None:
    """2024-12-31 23:59:59."""
    assert period_end("monthly", 1_735_689_599.0) == 1_735_689_600.0


@pytest.mark.parametrize(
    ("facts", "at"),
    [
        (KeyFacts(id="k"), None),
        (KeyFacts(id="k", limit_reset="daily"), 20_001 * DAY),
        (KeyFacts(id="k", budget=Budget(scope="member", resets_at=NOW + 5)), NOW + 5),
        (KeyFacts(id="k", limit_reset="daily", budget=Budget(scope="key_limit")), 20_001 * DAY),
        (KeyFacts(id="k", limit_reset="daily", budget=Budget(scope="workspace")), None),
        (KeyFacts(id="k", limit_reset="daily", budget=Budget(scope="key_limit", resets_at=NOW - 5)), 20_001 * DAY),
    ],
)
def test_resets(facts: KeyFacts, at: float | None) -> None:
    """The budget that blocks first knows best; the key's own period counts for the key's own limit."""
    assert resets_at(facts, NOW) == at


@pytest.mark.parametrize(
    ("samples", "facts", "rate"),
    [
        (ONE_USD_PER_H, None, USD),
        ((), None, None),
        (ONE_USD_PER_H[:1], KeyFacts(id="k", probed_at=NOW, usage_daily_nano=4 * USD), 2 * USD),
        ((Sample(NOW - 5, 0), Sample(NOW, USD)), KeyFacts(id="k"), None),
        ((), KeyFacts(id="k", probed_at=20_000 * DAY + 10, usage_daily_nano=USD), None),
        ((Sample(NOW - 3600, USD), Sample(NOW, USD)), None, 0),
    ],
)
def test_rates(samples: tuple[Sample, ...], facts: KeyFacts | None, rate: int | None) -> None:
    """By samples a minute or more apart, else by the day so far, else none."""
    assert rate_nano_per_h(samples, facts) == rate


def test_dry_in_three_hours() -> None:
    """Counted from the probe, not from the question."""
    facts = KeyFacts(id="k", probed_at=NOW, limit_remaining_nano=3 * USD, expires_at=NOW + 6 * DAY)
    assert forecast(facts, ONE_USD_PER_H, NOW + 600) == Forecast(
        nano_per_h=USD, available_nano=3 * USD, dry_in_s=3 * 3600 - 600, expires_in_s=6 * DAY - 600
    )


def test_a_reset_comes_first() -> None:
    """22 hours of money-less worry are none when the day ends in 22."""
    facts = KeyFacts(id="k", probed_at=NOW, limit_remaining_nano=23 * USD, limit_reset="daily")
    found = forecast(facts, ONE_USD_PER_H, NOW)
    assert (found.dry_in_s, found.resets_in_s) == (None, 22 * 3600)


@pytest.mark.parametrize(
    ("remaining", "samples", "dry"), [(0, ONE_USD_PER_H, 0.0), (-5, (), 0.0), (USD, (), None), (None, (), None)]
)
def test_dry_now_and_never(remaining: int | None, samples: tuple[Sample, ...], dry: float | None) -> None:
    """No money left is dry at any rate; no rate or no limit is never."""
    facts = KeyFacts(id="k", probed_at=NOW, limit_remaining_nano=remaining, expires_at=NOW - 1)
    found = forecast(facts, samples, NOW)
    assert (found.dry_in_s, found.expires_in_s) == (dry, 0.0)


def test_an_account() -> None:
    """All keys' rates against the latest known balance; the soonest end of a key."""
    spender = KeyFacts(id="a", probed_at=NOW, expires_at=NOW + 50)
    manager = KeyFacts(id="m", probed_at=NOW, balance_nano=4 * USD, expires_at=NOW + 90)
    stale = KeyFacts(id="n", probed_at=NOW - DAY, balance_nano=90 * USD)
    found = forecast_account([(spender, ONE_USD_PER_H), (manager, ONE_USD_PER_H), (stale, ())], NOW)
    assert found == Forecast(nano_per_h=2 * USD, available_nano=4 * USD, dry_in_s=7200, expires_in_s=50)
    assert forecast_account([], NOW) == Forecast()


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (11_400, "3 h 10 min"),
        (6.5 * DAY, "6 days"),
        (7200, "2 h"),
        (DAY, "24 h"),
        (61, "1 min"),
        (40, "40 s"),
        (-1, "0 s"),
    ],
)  # fmt: skip
def test_spans_in_words(span: float, words: str) -> None:
    """As the panel says it."""
    assert in_words(span) == words
