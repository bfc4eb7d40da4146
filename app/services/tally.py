"""What each client's calls cost, added up in Redis in batches off the request path.

A plain sum of the costs that OpenRouter reports; it enforces nothing. Exact reservations and the ledger are another
room.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from datetime import date, timedelta
from functools import lru_cache

from app.core.clock import Clock
from app.core.redis import RedisManager, RedisUnavailable
from app.core.tasks import TaskSet
from app.models.usage import Spent

log = logging.getLogger(__name__)

_BATCH_S = 0.05
_RETRY_S = 1.0
_KEPT_S = 40 * 86_400


@lru_cache(maxsize=8)
def _periods_of(day: int) -> tuple[str, str, str]:
    today = date(1970, 1, 1) + timedelta(days=day)
    monday = today - timedelta(days=today.weekday())
    return f"d:{today}", f"w:{monday}", f"m:{today:%Y-%m}"


def periods(wall_s: float) -> tuple[str, str, str]:
    """The names of the running day, week (its Monday) and month, in UTC."""
    return _periods_of(int(wall_s // 86_400))


class Tally:
    """Adds up and tells. A sum that could not be written yet is kept and written later."""

    def __init__(self, redis: RedisManager, tasks: TaskSet, clock: Clock) -> None:
        self._redis = redis
        self._tasks = tasks
        self._clock = clock
        self._fresh: defaultdict[tuple[str, int], int] = defaultdict(int)
        """Costs by client and day, in seconds / 86,400: what a call pays for."""
        self._pending: defaultdict[tuple[str, str], int] = defaultdict(int)
        """The same by client and period, as it is written."""
        self._writing = False

    def add(self, client_id: str, cost_nano: int) -> None:
        """Notes a cost."""
        if cost_nano <= 0:
            return
        self._fresh[client_id, int(self._clock.wall_s() // 86_400)] += cost_nano
        if not self._writing:
            self._writing = True
            self._tasks.spawn(self._write_soon(), "tally: write sums")

    def _sort_out(self) -> None:
        fresh, self._fresh = self._fresh, defaultdict(int)
        for (client_id, day), nano in fresh.items():
            for period in ("total", *_periods_of(day)):
                self._pending[client_id, period] += nano

    async def spent(self, client_id: str) -> Spent:
        """The client's figures now, this worker's unwritten ones included. Raises RedisUnavailable."""
        self._sort_out()
        names = ("total", *periods(self._clock.wall_s()))
        stored = await self._redis.pipeline([("GET", self._redis.keys.spent(client_id, name)) for name in names])
        sums = [
            int(value or 0) + self._pending.get((client_id, name), 0) for value, name in zip(stored, names, strict=True)
        ]
        return Spent(*sums)

    async def flush(self) -> None:
        """Writes what is pending, as far as Redis lets it."""
        self._sort_out()
        batch, self._pending = self._pending, defaultdict(int)
        commands: list[tuple[str, ...]] = []
        for (client_id, period), nano in batch.items():
            name = self._redis.keys.spent(client_id, period)
            commands.append(("INCRBY", name, str(nano)))
            if period != "total":
                commands.append(("EXPIRE", name, str(_KEPT_S)))
        try:
            await self._redis.pipeline(commands)
        except RedisUnavailable:
            for mark, nano in batch.items():
                self._pending[mark] += nano
            raise

    async def _write_soon(self) -> None:
        try:
            await asyncio.sleep(_BATCH_S)
            while self._pending or self._fresh:
                try:
                    await self.flush()
                except RedisUnavailable:
                    log.warning("cost sums waiting", extra={"pending": len(self._pending)})
                    await asyncio.sleep(_RETRY_S)
        finally:
            self._writing = False
