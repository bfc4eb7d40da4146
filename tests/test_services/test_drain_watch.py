"""When no worker runs a call on a key any more."""

from __future__ import annotations

import pytest

from app.services import drain_watch
from app.services.drain_watch import DEAD_AFTER_S, SETTLE_S, DrainWatch
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager
from tests.test_services.key_workers import until
from tests.test_services.renewal_world import AheadClock


async def test_a_key_is_drained_when_all_workers_say_so(redis_server: RedisServer) -> None:
    """Not while one runs a call, nor while one has not heard that the key is off."""
    clock = AheadClock()
    async with manager(redis_server) as redis:
        asker = DrainWatch(redis, clock)
        since = clock.wall_s()
        assert not await asker.drained("k", since), "a worker may just be starting"
        clock.ahead_s += SETTLE_S
        assert await asker.drained("k", since), "nobody is there"
        running, off = {"k": 1}, ["k"]
        one = DrainWatch(redis, clock, lambda: off, lambda: running)
        deaf = DrainWatch(redis, clock, lambda: (), dict)
        await one.report()
        assert not await asker.drained("k", since), "a call runs"
        running.clear()
        await one.report()
        assert await asker.drained("k", since)
        assert not await asker.drained("k", clock.wall_s() - SETTLE_S + 1), "the report is older"
        await deaf.report()
        assert not await asker.drained("k", since), "one has not heard"
        await deaf.close()
        assert await asker.drained("k", since)
        await asker.report()


async def test_the_dead_are_not_waited_for(redis_server: RedisServer) -> None:
    """Nor is what nobody can read; both are swept."""
    clock = AheadClock()
    async with manager(redis_server) as redis:
        killed, asker = DrainWatch(redis, clock, lambda: ["k"], lambda: {"k": 3}), DrainWatch(redis, clock)
        since = clock.wall_s()
        await killed.report()
        await redis.command("HSET", redis.keys.in_flight, "x", b"garbage")
        clock.ahead_s += DEAD_AFTER_S - 1
        assert not await asker.drained("k", since)
        clock.ahead_s += 2
        assert await asker.drained("k", since)
        assert await redis.command("HLEN", redis.keys.in_flight) == 0


async def test_a_worker_reports_by_itself(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Again and again, over an outage of Redis."""
    monkeypatch.setattr(drain_watch, "REPORT_EVERY_S", 0.01)
    calls = 0

    def off() -> list[str]:
        nonlocal calls
        calls += 1
        return []

    async with manager(redis_server) as redis:
        worker = DrainWatch(redis, AheadClock(), off, dict)
        worker.start()
        await until(lambda: calls > 2)
        redis_server.kill()
        seen = calls
        await until(lambda: calls > seen + 2)
        await worker.close()
