"""The live parts of the pool: what they tell it, how they start and end, without Redis too, and side by side."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.core.clock import SystemClock
from app.core.config import Settings
from app.core.redis import RedisManager, RedisOptions, RedisUnavailable
from app.models.keys import KeyState
from app.models.marks import Mark, MarkKind, Scope
from app.models.renewal import Pace, Step
from app.pool_parts import PoolParts
from app.services import drain_watch, renewal
from app.services.drain_watch import DrainWatch
from app.services.key_facts import PROBES
from app.services.key_manager import KeyManager
from app.services.marks import Marks
from app.services.pool import Pool
from app.services.selection import Strategy
from app.services.switches import Switch, Switches
from tests.redis_server import RedisServer
from tests.simulator_thread import SimulatorThread, running_simulator
from tests.test_core.conftest import redis_server
from tests.test_services.key_workers import CLIENTS, RING, until

__all__ = ["redis_server"]

QUICK = Pace(stage_s=0, quarantine_s=0)


@pytest.fixture
def upstream() -> Iterator[SimulatorThread]:
    """A simulated OpenRouter for one test."""
    with running_simulator() as running:
        yield running


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits longer than the test needs."""
    monkeypatch.setattr(renewal, "_LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(drain_watch, "REPORT_EVERY_S", 0.02)
    monkeypatch.setattr(drain_watch, "SETTLE_S", 0.1)


@dataclass
class Worker:
    """One worker of a gateway, as far as its pool goes."""

    settings: Settings
    clock: SystemClock
    redis: RedisManager
    keys: KeyManager
    pool: Pool
    parts: PoolParts
    stack: AsyncExitStack

    async def start(self) -> None:
        self.keys.subscribe(self.follow)
        self.follow()
        await self.parts.start(self.stack, self.keys, RING)

    def follow(self) -> None:
        self.pool.replace(self.keys.openrouter_keys.values(), self.keys)


@contextlib.asynccontextmanager
async def worker(redis_url: str, upstream: str = "http://127.0.0.1:9/api/v1") -> AsyncIterator[Worker]:
    """Not started; at the end everything is closed, the last first."""
    clock, settings = SystemClock(), Settings(_env_file=None, openrouter_base_url=upstream)
    async with AsyncExitStack() as stack:
        redis = RedisManager(RedisOptions(url=redis_url), clock)
        stack.push_async_callback(redis.close)
        pool = Pool(clock, settings.pool_strategy)
        parts = PoolParts(settings, pool, redis, clock)
        stack.push_async_callback(parts.client.close)
        keys = KeyManager(redis, RING, CLIENTS, clock, parts.probe)
        stack.push_async_callback(keys.close)
        await keys.start()
        yield Worker(settings, clock, redis, keys, pool, parts, stack)


def tasks() -> set[str]:
    return {task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()}


async def stock(one: Worker, upstream: SimulatorThread) -> str:
    """A management key and one key of its account; the id of the second."""
    admin = upstream.control("keys", {"account": "a", "name": "admin", "management": True})["key"]
    main = upstream.control("keys", {"account": "a", "name": "main"})["key"]
    await one.keys.add_openrouter_key(admin, label="admin", by="test")
    return (await one.keys.add_openrouter_key(main, label="main", by="test")).record.id


def live(upstream: SimulatorThread) -> list[str]:
    return [key["hash"] for key in upstream.control("keys") if not key["management"] and not key["deleted"]]


async def test_the_pool_follows_what_is_stored_and_told(redis_server: RedisServer, upstream: SimulatorThread) -> None:
    """Marks and strategy of before the start count from the start, later ones within moments, whoever set them."""
    async with worker(redis_server.url, upstream.base_url) as other, worker(redis_server.url, upstream.base_url) as one:
        key_id = await stock(other, upstream)
        await until(lambda: key_id in one.keys.openrouter_keys)
        marks, switches = Marks(other.redis, other.clock), Switches(other.redis, other.clock)
        other.stack.push_async_callback(marks.close)
        now_s = other.clock.wall_s()
        cool: dict[str, Any] = {"kind": MarkKind.COOL, "until_s": now_s + 60, "reason": "t", "at_s": now_s, "by": "t"}
        marks.put([Mark(scope=Scope.KEY, subject=key_id, **cool)])
        await marks.flush()
        await switches.set(Switch.STRATEGY, "random", "t")
        await one.start()
        assert one.pool.lease() is None
        assert one.pool.strategy is Strategy.RANDOM
        assert not one.parts.incident
        marks.clear(Scope.KEY, key_id, "t")
        await switches.set(Switch.STRATEGY, "word of a newer release", "t")
        await until(lambda: one.pool.lease() is not None)
        await until(lambda: one.pool.strategy is Strategy(one.settings.pool_strategy))
        await switches.set(Switch.STRATEGY, None, "t")


async def test_closed_it_leaves_nothing(redis_server: RedisServer, upstream: SimulatorThread) -> None:
    """No task runs on; leases are given back and its report is gone, so that nobody waits for it."""
    before = tasks()
    async with worker(redis_server.url, upstream.base_url) as watcher:
        async with worker(redis_server.url, upstream.base_url) as one:
            await stock(one, upstream)
            await one.start()
            keys = one.redis.keys
            leases = [keys.lease("renewals"), keys.lease(PROBES)]
            await until(lambda: one.parts.rotation is not None and one.parts.rotation.elected)
            while await watcher.redis.command("EXISTS", keys.in_flight, *leases) < 3:
                await asyncio.sleep(0.01)
        assert await watcher.redis.command("EXISTS", keys.in_flight, *leases) == 0
    assert tasks() == before


async def test_without_redis_it_does_not_start(tmp_path: Path) -> None:
    """What was started before the failure is closed again."""
    before = tasks()
    server = RedisServer(tmp_path).start()
    async with worker(server.url) as one:
        server.kill()
        with pytest.raises(RedisUnavailable):
            await one.start()
    assert tasks() == before


async def test_a_renewal_outlives_redis(
    tmp_path: Path, upstream: SimulatorThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis goes away in its middle, and the gateway serves on; when Redis is back, it ends with one key."""
    server = RedisServer(tmp_path, appendfsync="always").start()
    try:
        async with worker(server.url, upstream.base_url) as one:
            old = await stock(one, upstream)
            await one.start()
            pace = Pace(stage_s=0.5, quarantine_s=0)
            entry = await one.parts.renewal.renew("main", by="test", pace=pace)
            await until(lambda: len(one.pool) == 2)
            server.kill()
            await asyncio.sleep(1)
            assert one.pool.lease() is not None
            server.start()
            await until(lambda: old not in live(upstream), within_s=30)
            await until(lambda: len(one.keys.openrouter_keys) == 2)
            done = await one.parts.renewal.journal.entries.read(entry.id)
            assert done is not None
            assert live(upstream) == [done.successor]
            assert one.pool.get(done.successor) is not None
    finally:
        server.kill()


async def test_two_workers_do_not_both_renew(redis_server: RedisServer, upstream: SimulatorThread) -> None:
    """One leads and makes one successor; when it leaves, the other goes on."""
    async with worker(redis_server.url, upstream.base_url) as second:
        async with worker(redis_server.url, upstream.base_url) as first:
            main = await stock(first, upstream)
            await first.start()
            await until(lambda: len(second.keys.openrouter_keys) == 2)
            await second.start()
            successor = await renewed(first, upstream, main)
            await until(lambda: successor in second.keys.openrouter_keys and main not in second.keys.openrouter_keys)
        await renewed(second, upstream, successor)
    made = [one for one in upstream.requests(path="/api/v1/keys") if one["method"] == "POST"]
    assert len(made) == 2, "one for each renewal"


async def renewed(one: Worker, upstream: SimulatorThread, old: str) -> str:
    """The successor, when it is all that is left."""
    entry = await one.parts.renewal.renew(old, by="test", pace=QUICK)
    while (now := await one.parts.renewal.journal.entries.read(entry.id)) is None or now.is_open:
        await asyncio.sleep(0.02)
    assert now.step is Step.DONE
    assert live(upstream) == [now.successor]
    return now.successor


async def test_a_key_is_not_called_off_before_the_pool_has_let_go(
    redis_server: RedisServer, upstream: SimulatorThread
) -> None:
    """The keys are told of a change a moment before the pool is: in that moment a call may still begin."""
    async with worker(redis_server.url, upstream.base_url) as one:
        key_id = await stock(one, upstream)
        await one.start()
        pooled = list(one.keys.openrouter_keys.values())
        off_at = one.clock.wall_s()
        await one.keys.set_openrouter_state(key_id, KeyState.DISABLED, by="test")
        await until(lambda: one.pool.get(key_id) is None)
        asker = DrainWatch(one.redis, one.clock)
        one.pool.replace(pooled, one.keys)
        late_at = one.clock.wall_s()
        await asyncio.sleep(0.3)
        assert not await asker.drained(key_id, late_at)
        one.follow()
        while not await asker.drained(key_id, off_at):
            await asyncio.sleep(0.02)
