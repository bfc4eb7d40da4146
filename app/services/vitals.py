"""How this worker feels, second by second: how late its loop is, how fast Redis answers, how much memory it holds."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.core.clock import Clock
from app.core.redis import RedisManager, RedisReplyError, RedisUnavailable
from app.core.tasks import TaskSet

_EVERY_S: Final = 2.0
_KEPT: Final = 90
_PAGE: Final = resource.getpagesize()


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """What Redis says of itself. None where it does not answer, or does not say."""

    version: str = ""
    memory_bytes: int | None = None
    memory_most: int | None = None
    appends: bool | None = None
    keys: int | None = None


class Vitals:
    """One for each worker. The series are the newest last, one value every two seconds; None: no answer."""

    def __init__(self, redis: RedisManager, tasks: TaskSet, clock: Clock) -> None:
        self._redis = redis
        self._tasks = tasks
        self._clock = clock
        self.began_s = clock.wall_s()
        self.lag_ms: deque[float] = deque(maxlen=_KEPT)
        self.redis_ms: deque[float | None] = deque(maxlen=_KEPT)

    def start(self) -> None:
        self._tasks.spawn(self._keep_looking(), "vitals: look")

    @property
    def memory_bytes(self) -> int:
        """Resident, of this process."""
        try:
            return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * _PAGE
        except (OSError, IndexError, ValueError):
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            return peak if sys.platform == "darwin" else peak * 1024

    @property
    def pid(self) -> int:
        return os.getpid()

    async def redis_facts(self) -> RedisFacts:
        try:
            info, size = await self._redis.pipeline([("INFO",), ("DBSIZE",)])
        except (RedisUnavailable, RedisReplyError):
            return RedisFacts()
        told: dict[str, Any] = info if isinstance(info, dict) else {}
        return RedisFacts(
            version=str(told.get("redis_version", "")),
            memory_bytes=_whole(told.get("used_memory")),
            memory_most=_whole(told.get("maxmemory")) or None,
            appends=bool(_whole(told.get("aof_enabled"))) if "aof_enabled" in told else None,
            keys=int(size),
        )

    async def _keep_looking(self) -> None:
        while True:
            due_s = self._clock.monotonic_s() + _EVERY_S
            await asyncio.sleep(_EVERY_S)
            self.lag_ms.append(max(0.0, (self._clock.monotonic_s() - due_s) * 1000))
            try:
                self.redis_ms.append(await self._redis.ping() * 1000)
            except (RedisUnavailable, RedisReplyError):
                self.redis_ms.append(None)


def _whole(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None
