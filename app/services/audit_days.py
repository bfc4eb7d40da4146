"""How many deeds were done on each of the last days, counted from the audit's own stream. Each entry is read once."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

from app.core.clock import Clock
from app.core.redis import RedisManager

DAYS: Final = 60
DAY_S: Final = 86_400
_AT_ONCE: Final = 1000
_MOST_AT_A_LOOK: Final = 20_000


class AuditDays:
    """One for each worker. Entries are counted by the day that Redis noted them on."""

    def __init__(self, redis: RedisManager, clock: Clock) -> None:
        self._redis = redis
        self._clock = clock
        self._counts: Counter[int] = Counter()
        self._seen = ""
        self._in_turn = asyncio.Lock()

    async def counts(self) -> list[tuple[float, int]]:
        """(first second of the day in UTC, deeds), the oldest first. After a long time away the newest may still be
        missing: the next look goes on. Raises RedisUnavailable.
        """
        today = int(self._clock.wall_s() // DAY_S)
        async with self._in_turn:
            await self._read_on((today - DAYS + 1) * DAY_S * 1000)
        for day in [day for day in self._counts if day <= today - DAYS]:
            del self._counts[day]
        return [(float(day * DAY_S), self._counts[day]) for day in range(today - DAYS + 1, today + 1)]

    async def _read_on(self, oldest_ms: int) -> None:
        read = 0
        while read < _MOST_AT_A_LOOK:
            after = f"({self._seen}" if self._seen else str(oldest_ms)
            found = await self._redis.command("XRANGE", self._redis.keys.audit, after, "+", "COUNT", _AT_ONCE)
            for place, _ in found:
                self._seen = bytes(place).decode("ascii")
                self._counts[int(self._seen.partition("-")[0]) // (DAY_S * 1000)] += 1
            read += len(found)
            if len(found) < _AT_ONCE:
                return
