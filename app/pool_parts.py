"""What keeps the pool of OpenRouter keys true while the process lives: marks, probes, drains, renewals, switches.

Put together in the order in which they depend on each other; closed by the stack, the last one first.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final, Protocol

from app.core.clock import Clock
from app.core.config import Settings
from app.core.redis import RedisManager
from app.core.security import KeyRing
from app.models.keys import KeyState
from app.services.drain_watch import DrainWatch
from app.services.election import Election
from app.services.incident import Incidents
from app.services.key_facts import PROBES, FactStore
from app.services.key_manager import KeyManager
from app.services.management_api import ManagementApi
from app.services.marks import Marks
from app.services.pool import Pool
from app.services.renewal import Renewal
from app.services.rotation import ProbeLimits, RotationManager
from app.services.switches import Switch, Switches
from app.services.upstream_api import KeyProbe, UpstreamClient

log = logging.getLogger(__name__)

_RENEWALS: Final = "renewals"


class _Told(Protocol):
    """Something that tells of its changes."""

    def subscribe(self, on_change: Callable[[], None]) -> None: ...


class PoolParts:
    """The live parts, from `start` on. `pool` follows them."""

    def __init__(self, settings: Settings, pool: Pool, redis: RedisManager, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._redis = redis
        self.pool = pool
        self.client = UpstreamClient(settings)
        self.probe = KeyProbe(settings, self.client)
        self.marks = Marks(redis, clock)
        self.facts = FactStore(redis, clock)
        self.switches = Switches(redis, clock)
        self.rotation: RotationManager | None = None

    async def start(self, stack: AsyncExitStack, keys: KeyManager, ring: KeyRing) -> None:
        """Raises RedisUnavailable."""
        for part in (self.marks, self.facts, self.switches):
            stack.push_async_callback(part.close)
            await part.start()
        self._follow()
        self._start_probes(stack, keys)
        self._start_renewals(stack, keys, ring)

    def _follow(self) -> None:
        """Lets the pool know at once, and whenever something changes."""
        pool = self.pool
        followed: tuple[tuple[_Told, Callable[[], None]], ...] = (
            (self.marks, lambda: pool.take_marks(self.marks.in_force())),
            (self.facts, lambda: pool.take_facts(self.facts.every)),
            (self.switches, self._take_strategy),
        )
        for part, take in followed:
            take()
            part.subscribe(take)

    def _take_strategy(self) -> None:
        try:
            self.pool.set_strategy(self.switches.get(Switch.STRATEGY) or self._settings.pool_strategy)
        except ValueError:  # a word of a newer release, or written by hand
            log.error("stored strategy unknown", extra={"next": "openrouter-middleware pool strategy --default"})  # noqa: TRY400 - a sentence
            self.pool.set_strategy(self._settings.pool_strategy)

    @property
    def incident(self) -> bool:
        """Whether OpenRouter refuses good keys at this moment."""
        return self.rotation is not None and self.rotation.incident

    def _start_probes(self, stack: AsyncExitStack, keys: KeyManager) -> None:
        settings = self._settings
        limits = ProbeLimits(interval_s=settings.probe_interval_s, most_per_s=settings.probes_per_s)
        election = Election(self._redis, self._clock, PROBES)
        rotation = self.rotation = RotationManager(
            keys, self.probe, self.marks, self.facts, Incidents(), election, self._clock, limits
        )
        rotation.start()
        stack.push_async_callback(rotation.close)

    def _start_renewals(self, stack: AsyncExitStack, keys: KeyManager, ring: KeyRing) -> None:
        def off() -> list[str]:
            # The pool may hear of it a moment after the keys: until then a call may still begin.
            records = keys.openrouter_keys.values()
            return [key.id for key in records if key.state is not KeyState.ENABLED and self.pool.get(key.id) is None]

        drains = DrainWatch(self._redis, self._clock, off, self.pool.in_flight)
        drains.start()
        stack.push_async_callback(drains.close)
        election = Election(self._redis, self._clock, _RENEWALS)
        election.start()
        stack.push_async_callback(election.close)
        api = ManagementApi(self.client)
        self.renewal = Renewal(self._settings, self._redis, keys, api, self.probe, drains, ring, self._clock)
        self.renewal.start(lambda: election.holds)
        stack.push_async_callback(self.renewal.close)
