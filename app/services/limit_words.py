"""Limits as people write them: `usd/month=25`, `requests/minute=60;models=openai/*;each-user;shadow`.

Also which limits there can be, and instants as people write them. Pure; knows nobody who is limited.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

import msgspec

from app.models.limits import Limit, Span, Unit
from app.services.key_names import KeyRefused
from app.services.money import NANO, dollars

MOST_LIMITS: Final = 50
_RATES: Final = (Span.MINUTE, Span.HOUR, Span.DAY)
_SPANS: Final = {
    Unit.REQUESTS: _RATES,
    Unit.TOKENS: _RATES,
    Unit.INPUT_TOKENS: _RATES,
    Unit.OUTPUT_TOKENS: _RATES,
    Unit.CONCURRENT: (Span.NOW,),
    Unit.USD: (Span.DAY, Span.WEEK, Span.MONTH, Span.TOTAL),
}
# Sums must stay below 2^53, the whole numbers that Redis' scripts can compare. Zero dollars: only what is free.
_MOST_USD: Final = 5_000_000
_SIZES: Final = {
    Unit.REQUESTS: (1, 10**9),
    Unit.TOKENS: (1, 10**12),
    Unit.INPUT_TOKENS: (1, 10**12),
    Unit.OUTPUT_TOKENS: (1, 10**12),
    Unit.CONCURRENT: (1, 10**6),
    Unit.USD: (0, _MOST_USD * NANO),
}
_PATTERN: Final = re.compile(r"[^\s,;]{1,200}")
_NUMBER: Final = re.compile(r"[0-9]{1,20}(\.[0-9]{1,9})?")
_AHEAD: Final = re.compile(r"([0-9]{1,6})(m|h|d|w)")
_AHEAD_S: Final = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
LAST_INSTANT_S: Final = 253_402_300_799.0
"""In the year 9999, the last one that can be written."""
_FORM: Final = "Write a limit like usd/month=25 or requests/minute=60;models=openai/*;each-user;shadow"


def limit_of(words: str, now_s: float) -> Limit:
    """Raises KeyRefused."""
    head, *extras = (part.strip() for part in words.split(";"))
    counted, equals, size = (part.strip() for part in head.partition("="))
    if not equals:
        raise KeyRefused(f"{_FORM}: this one has no size.")
    limit = _counted(counted)
    limit = msgspec.structs.replace(limit, size=_size(limit.unit, size))
    names = [extra.partition("=")[0].strip() for extra in extras]
    if len(set(names)) < len(names):
        raise KeyRefused("Each word behind a limit's size stands there once.")
    for extra in extras:
        limit = _with(limit, extra, now_s)
    return fitting(limit)


def words_of(limit: Limit, now_s: float) -> str:
    """What `limit_of` reads back. A raise that is over is not told."""
    words = [f"{_head(limit)}={_amount(limit.unit, limit.size)}", *_choice(limit)]
    if limit.shadow:
        words.append("shadow")
    if limit.raised_to is not None and limit.raised_until is not None and limit.raised_until > now_s:
        words.append(f"raise={_amount(limit.unit, limit.raised_to)}@{_instant(limit.raised_until)}")
    return ";".join(words)


def fitting(limit: Limit) -> Limit:
    """The limit, if there can be such a one. Raises KeyRefused."""
    if limit.span not in _SPANS[limit.unit]:
        spans = ", ".join(f"{limit.unit}/{span}" for span in _SPANS[limit.unit] if span is not Span.NOW)
        raise KeyRefused(f"{limit.unit} are limited {f'as {spans}' if spans else 'without a span'}.")
    _check_size(limit.unit, limit.size)
    if limit.models and not _PATTERN.fullmatch(limit.models):
        raise KeyRefused("The models of a limit are one model or a pattern like openai/*.")
    if (limit.raised_to is None) != (limit.raised_until is None):
        raise KeyRefused("A raise has a size and an end.")
    if limit.raised_to is not None and limit.raised_until is not None:
        _check_size(limit.unit, limit.raised_to)
        if limit.raised_to <= limit.size or not 0 < limit.raised_until <= LAST_INSTANT_S:
            raise KeyRefused("A limit is raised to more than it is, until a time before the year 10000.")
    return limit


def all_fitting(limits: Iterable[Limit]) -> tuple[Limit, ...]:
    """Raises KeyRefused, also where two limits count the same."""
    found: dict[str, Limit] = {}
    for limit in limits:
        if limit.id in found:
            raise KeyRefused(f"Two limits count the same: {_name(limit)}. Name it once.")
        found[limit.id] = fitting(limit)
    if len(found) > MOST_LIMITS:
        raise KeyRefused(f"There can be at most {MOST_LIMITS} limits.")
    return tuple(found.values())


def raised(limits: tuple[Limit, ...], which: str, size: str, until_s: float, now_s: float) -> tuple[Limit, ...]:
    """The limits with one of them raised for a time. `which` is written without size. Raises KeyRefused."""
    limit = _named(limits, which)
    if until_s <= now_s:
        raise KeyRefused("The end of a raise must lie ahead.")
    after = msgspec.structs.replace(limit, raised_to=_size(limit.unit, size), raised_until=until_s)
    return tuple(fitting(after) if one is limit else one for one in limits)


def instant_of(text: str, now_s: float) -> float:
    """A day or time in UTC (2026-12-01, 2026-12-01T18:00Z), or a span from now (90m, 12h, 7d). Raises KeyRefused."""
    if ahead := _AHEAD.fullmatch(text):
        return now_s + int(ahead[1]) * _AHEAD_S[ahead[2]]
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise KeyRefused("A time is written like 2026-12-01, 2026-12-01T18:00Z or, from now on, 12h or 7d.") from None


def _named(limits: tuple[Limit, ...], which: str) -> Limit:
    """The limit that counts just this; or the only one with this unit and span. Raises KeyRefused."""
    head, *extras = (part.strip() for part in which.split(";"))
    wanted = _counted(head.partition("=")[0].strip())
    for extra in extras:
        wanted = _with(wanted, extra, 0.0)
    exact = [limit for limit in limits if limit.id == wanted.id]
    alike = [limit for limit in limits if (limit.unit, limit.span) == (wanted.unit, wanted.span)]
    found = exact or ([] if extras else alike)
    if len(found) == 1:
        return found[0]
    there = ", ".join(_name(limit) for limit in limits) or "none"
    raise KeyRefused(f"{'More than one limit is' if found else 'No limit is'} called that. There are: {there}.")


def _counted(text: str) -> Limit:
    unit_name, _, span_name = text.partition("/")
    try:
        unit = Unit(unit_name)
        span = Span(span_name) if span_name or unit is not Unit.CONCURRENT else Span.NOW
    except ValueError:
        units = ", ".join(Unit)
        raise KeyRefused(f"{_FORM}. What is counted is one of {units}, and the span follows after a /.") from None
    return Limit(unit=unit, span=span, size=0)


def _with(limit: Limit, extra: str, now_s: float) -> Limit:
    word, _, value = (part.strip() for part in extra.partition("="))
    match word, bool(value):
        case "models", True:
            return msgspec.structs.replace(limit, models=value)
        case "each-user", False:
            return msgspec.structs.replace(limit, each_user=True)
        case "shadow", False:
            return msgspec.structs.replace(limit, shadow=True)
        case "raise", True:
            size, _, until = value.partition("@")
            until_s = instant_of(until, now_s)
            if until_s <= now_s:
                raise KeyRefused("The end of a raise must lie ahead.")
            return msgspec.structs.replace(limit, raised_to=_size(limit.unit, size), raised_until=until_s)
    raise KeyRefused("Behind a limit's size may follow ;models=PATTERN ;each-user ;shadow ;raise=SIZE@UNTIL.")


def _size(unit: Unit, text: str) -> int:
    number = Decimal(text) if _NUMBER.fullmatch(text) else Decimal("nan")
    if not number.is_finite() or (unit is not Unit.USD and number != int(number)):
        form = "an amount of dollars like 25 or 0.5" if unit is Unit.USD else "a whole number"
        raise KeyRefused(f"The size of a limit of {unit} must be {form}.")
    size = int(number * NANO) if unit is Unit.USD else int(number)
    _check_size(unit, size)
    return size


def _check_size(unit: Unit, size: int) -> None:
    least, most = _SIZES[unit]
    if type(size) is not int or not least <= size <= most:
        raise KeyRefused(f"A limit of {unit} must be from {_amount(unit, least)} to {_amount(unit, most)}.")


def _head(limit: Limit) -> str:
    return str(limit.unit) if limit.unit is Unit.CONCURRENT else f"{limit.unit}/{limit.span}"


def _choice(limit: Limit) -> list[str]:
    return [f"models={limit.models}"] * bool(limit.models) + ["each-user"] * limit.each_user


def _name(limit: Limit) -> str:
    return ";".join((_head(limit), *_choice(limit)))


def _amount(unit: Unit, size: int) -> str:
    return dollars(size) if unit is Unit.USD else str(size)


def _instant(at_s: float) -> str:
    at = datetime.fromtimestamp(at_s, UTC)
    return at.strftime("%Y-%m-%d") if at_s % 86_400 == 0 else at.isoformat(timespec="auto").replace("+00:00", "Z")
