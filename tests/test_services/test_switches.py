"""Switches shared by workers, over a real Redis."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from app.core.clock import SystemClock
from app.services.switches import Switch, Switches
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager
from tests.test_services.key_workers import until


@contextlib.asynccontextmanager
async def worker(server: RedisServer, *, follow: bool = True) -> AsyncIterator[Switches]:
    async with manager(server) as redis:
        switches = Switches(redis, SystemClock())
        await switches.start(follow=follow)
        try:
            yield switches
        finally:
            await switches.close()


async def test_a_switch_reaches_every_worker(redis_server: RedisServer) -> None:
    """Those that run, and one that starts later."""
    told: list[str | None] = []
    async with worker(redis_server) as one, worker(redis_server) as two:
        two.subscribe(lambda: told.append(two.get(Switch.STRATEGY)))
        assert one.get(Switch.STRATEGY) is None

        await one.set(Switch.STRATEGY, "tiers", by="ann")
        assert one.get(Switch.STRATEGY) == "tiers"
        await until(lambda: told == ["tiers"])
        async with worker(redis_server, follow=False) as late:
            assert late.get(Switch.STRATEGY) == "tiers"

        await two.set(Switch.STRATEGY, None, by="bob")
        await until(lambda: one.get(Switch.STRATEGY) is None)


async def test_a_switch_stands_in_the_audit(redis_server: RedisServer) -> None:
    """Who, from what to what."""
    async with worker(redis_server, follow=False) as switches, manager(redis_server) as redis:
        await switches.set(Switch.STRATEGY, "tiers", by="ann")
        entries = str(await redis.command("XRANGE", redis.keys.audit, "-", "+"))

    assert all(part in entries for part in ('"by":"ann"', '"deed":"switch"', '"after":"tiers"'))


async def test_a_value_that_cannot_be_read_is_nothing(redis_server: RedisServer) -> None:
    """Somebody wrote into our hash by hand."""
    async with manager(redis_server) as redis:
        await redis.command("HSET", redis.keys.settings, Switch.STRATEGY, "1\n{")
        switches = Switches(redis, SystemClock())
        await switches.start(follow=False)
        assert switches.get(Switch.STRATEGY) == ""
