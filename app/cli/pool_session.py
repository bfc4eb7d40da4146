"""A command's session with the pool of a running gateway: its keys, marks, facts and switches, once read and not
followed. Slow to import, so only `pool` does, at work.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from app.cli.session import run_on_keys, usable_settings
from app.core.clock import Clock, SystemClock
from app.core.config import Settings
from app.core.redis import RedisManager, redis_options
from app.services.key_facts import FactStore
from app.services.key_manager import KeyManager
from app.services.key_picture import KeyPicture, key_pictures
from app.services.marks import Marks
from app.services.switches import Switches

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class PoolSession:
    """What a command may look at and change."""

    settings: Settings
    clock: Clock
    keys: KeyManager
    marks: Marks
    facts: FactStore
    switches: Switches

    def pictures(self) -> tuple[KeyPicture, ...]:
        return key_pictures(
            self.keys.openrouter_keys.values(),
            self.facts.every,
            self.marks.in_force(),
            self.facts.samples,
            self.clock.wall_s(),
        )


def run_on_pool(work: Callable[[PoolSession], Awaitable[_Result]]) -> _Result:
    """Raises CommandFailed."""
    settings = usable_settings()

    async def run(keys: KeyManager) -> _Result:
        async with _opened(settings, keys) as session:
            return await work(session)

    return run_on_keys(run, probe=False, makes_secrets=False)


@asynccontextmanager
async def _opened(settings: Settings, keys: KeyManager) -> AsyncIterator[PoolSession]:
    clock = SystemClock()
    redis = RedisManager(redis_options(settings), clock)
    marks, facts, switches = Marks(redis, clock), FactStore(redis, clock), Switches(redis, clock)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(redis.close)
        for part in (marks, facts, switches):
            stack.push_async_callback(part.close)
            await part.start(follow=False)
        yield PoolSession(settings, clock, keys, marks, facts, switches)
