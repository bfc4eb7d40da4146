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
"""After so long without a sign a worker counts as dead: a third until its sign fades, the rest watched by others.

If Redis was away, all signs have faded when it is back, and those who live must have the time to give new ones.
"""
_SIGN_LASTS_S: Final = 20
_LOOKS: Final = 5  # in a row, ten seconds apart: longer than a worker's breaker keeps it from Redis
_SIGN_EVERY_S: Final = 10.0
_SWEPT_AT_ONCE: Final = 500


class SignsOfLife:
    """`counted` is told how many workers live."""

    def __init__(self, redis: RedisManager, journal: str, counted: Callable[[int], None]) -> None:
        self._redis = redis
        self._counted = counted
        self._own = {journal}
        self._workers = redis.keys.books("workers")
        self._missed: dict[str, int] = {}
        self._tasks = TaskSet()

    async def start(self) -> None:
        """Raises RedisUnavailable."""
        await self._sign()
        self._tasks.spawn(self._go_on(), "limits: signs of life")

    async def close(self) -> None:
        """Where nothing is held any more, nobody has to wait until the sign fades."""
        await self._tasks.close()
        with contextlib.suppress(RedisUnavailable, RedisReplyError):
            await self._leave(sorted(self._own))

    async def keep(self, journal: str) -> None:
        """Holds of a journal that was taken over live on as long as this worker. Raises RedisUnavailable."""
        self._own.add(journal)
        await self._sign()

    async def let_go(self, journal: str) -> None:
        """All of a journal that was taken over is booked. What it still holds is the sweep's business."""
        self._own.discard(journal)
        with contextlib.suppress(RedisUnavailable, RedisReplyError):
            await self._leave([journal])

    async def _leave(self, journals: list[str]) -> None:
        held = await self._redis.pipeline([("HLEN", holds_name(self._redis.keys, one)) for one in journals])
        done = [one for one, count in zip(journals, held, strict=True) if not count]
        if done:
            signs: list[tuple[Any, ...]] = [("DEL", self._sign_of(one)) for one in done]
            await self._redis.pipeline([*signs, ("SREM", self._workers, *done)])

    def _sign_of(self, journal: str) -> str:
        return self._redis.keys.books("alive", journal)

    async def _sign(self) -> None:
        own = sorted(self._own)
        commands: list[tuple[Any, ...]] = [("SET", self._sign_of(one), "1", "EX", _SIGN_LASTS_S) for one in own]
        await self._redis.pipeline([*commands, ("SADD", self._workers, *own)])

    async def _go_on(self) -> None:
        while True:
            try:
                await self._sign()
                self._counted(max(1, await self.sweep()))
            except RedisUnavailable:
                self._missed.clear()
                log.debug("no sign given")
            except RedisReplyError as error:
                self._missed.clear()
                log.error("sweep of holds", extra={"code": error.code})  # noqa: TRY400 - no frames of ours
            await asyncio.sleep(_SIGN_EVERY_S)

    async def sweep(self) -> int:
        """Looks once who lives, and gives back what the dead hold. How many live. Raises RedisUnavailable."""
        workers = sorted(bytes(one).decode() for one in await self._redis.command("SMEMBERS", self._workers))
        signs = await self._redis.pipeline([("EXISTS", self._sign_of(one)) for one in workers])
        missing = [one for one, alive in zip(workers, signs, strict=True) if not alive]
        self._missed = {one: self._missed.get(one, 0) + 1 for one in missing}
        for worker in missing:
            if self._missed[worker] >= _LOOKS:
                await self._give_back(worker)
        return len(workers) - len(missing)

    async def _give_back(self, worker: str) -> None:
        names = (self._sign_of(worker), holds_name(self._redis.keys, worker), self._workers)
        held = await self._redis.command("HLEN", names[1])
        place = b"0"
        while True:
            place = await self._redis.script("sweep", names, (worker, place, _SWEPT_AT_ONCE))
            if place == b"0":
                break
        if held:
            log.warning("holds given back", extra={"worker": worker, "holds": held})
