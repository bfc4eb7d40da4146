"""The live parts of money and limits: they start in order, end in order, and leave nothing."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from app.books_parts import BooksParts
from app.core.clock import SystemClock
from app.core.config import Settings
from app.core.redis import RedisManager, RedisOptions, RedisUnavailable
from app.core.tasks import TaskSet
from app.services.key_manager import KeyManager
from app.services.upstream_api import UpstreamClient
from tests.redis_server import RedisServer
from tests.test_core.conftest import redis_server
from tests.test_services.key_workers import CLIENTS, RING

__all__ = ["redis_server"]

PRICES = json.dumps({"data": [{"id": "a/b", "pricing": {"prompt": "0.1", "completion": "0.1"}}]}).encode()


def tasks() -> set[str]:
    return {task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()}


async def prices() -> bytes:
    return PRICES


async def start(redis_url: str, folder: Path, stack: AsyncExitStack) -> BooksParts:
    clock, work = SystemClock(), TaskSet()
    settings = Settings(_env_file=None, data_dir=folder, openrouter_base_url="http://127.0.0.1:9/api/v1")
    redis = RedisManager(RedisOptions(url=redis_url), clock)
    stack.push_async_callback(redis.close)
    stack.push_async_callback(work.close)
    client = UpstreamClient(settings)
    stack.push_async_callback(client.close)
    keys = KeyManager(redis, RING, CLIENTS, clock)
    await keys.start(follow=False)
    stack.push_async_callback(keys.close)
    parts = BooksParts(settings, redis, work, clock)
    await parts.start(stack, client, RING, price_list=prices, secret_of=lambda _: None, groups=dict)
    parts.watch(stack, client, keys, dict, dict)
    return parts


async def test_closed_they_leave_nothing(redis_server: RedisServer, tmp_path: Path) -> None:
    """No task runs on and no journal is left; while they run, prices are known and there is one journal."""
    before = tasks()
    async with AsyncExitStack() as stack:
        parts = await start(redis_server.url, tmp_path, stack)
        async with asyncio.timeout(10):
            while not parts.prices.known("a/b"):
                await asyncio.sleep(0.01)
        assert len([path for path in (tmp_path / "journal").iterdir() if path.is_dir()]) == 1
        assert parts.books.open_calls == 0
    assert tasks() == before
    assert [path for path in (tmp_path / "journal").iterdir() if path.is_dir()] == []


async def test_without_redis_they_do_not_start(redis_server: RedisServer, tmp_path: Path) -> None:
    """What was started before the failure is closed again."""
    before = tasks()
    redis_server.kill()
    with pytest.raises(RedisUnavailable):
        async with AsyncExitStack() as stack:
            await start(redis_server.url, tmp_path, stack)
    assert tasks() == before
