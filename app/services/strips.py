"""Small pictures of many keys and clients at once, each from one round trip: minutes of keys, hours of clients, what
went wrong with keys' tries. Reads only; `Insight` answers everything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from struct import Struct
from typing import Any, Final

import msgspec

from app.core.clock import Clock
from app.core.redis import RedisManager
from app.services.cells import (
    BASE,
    SEPARATOR,
    Figures,
    Step,
    Table,
    bucket_of,
    figures_in,
    short_key,
    sums_in,
    table_name,
)
from app.services.insight_plan import Answer

_MINUTES: Final = 60
_HOURS: Final = 24
_COUNTS: Final = Struct("<4H")
_NAMES_AT_ONCE: Final = 500


class Minute(msgspec.Struct, frozen=True, array_like=True):
    """What became of the calls of one key that were admitted in one minute. Counts end at 65,535."""

    served: int = 0
    """Those that their caller left too."""
    rescued: int = 0
    """Served by this key after another one had failed."""
    failed: int = 0
    moved: int = 0
    """Tries of this key that failed, after which another key was asked."""


_QUIET: Final = Minute()
_minute = lru_cache(4096)(Minute)  # most minutes are like others


class Strips:
    """One for each worker. What is booked is told within a minute: at once after `Insight.freshen`."""

    def __init__(self, redis: RedisManager, clock: Clock) -> None:
        self._redis = redis
        self._clock = clock

    async def key_minutes(self) -> dict[str, tuple[Minute, ...]]:
        """The last 60 minutes of each key that had any call, the present minute last; by `cells.short_key`. Two
        commands, whatever the number of keys. Raises RedisUnavailable.
        """
        last = int(self._clock.wall_s()) // 60
        first_hour, second_hour = last // _MINUTES - 1, last // _MINUTES
        earlier, later = await self._redis.pipeline(
            [("HGETALL", self._name(hour)) for hour in (first_hour, second_hour)]
        )
        begin = last % _MINUTES + 1
        return {
            name.decode(): (*_minutes(earlier.get(name, b""))[begin:], *_minutes(later.get(name, b""))[:begin])
            for name in earlier.keys() | later.keys()
        }

    async def key_day(self, key_id: str) -> tuple[int, tuple[tuple[Minute, ...], ...]]:
        """One key's last 24 hours of 60 minutes each, the present hour last, and the first second of the first. Raises
        RedisUnavailable.
        """
        hour = int(self._clock.wall_s()) // 3600
        hours = range(hour - _HOURS + 1, hour + 1)
        name = short_key(key_id)
        found = await self._redis.pipeline([("HGET", self._name(one), name) for one in hours])
        return hours[0] * 3600, tuple(_minutes(strip or b"") for strip in found)

    async def key_codes(self, since_s: float, *, step: Step = Step.DAY) -> dict[str, dict[str, int]]:
        """By short id of the key: how often its tries failed, by status or short code, from the day (kept 400 days) or
        the hour (31 days) of `since_s` to now. Tries that went well are `served + rescued + left` of the key's figures.
        Raises RedisUnavailable.
        """
        buckets = range(bucket_of(step, since_s), bucket_of(step, self._clock.wall_s()) + 1)
        names = [self._redis.keys.books(*table_name(step, Table.CODES, bucket)) for bucket in buckets]
        codes: dict[str, dict[str, int]] = {}
        for counts in await self._redis.pipeline([("HGETALL", name) for name in names]):
            for field, count in counts.items():
                key, _, code = field.decode().partition(SEPARATOR)
                own = codes.setdefault(key, {})
                own[code] = own.get(code, 0) + int(count)
        return codes

    async def client_hours(self, groups: Mapping[str, str]) -> dict[str, tuple[Figures, ...]]:
        """The last 24 hours of each of these clients, the present one last, for the ids and groups of one page of
        clients. A client that has changed its group shows what it did in this one. Raises RedisUnavailable.
        """
        hour = bucket_of(Step.HOUR, self._clock.wall_s())
        hours = [
            self._redis.keys.books(*table_name(Step.HOUR, Table.CLIENTS, one))
            for one in range(hour - _HOURS + 1, hour + 1)
        ]
        found: dict[str, tuple[Figures, ...]] = {}
        ids = list(groups)
        for place in range(0, len(ids), _NAMES_AT_ONCE):
            some = ids[place : place + _NAMES_AT_ONCE]
            cells = [f"{client}{SEPARATOR}{groups[client]}" for client in some]
            rows: Sequence[Any] = await self._redis.pipeline([("HMGET", name, *cells) for name in hours])
            for client, column in zip(some, zip(*rows, strict=True), strict=True):
                found[client] = tuple(figures_in(sums_in(cell)) if cell else Figures() for cell in column)
        return found

    def _name(self, hour: int) -> str:
        return self._redis.keys.books(*BASE, "strips", str(hour))


def _minutes(strip: bytes) -> tuple[Minute, ...]:
    told = [_minute(*counts) for counts in _COUNTS.iter_unpack(strip)]
    return (*told, *[_QUIET] * (_MINUTES - len(told)))


def hour_of_week(answer: Answer) -> tuple[tuple[Figures, ...], ...]:
    """An answer by the hour as a week: Monday first, 24 hours (UTC) each. Ask for whole weeks, up to 28 days."""
    week: list[list[list[Figures]]] = [[[] for _ in range(24)] for _ in range(7)]
    for start_s, figures in zip(answer.starts_s, answer.series, strict=True):
        at = datetime.fromtimestamp(start_s, UTC)
        week[at.weekday()][at.hour].append(figures)
    return tuple(tuple(_summed(hours) for hours in day) for day in week)


def _summed(some: Iterable[Figures]) -> Figures:
    rows = list(some)
    if not rows:
        return Figures()
    return Figures(*(sum(getattr(row, name) for row in rows) for name in Figures.__struct_fields__))
