"""One worker of all is elected for a work, by a lease in Redis. Knows nothing of the work.

A holder believes in its lease a little shorter than Redis does. One that was asleep for too long is found out by its
fencing token: each new holder gets a higher one.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import Final

from app.core.clock import Clock
from app.core.redis import RedisManager, RedisReplyError, RedisUnavailable
from app.core.tasks import TaskSet

log = logging.getLogger(__name__)

TERM_S: Final = 10.0
_TRIES_PER_TERM: Final = 4
_TRUSTED_SHARE: Final = 0.9


class Election:
    """Stands for election from `start` to `close`; `holds` tells whether this worker is the elected one now."""

    def __init__(self, redis: RedisManager, clock: Clock, name: str, *, term_s: float = TERM_S) -> None:
        self.name = name
        self.owner = secrets.token_hex(8)
        self._redis = redis
        self._clock = clock
        self._term_s = term_s
        self._tasks = TaskSet()
        self._token = 0
        self._valid_until = float("-inf")

    @property
    def holds(self) -> bool:
        return self._token > 0 and self._clock.monotonic_s() < self._valid_until

    @property
    def token(self) -> int:
        """The fencing token of the lease that is held, 0 without one."""
        return self._token if self.holds else 0

    def start(self) -> None:
        self._tasks.spawn(self._stand(), f"election: {self.name}")

    async def close(self) -> None:
        """Gives the lease back, so that the next one need not wait for its end."""
        await self._tasks.close()
        if self._token:
            try:
                await self._ask(0)
            except (RedisUnavailable, RedisReplyError):
                log.info("lease not returned", extra={"work": self.name})
        self._token = 0

    async def campaign(self) -> bool:
        """Takes or renews the lease. Raises RedisUnavailable, and then a held lease stays until it ends by itself."""
        asked_at = self._clock.monotonic_s()
        held, token = self._token, await self._ask(self._term_s)
        self._token = token
        self._valid_until = asked_at + self._term_s * _TRUSTED_SHARE
        if token != held:
            log.info("election decided" if token else "election lost", extra={"work": self.name, "token": token})
        return self.holds

    async def _ask(self, term_s: float) -> int:
        names = [self._redis.keys.lease(self.name), self._redis.keys.fence(self.name)]
        return int(await self._redis.script("lease", names, [self.owner, round(term_s * 1000)]))

    async def _stand(self) -> None:
        while True:
            try:
                await self.campaign()
            except (RedisUnavailable, RedisReplyError):
                log.debug("election without redis", extra={"work": self.name})
            await asyncio.sleep(self._term_s / _TRIES_PER_TERM)
