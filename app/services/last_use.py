"""When each client called last: noted in memory, written now and then. Exact to some seconds, as people ask for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from app.core.clock import Clock
from app.core.redis import RedisManager, RedisReplyError, RedisUnavailable
from app.core.tasks import TaskSet

_PAUSE_S: Final = 3.0
_AT_ONCE: Final = 1000


class LastUse:
    """One for each worker; all of them write into one hash."""

    def __init__(self, redis: RedisManager, tasks: TaskSet, clock: Clock) -> None:
        self._redis = redis
        self._tasks = tasks
        self._clock = clock
        self._name = redis.keys.books("last-use")
        self._fresh: dict[str, int] = {}

    def start(self) -> None:
        self._tasks.spawn(self._keep_writing(), "clients: last use")

    def note(self, client_id: str, at_s: float) -> None:
        self._fresh[client_id] = int(at_s)

    async def of(self, client_ids: Sequence[str]) -> dict[str, float]:
        """Those that have called at all. Raises RedisUnavailable."""
        if not client_ids:
            return {}
        await self.flush()
        stored = await self._redis.command("HMGET", self._name, *client_ids)
        return {name: float(at) for name, at in zip(client_ids, stored, strict=True) if at}

    async def everyone(self) -> dict[str, float]:
        """The same of all clients. Raises RedisUnavailable."""
        await self.flush()
        stored = await self._redis.command("HGETALL", self._name)
        pairs = stored.items() if isinstance(stored, dict) else zip(stored[::2], stored[1::2], strict=True)
        return {bytes(name).decode(): float(at) for name, at in pairs}

    async def forget(self, client_ids: Sequence[str]) -> None:
        """Raises RedisUnavailable."""
        if client_ids:
            await self._redis.command("HDEL", self._name, *client_ids)

    async def flush(self) -> None:
        """Raises RedisUnavailable; what was not written waits."""
        while self._fresh:
            some = dict(list(self._fresh.items())[:_AT_ONCE])
            await self._redis.command("HSET", self._name, *(word for pair in some.items() for word in pair))
            for name, at_s in some.items():
                if self._fresh.get(name) == at_s:
                    del self._fresh[name]

    async def _keep_writing(self) -> None:
        while True:
            await asyncio.sleep(_PAUSE_S)
            try:
                await self.flush()
            except (RedisUnavailable, RedisReplyError):
                continue
