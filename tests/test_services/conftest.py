"""What the tests of services share: a real Redis and a connected manager."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from app.core.clock import SystemClock
from app.core.redis import RedisManager, RedisOptions
from tests.redis_server import RedisServer
from tests.test_core.conftest import redis_server

__all__ = ["manager", "redis_server"]

PATIENCE_S = 1.5
"""A busy machine is no outage."""


@contextlib.asynccontextmanager
async def manager(server: RedisServer) -> AsyncIterator[RedisManager]:
    """A manager connected to the server, for as long as the block runs."""
    redis = RedisManager(RedisOptions(url=server.url, timeout_s=PATIENCE_S), SystemClock())
    await redis.connect()
    try:
        yield redis
    finally:
        await redis.close()
