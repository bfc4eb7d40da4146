"""Answers questions about usage from the tables of sums, and adds to them what settlements have left. Knows no single
call.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from app.core.clock import Clock
from app.core.redis import RedisManager, RedisReplyError, RedisUnavailable
from app.core.tasks import TaskSet
from app.services.cells import BASE, FRESH, Table, rolling_plan, table_name
from app.services.insight_plan import Answer, Plan, Query, Sheet, Waits, answer, plan, waits_of

log = logging.getLogger(__name__)

_PAUSE_S: Final = 5.0
_ROWS_AT_ONCE: Final = 64
"""So few that the script holds Redis up for some milliseconds at most."""
_MOST_ROUNDS: Final = 200
_HASHES_AT_ONCE: Final = 32
_CELLS_AT_ONCE: Final = 500
"""So few that reading them does not hold up the calls of this worker."""


class Insight:
    """One for each worker. Any number of them may roll at the same time: a fact is added once."""

    def __init__(self, redis: RedisManager, tasks: TaskSet, clock: Clock) -> None:
        self._redis = redis
        self._tasks = tasks
        self._clock = clock
        self._plan = rolling_plan()

    def start(self) -> None:
        self._tasks.spawn(self._keep_rolling(), "insight: add to the sums")

    async def answer(self, query: Query) -> Answer:
        """Raises QueryError, and RedisUnavailable."""
        asked = plan(query, self._clock.wall_s())
        await self.roll()
        sheet = await self._read(asked)
        before = await self._read(asked.before()) if query.compare else None
        waits = await self._waits(asked) if asked.table is Table.ALL else None
        # Off the loop: the calls of this worker do not wait for a long sum.
        return await asyncio.to_thread(answer, query, sheet, before, waits)

    async def roll(self) -> int:
        """Adds everything fresh to the tables; how many facts that were. Raises RedisUnavailable."""
        added = 0
        for _ in range(_MOST_ROUNDS):
            taken, left, broken = await self._redis.script(
                "cells",
                [self._redis.keys.books(*FRESH), self._redis.keys.books(*BASE)],
                [int(self._clock.wall_s()), _ROWS_AT_ONCE, self._plan],
            )
            added += int(taken)
            if broken:
                log.error("usage facts unreadable", extra={"facts": int(broken)})
            if not left:
                break
        return added

    async def _read(self, asked: Plan) -> Sheet:
        sheet, unseen = Sheet(asked), 0
        names = list(asked.names().items())
        for place in range(0, len(names), _HASHES_AT_ONCE):
            some = names[place : place + _HASHES_AT_ONCE]
            hashes = await self._redis.pipeline([("HGETALL", self._redis.keys.books(*parts)) for parts, _ in some])
            for (_, bucket), cells in zip(some, hashes, strict=True):
                sheet.put(bucket, cells)
                if (unseen := unseen + len(cells)) > _CELLS_AT_ONCE:
                    unseen = 0
                    await asyncio.sleep(0)
        return sheet

    async def _waits(self, asked: Plan) -> Waits | None:
        counts: dict[int, int] = {}
        names = [self._redis.keys.books(*table_name(asked.step, Table.WAITS, bucket)) for bucket in asked.buckets]
        for place in range(0, len(names), _HASHES_AT_ONCE):
            some = names[place : place + _HASHES_AT_ONCE]
            for bins in await self._redis.pipeline([("HGETALL", name) for name in some]):
                for bin_, count in bins.items():
                    counts[int(bin_)] = counts.get(int(bin_), 0) + int(count)
        return waits_of(counts)

    async def _keep_rolling(self) -> None:
        while True:
            await asyncio.sleep(_PAUSE_S)
            try:
                await self.roll()
            except (RedisUnavailable, RedisReplyError) as error:
                log.warning("usage sums waiting", extra={"reason": str(error)})
