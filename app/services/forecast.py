"""What comes next for keys and accounts: dry in so long at this rate, expires in so long. Pure; data, no words for
people but the span.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

from app.models.key_facts import KeyFacts

_HOUR_S: Final = 3600
_DAY_S: Final = 86_400
_LEAST_SPAN_S: Final = 60.0  # from a shorter one no rate can be told


@dataclass(frozen=True, slots=True)
class Sample:
    """What a key had spent in all at a moment."""

    at_s: float
    usage_nano: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """None: not known, or it will not happen. `dry_in_s` is None too where a reset comes first."""

    nano_per_h: int | None = None
    available_nano: int | None = None
    dry_in_s: float | None = None
    resets_in_s: float | None = None
    expires_in_s: float | None = None


def period_end(period: str, now_s: float) -> float | None:
    """When the running UTC day, week (to Monday) or month ends; None for what never resets."""
    return _end_of(period, int(now_s // _DAY_S))


@lru_cache(maxsize=64)  # a thousand keys ask for the same few
def _end_of(period: str, day: int) -> float | None:
    today = datetime.fromtimestamp(day * _DAY_S, UTC)
    match period:
        case "daily":
            end = today + timedelta(days=1)
        case "weekly":
            end = today + timedelta(days=7 - today.weekday())
        case "monthly":
            end = (today.replace(day=1) + timedelta(days=32)).replace(day=1)
        case _:
            return None
    return end.timestamp()


def resets_at(facts: KeyFacts, now_s: float) -> float | None:
    """When what is spent now comes back. The budget that blocks first knows better than the key's own limit."""
    budget = facts.budget
    if budget is not None and budget.resets_at is not None and budget.resets_at > now_s:
        return budget.resets_at
    limited = budget is None or budget.scope in _OF_KEY
    return period_end(facts.limit_reset, now_s) if limited else None


_OF_KEY: Final = frozenset({"key_limit", "api_key"})


def rate_nano_per_h(samples: Sequence[Sample], facts: KeyFacts | None = None) -> int | None:
    """By the samples; without enough of them by what the facts say of the day so far."""
    if len(samples) > 1 and (span_s := samples[-1].at_s - samples[0].at_s) >= _LEAST_SPAN_S:
        return max(0, round((samples[-1].usage_nano - samples[0].usage_nano) * _HOUR_S / span_s))
    if facts is None or facts.usage_daily_nano is None:
        return None
    today_s = facts.probed_at % _DAY_S
    return round(facts.usage_daily_nano * _HOUR_S / today_s) if today_s >= _LEAST_SPAN_S else None


def forecast(facts: KeyFacts, samples: Sequence[Sample], now_s: float) -> Forecast:
    """For one key. What it spends on is counted on from the moment of the probe."""
    rate = rate_nano_per_h(samples, facts)
    resets_s = resets_at(facts, now_s)
    dry_s = _dry_at(facts.available_nano, rate, facts.probed_at)
    first = dry_s is not None and (resets_s is None or dry_s < resets_s)
    return Forecast(
        nano_per_h=rate,
        available_nano=facts.available_nano,
        dry_in_s=max(0.0, dry_s - now_s) if dry_s is not None and first else None,
        resets_in_s=None if resets_s is None else resets_s - now_s,
        expires_in_s=None if facts.expires_at is None else max(0.0, facts.expires_at - now_s),
    )


def forecast_account(keys: Iterable[tuple[KeyFacts, Sequence[Sample]]], now_s: float) -> Forecast:
    """For an account: its keys' rates against the credits that a management key has seen, the soonest end of a key."""
    known = list(keys)
    rates = [rate for facts, samples in known if (rate := rate_nano_per_h(samples, facts)) is not None]
    balances = [(facts.probed_at, facts.balance_nano) for facts, _ in known if facts.balance_nano is not None]
    ends = [facts.expires_at for facts, _ in known if facts.expires_at is not None]
    probed_s, balance = max(balances, default=(now_s, None))
    rate = sum(rates) if rates else None
    dry_s = _dry_at(balance, rate, probed_s)
    return Forecast(
        nano_per_h=rate,
        available_nano=balance,
        dry_in_s=None if dry_s is None else max(0.0, dry_s - now_s),
        expires_in_s=max(0.0, min(ends) - now_s) if ends else None,
    )


def _dry_at(available_nano: int | None, nano_per_h: int | None, since_s: float) -> float | None:
    if available_nano is None:
        return None
    if available_nano <= 0:
        return since_s
    return since_s + available_nano * _HOUR_S / nano_per_h if nano_per_h else None


def in_words(span_s: float) -> str:
    """`6 days`, `3 h 10 min`, `5 min`, `40 s`: the two largest parts below two days."""
    seconds = max(0, int(span_s))
    if seconds >= 2 * _DAY_S:
        return f"{seconds // _DAY_S} days"
    hours, minutes = seconds // _HOUR_S, seconds % _HOUR_S // 60
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min" if minutes else f"{seconds} s"
