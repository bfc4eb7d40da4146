"""Which workers live: each says so every few seconds, and what the calls of a dead one have reserved is given back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Final

from app.core.redis import RedisManager, RedisReplyError, RedisUnavailable
from app.core.tasks import TaskSet
from app.services.limit_script import holds_name

log = logging.getLogger(__name__)

LEASE_S: Final = 60
"""After so long without a sign a worker counts as dead."""
_SIGN_EVERY_S: Final = 10.0
_SWEPT_AT_ONCE: Final = 500


class SignsOfLife:
    """`counted` is told how many workers live."""

    def __init__(self, redis: RedisManager, journal: str, counted: Callable[[int], None]) -> None:
        self._redis = redis
        self._counted = counted
        self._own = {journal}
        self._workers = redis.keys.books("workers")
        self._tasks = TaskSet()

    async def start(self) -> None:
        """Raises RedisUnavailable."""
        await self._sign()
        self._tasks.spawn(self._go_on(), "limits: signs of life")

    async def close(self) -> None:
        await self._tasks.close()
        with contextlib.suppress(RedisUnavailable, RedisReplyError):
            await self._redis.pipeline([("DEL", self._sign_of(journal)) for journal in self._own])

    async def keep(self, journal: str) -> None:
        """Holds of a journal that was taken over live on as long as this worker. Raises RedisUnavailable."""
        self._own.add(journal)
        await self._sign()

    def let_go(self, journal: str) -> None:
        self._own.discard(journal)

    def _sign_of(self, journal: str) -> str:
        return self._redis.keys.books("alive", journal)

    async def _sign(self) -> None:
        own = sorted(self._own)
        commands: list[tuple[Any, ...]] = [("SET", self._sign_of(one), "1", "EX", LEASE_S) for one in own]
        await self._redis.pipeline([*commands, ("SADD", self._workers, *own)])

    async def _go_on(self) -> None:
        while True:
            try:
                await self._sign()
                self._counted(max(1, await self.sweep()))
            except RedisUnavailable:
                log.debug("no sign given")
            except RedisReplyError as error:
                log.error("sweep of holds", extra={"code": error.code})  # noqa: TRY400 - no frames of ours
            await asyncio.sleep(_SIGN_EVERY_S)

    async def sweep(self) -> int:
        """Gives back what dead workers hold. How many live."""
        workers = sorted(bytes(one).decode() for one in await self._redis.command("SMEMBERS", self._workers))
        signs = await self._redis.pipeline([("EXISTS", self._sign_of(one)) for one in workers])
        for worker in (one for one, alive in zip(workers, signs, strict=True) if not alive):
            names = (self._sign_of(worker), holds_name(self._redis.keys, worker), self._workers)
            left = 1
            while left:
                left = int(await self._redis.script("sweep", names, (worker, _SWEPT_AT_ONCE)))
            log.warning("holds given back", extra={"worker": worker})
        return sum(map(bool, signs))
