"""Looks every few seconds at everything that somebody must hear of: the worker that leads at what all share, each
worker at whether Redis answers. It decides nothing and tells nobody itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import platform
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.core import log_lock
from app.core.clock import Clock
from app.core.redis import RedisManager, RedisReplyError, RedisUnavailable
from app.core.tasks import TaskSet
from app.models.alerts import Condition
from app.models.renewal import Entry
from app.services.alert_conditions import REFUSALS, Bounds, Sight, conditions, ending, redis_away, redis_refuses
from app.services.alerts import Alerts
from app.services.health import Health
from app.services.key_picture import KeyPicture

log = logging.getLogger(__name__)

_LOOK_EVERY_S: Final = 5.0
_HOUR_S: Final = 3600
_FOLDER: Final = "alerts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where it looks. What asks Redis raises RedisUnavailable."""

    health: Callable[[], Awaitable[Health]]
    pictures: Callable[[], Awaitable[Sequence[KeyPicture]]]
    find: Callable[[str], KeyPicture | None]
    renewals: Callable[[], Awaitable[Mapping[str, Entry]]]
    managed: Callable[[], Awaitable[Mapping[str, Any]]]
    journal_bytes: Callable[[], Awaitable[int]]


class AlertWatch:
    """`folder` is the machine's own: one of the workers that share it tells while Redis is away."""

    def __init__(
        self, redis: RedisManager, clock: Clock, alerts: Alerts, sources: Sources, bounds: Bounds, folder: Path
    ) -> None:
        self._redis = redis
        self._clock = clock
        self._alerts = alerts
        self._sources = sources
        self._bounds = bounds
        self._folder = folder / _FOLDER
        self._probe = redis.keys.books("alerts", "probe")
        self._lock: int | None = None
        self._tasks = TaskSet()

    def start(self) -> None:
        self._tasks.spawn(self._go_on(), "alerts: watch")

    async def close(self) -> None:
        await self._tasks.close()
        self._unlock()

    async def _go_on(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            try:
                await self.look()
            except (RedisUnavailable, RedisReplyError) as failure:
                log.debug("alerts watch without redis", extra={"reason": str(failure)})
            except Exception as error:  # noqa: BLE001 - a supervisor: who leads and has stopped would stop all
                log.error("alerts watch failed", extra={"error": type(error).__name__})  # noqa: TRY400 - may quote

    async def look(self) -> None:
        """Raises RedisUnavailable where it goes away in the middle."""
        away = await self._look_alone()
        if away or not self._alerts.leads:
            return
        sight = await self._sight()
        if sight is not None:
            found = conditions(sight, self._bounds)
            await self._alerts.take(found, lambda condition, held_s: ending(condition, sight, held_s))

    # ---- without Redis

    async def _look_alone(self) -> bool:
        """Whether Redis does not answer, or takes no write: then nothing is stored of what else is found."""
        found = await self._refusal()
        if found or self._alerts.alone:
            nothing = Sight(now_s=self._clock.wall_s())
            chosen = await asyncio.to_thread(self._is_chosen)
            self._alerts.take_alone(found, lambda condition, held_s: ending(condition, nothing, held_s), tells=chosen)
            if not self._alerts.alone:
                self._unlock()
        return bool(found)

    async def _refusal(self) -> list[Condition]:
        place = platform.node() or "this machine"
        try:
            await self._alerts.silences()  # to be known when Redis is away
            # A Redis that is full or cannot write to its disk answers all the same.
            await self._redis.command("SET", self._probe, "1", "EX", _HOUR_S)
        except RedisUnavailable as failure:
            waiting = await self._sources.journal_bytes()
            if failure.reason in REFUSALS:
                return [redis_refuses(place, failure.reason, waiting)]
            return [redis_away(place, waiting)]
        except RedisReplyError:
            return [redis_away(place, await self._sources.journal_bytes())]
        return []

    def _is_chosen(self) -> bool:
        """Whether this worker has the machine's lock. On a disk that does not lock, everybody tells: rather twice."""
        if self._lock is None:
            try:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._lock = log_lock.take(self._folder)
            except OSError:
                return True
        return self._lock is not None

    def _unlock(self) -> None:
        if self._lock is not None:
            with contextlib.suppress(OSError):
                os.close(self._lock)
        self._lock = None

    # ---- what all workers share

    async def _sight(self) -> Sight | None:
        """Nothing while there is nothing to be seen: the keys are not loaded, or this worker is stopping."""
        health = await self._sources.health()
        if not health.loaded or health.draining:
            return None
        keys = health.openrouter_keys
        return Sight(
            now_s=self._clock.wall_s(),
            ready=keys.get("ready", 0),
            serving=keys.get("ready", 0) + keys.get("resting", 0) + keys.get("unreadable", 0),
            incident=health.incident,
            store_reset=health.store_reset,
            pictures=await self._sources.pictures(),
            find=self._sources.find,
            renewals=tuple((await self._sources.renewals()).values()),
            managed=(await self._sources.managed()).keys(),
            redis=await self._servers(),
            failed_sign_ins=await self._failed_sign_ins(),
            journal_bytes=await self._sources.journal_bytes(),
        )

    async def _servers(self) -> Sequence[Mapping[str, Any]]:
        """What each Redis says of itself."""
        info = await self._redis.command("INFO")
        if not isinstance(info, dict):
            return []
        nodes = [one for one in info.values() if isinstance(one, dict) and "redis_version" in one]
        return nodes or [info]

    async def _failed_sign_ins(self) -> int:
        """Of this hour; of the one before as long as it is not long ago."""
        now_s = self._clock.wall_s()
        hour, into_s = divmod(int(now_s), _HOUR_S)
        names = [self._redis.keys.people("failures", str(one)) for one in (hour, hour - 1)]
        this, last = await self._redis.pipeline([("GET", name) for name in names])
        return max(int(this or 0), int(last or 0) if into_s < _HOUR_S / 2 else 0)
