"""Workers of a gateway as far as keys go: each a KeyManager on a connection of its own."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from app.core.clock import SystemClock
from app.core.redis import RedisManager
from app.core.security import ClientKeyring, KeyRing
from app.services import key_view
from app.services.key_manager import KeyManager, Probe
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager

RING = KeyRing({1: b"1" * 32})
CLIENTS = ClientKeyring(b"p" * 32)


def openrouter_key(number: int) -> str:
    """A key of OpenRouter's form, of which no two share more than the prefix."""
    return f"sk-or-v1-{number:08x}{b'canary'.hex()}{number * 2654435761 % 2**176:044x}"


class TurnedClock(SystemClock):
    """The machine's clocks, set forward by `ahead_s`."""

    ahead_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.ahead_s


@contextlib.asynccontextmanager
async def worker(
    server: RedisServer,
    probe: Probe | None = None,
    *,
    follow: bool = True,
    clock: SystemClock | None = None,
    ring: KeyRing = RING,
) -> AsyncIterator[KeyManager]:
    """A started worker, for as long as the block runs."""
    async with manager(server) as redis, on_redis(redis, probe, follow=follow, clock=clock, ring=ring) as keys:
        yield keys


@contextlib.asynccontextmanager
async def on_redis(
    redis: RedisManager,
    probe: Probe | None = None,
    *,
    follow: bool = True,
    clock: SystemClock | None = None,
    ring: KeyRing = RING,
) -> AsyncIterator[KeyManager]:
    keys = KeyManager(redis, ring, CLIENTS, clock or SystemClock(), probe)
    await keys.start(follow=follow)
    try:
        yield keys
    finally:
        await keys.close()


async def until(true: Callable[[], Any], within_s: float = 10.0) -> None:
    """Waits for something that another task brings about."""
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.01)


@contextlib.contextmanager
def messages_only(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody compares versions, so that what is seen was heard."""
    with patch.context() as patched:
        patched.setattr(key_view, "_COMPARE_EVERY_S", 3600.0)
        yield
