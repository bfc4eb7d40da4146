"""Kept bodies on a real Redis: sealed, short-lived, bounded, and nobody's hindrance."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from app.core.redis import RedisManager
from app.core.security import KeyRing
from app.core.tasks import TaskSet
from app.services.bodies import Bodies, Body
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager
from tests.test_services.ledger_world import SetClock

RING = KeyRing({1: b"k" * 32})


@contextlib.asynccontextmanager
async def bodies(server: RedisServer, ring: KeyRing = RING) -> AsyncIterator[tuple[RedisManager, Bodies, TaskSet]]:
    tasks = TaskSet()
    async with manager(server) as redis:
        yield redis, Bodies(redis, tasks, SetClock(), ring, kept_h=2), tasks
        await tasks.close()


async def done(tasks: TaskSet) -> None:
    async with asyncio.timeout(10):
        while len(tasks):
            await asyncio.sleep(0.005)


async def test_bodies_are_kept_sealed(redis_server: RedisServer) -> None:
    """Only with the ring they can be read, for as long as is set; keys in them are cut."""
    async with bodies(redis_server) as (redis, shelf, tasks):
        shelf.keep("req_1", b"what is 6*7? sk-or-v1-" + b"a" * 64, b"\x00\xff42")
        await done(tasks)
        body = await shelf.read("req_1")
        assert body is not None
        assert (body.asked[:20], body.answered) == (b"what is 6*7? sk-or-.", b"\x00\xff42")
        assert b"aaaa" not in body.asked
        stored = bytes(await redis.command("GET", redis.keys.books("body", "req_1")))
        assert b"what" not in stored
        assert 7000 < await redis.command("TTL", redis.keys.books("body", "req_1")) <= 7200
        assert await shelf.read("req_2") is None


async def test_long_bodies_are_cut(redis_server: RedisServer) -> None:
    """And say so."""
    async with bodies(redis_server) as (_, shelf, tasks):
        shelf.keep("req_1", b"a" * 70_000, b"b" * 65_536)
        await done(tasks)
        assert await shelf.read("req_1") == Body(b"a" * 65_536, b"b" * 65_536, True, False)


async def test_the_oldest_go_first(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are never more than so many."""
    monkeypatch.setattr("app.services.bodies._MOST_KEPT", 5)
    async with bodies(redis_server) as (redis, shelf, tasks):
        for number in range(9):
            shelf._clock = SetClock(1000.0 + number)
            shelf.keep(f"req_{number}", b"?", b"!")
            await done(tasks)
        kept = [number for number in range(9) if await shelf.read(f"req_{number}") is not None]
        assert kept == [4, 5, 6, 7, 8]
        assert await redis.command("ZCARD", redis.keys.books("bodies")) == 5


async def test_what_cannot_wait_is_dropped(redis_server: RedisServer) -> None:
    """Nobody waits for it, and memory stays bounded."""
    async with bodies(redis_server) as (_, shelf, tasks):
        for number in range(200):
            shelf.keep(f"req_{number}", b"?", b"!")
        assert shelf.dropped == 72
        await done(tasks)
        assert await shelf.read("req_127") is not None


async def test_without_redis_they_are_lost(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """Told once, and kept again when it is back."""
    async with bodies(redis_server) as (_, shelf, tasks):
        redis_server.kill()
        for number in range(3):
            shelf.keep(f"req_{number}", b"?", b"!")
        await done(tasks)
        assert shelf.dropped == 3
        assert "bodies not kept" in caplog.text


async def test_another_ring_reads_nothing(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """Nor does one request's body open as another's."""
    async with bodies(redis_server) as (redis, shelf, tasks):
        shelf.keep("req_1", b"?", b"!")
        await done(tasks)
        stored = await redis.command("GET", redis.keys.books("body", "req_1"))
        await redis.command("SET", redis.keys.books("body", "req_2"), stored)
        assert await shelf.read("req_2") is None
        async with bodies(redis_server, KeyRing({1: b"x" * 32})) as (_, strangers, _):
            assert await strangers.read("req_1") is None
    assert "kept body unreadable" in caplog.text
