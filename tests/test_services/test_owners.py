"""Who made which object is remembered by every worker."""

from __future__ import annotations

import asyncio

import pytest

from app.core.clock import SystemClock
from app.core.redis import RedisUnavailable
from app.core.tasks import TaskSet
from app.services.owners import Owner, Owners
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager

ALICE = Owner("alice", "k1")
BOB = Owner("bob", "k2")


async def test_a_mark_is_seen_at_once_and_by_others_soon(redis_server: RedisServer) -> None:
    """The worker that saw the id knows at once; another one after the batch was written."""
    async with manager(redis_server) as redis:
        tasks = TaskSet()
        here, there = Owners(redis, tasks, SystemClock()), Owners(redis, tasks, SystemClock())
        here.mark("generation", "gen-1", ALICE)
        assert await here.find("generation", "gen-1") == ALICE

        await here.flush()

        assert await there.find("generation", "gen-1") == ALICE
        assert await there.find("generation", "gen-2") is None
        assert await there.find("file", "gen-1") is None
        assert await there.find("file", "") is None
        assert await there.find("file", "x" * 1000) is None
        await tasks.close()


async def test_the_first_maker_owns(redis_server: RedisServer) -> None:
    """Naming somebody else's object does not take it over."""
    async with manager(redis_server) as redis:
        tasks = TaskSet()
        owners = Owners(redis, tasks, SystemClock())
        await owners.mark_now("file", "file-1", ALICE)
        await owners.mark_now("file", "file-1", BOB)

        assert await owners.find("file", "file-1") == ALICE
        await tasks.close()


async def test_marks_wait_for_redis(redis_server: RedisServer) -> None:
    """While Redis is away marks are kept, answered from memory, and written when it is back."""
    async with manager(redis_server) as redis:
        tasks = TaskSet()
        owners = Owners(redis, tasks, SystemClock())
        redis_server.kill()
        await owners.mark_now("file", "file-1", ALICE)
        assert await owners.find("file", "file-1") == ALICE

        redis_server.start()
        for _ in range(100):
            if not len(tasks):
                break
            await asyncio.sleep(0.1)

        assert await Owners(redis, tasks, SystemClock()).find("file", "file-1") == ALICE
        await tasks.close()


async def test_a_container_named_by_two_is_the_first_ones_at_every_moment(redis_server: RedisServer) -> None:
    """Its id may hold a session id that anybody can choose, so a mark on its way proves nothing against a written one;
    and without Redis nobody is let in.
    """
    async with manager(redis_server) as redis:
        tasks = TaskSet()
        owners = Owners(redis, tasks, SystemClock())
        await owners.mark_now("container", "sess_1", ALICE)
        owners.mark("container", "sess_1", BOB)
        assert await owners.find("container", "sess_1") == ALICE
        owners.mark("container", "sess_2", BOB)
        assert await owners.find("container", "sess_2") == BOB

        await owners.flush()

        assert await owners.find("container", "sess_1") == ALICE
        days = int(await redis.command("TTL", redis.keys.owner("container", "sess_1"))) / 86_400
        assert 59 < days <= 60
        redis_server.kill()
        owners.mark("container", "sess_3", BOB)
        with pytest.raises(RedisUnavailable):
            await owners.find("container", "sess_3")
        await tasks.close()
