"""Tells, over all workers, when no call runs any more on a key that was switched off here.

Each worker reports how many calls still run on each key that it knows to be off. A key is drained when every worker
that lives has reported it with none: a worker that has not heard of the change has no such line.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from app.core.clock import Clock
from app.core.redis import RedisManager, RedisReplyError, RedisUnavailable
from app.core.tasks import TaskSet

log = logging.getLogger(__name__)

REPORT_EVERY_S: Final = 1.0
SETTLE_S: Final = 2 * REPORT_EVERY_S
"""A worker that starts this moment has read the keys, and not reported yet."""
DEAD_AFTER_S: Final = 20.0
"""A worker that cannot reach Redis may still stream: it is waited for as long as this."""


class _Report(msgspec.Struct, frozen=True):
    at_s: float
    off: dict[str, int]


_read: Final = msgspec.json.Decoder(_Report).decode


class DrainWatch:
    """`off` gives the ids of the keys that are off here, `in_flight` how many calls run on a key, gone or not."""

    def __init__(
        self,
        redis: RedisManager,
        clock: Clock,
        off: Callable[[], Iterable[str]] | None = None,
        in_flight: Callable[[], Mapping[str, int]] | None = None,
    ) -> None:
        self._redis = redis
        self._clock = clock
        self._off = off
        self._in_flight = in_flight
        self._worker = secrets.token_hex(8)
        self._tasks = TaskSet()

    def start(self) -> None:
        """Reports until `close`. A command that only asks has nothing to report."""
        self._tasks.spawn(self._report_on(), "renewal: report in flight")

    async def close(self) -> None:
        await self._tasks.close()
        try:
            await self._redis.command("HDEL", self._redis.keys.in_flight, self._worker)
        except (RedisUnavailable, RedisReplyError):
            log.info("drain report left", extra={"detail": "it ends by itself"})

    async def report(self) -> None:
        """Raises RedisUnavailable."""
        if self._off is None or self._in_flight is None:
            return
        counts = self._in_flight()
        report = _Report(self._clock.wall_s(), {key_id: counts.get(key_id, 0) for key_id in self._off()})
        await self._redis.command("HSET", self._redis.keys.in_flight, self._worker, msgspec.json.encode(report))

    async def drained(self, key_id: str, off_since_s: float) -> bool:
        """Whether no worker runs a call on the key, which was switched off then. Raises RedisUnavailable."""
        now_s = self._clock.wall_s()
        if now_s - off_since_s < SETTLE_S:
            return False
        reports = await self._reports(now_s)
        return all(report.at_s > off_since_s and report.off.get(key_id) == 0 for report in reports)

    async def _reports(self, now_s: float) -> list[_Report]:
        """Of all workers that may live. Those of the dead are swept."""
        flat = await self._redis.command("HGETALL", self._redis.keys.in_flight)
        pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
        alive, dead = [], []
        for worker, text in pairs:
            report = _report(text)
            if report is None or now_s - report.at_s > DEAD_AFTER_S:
                dead.append(worker)
            else:
                alive.append(report)
        if dead:
            await self._redis.command("HDEL", self._redis.keys.in_flight, *dead)
        return alive

    async def _report_on(self) -> None:
        while True:
            try:
                await self.report()
            except (RedisUnavailable, RedisReplyError):
                log.debug("drain report failed")
            await asyncio.sleep(REPORT_EVERY_S)


def _report(text: bytes) -> _Report | None:
    try:
        return _read(text)
    except msgspec.MsgspecError:
        return None
