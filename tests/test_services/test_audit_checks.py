"""Checks of the audit that people ask for, over a real Redis."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from app.core.clock import SystemClock
from app.core.redis import RedisManager
from app.services.audit import Audit
from app.services.audit_chain import ChainCheck
from app.services.audit_checks import AuditChecks, Running
from app.services.installation import note_installation
from app.services.switches import Switch, Switches
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager


@contextlib.asynccontextmanager
async def checks(server: RedisServer) -> AsyncIterator[tuple[AuditChecks, RedisManager]]:
    async with manager(server) as redis:
        found = AuditChecks(redis, Audit(redis), SystemClock())
        try:
            yield found, redis
        finally:
            await found.close()


async def some_deeds(redis: RedisManager, count: int = 3) -> None:
    switches = Switches(redis, SystemClock())
    for number in range(count):
        await switches.set(Switch.MAX_ATTEMPTS, str(number + 1), by="ann")


async def test_a_check_is_kept_for_everybody(redis_server: RedisServer) -> None:
    """Other workers show it; the next one takes its place."""
    async with checks(redis_server) as (one, redis), checks(redis_server) as (two, _):
        assert await one.last() is None
        await note_installation(redis, SystemClock())
        await some_deeds(redis)
        await one.start(patience_s=5)
        found = await two.last()
        assert found is not None
        assert (found.intact, found.number, found.entries, found.breaks) == (True, 4, 4, ())
        assert found.known == found.hash
        assert await two.running() is None
        await some_deeds(redis)
        await two.start(patience_s=5)
        later = await one.last()
        assert later is not None
        assert (later.intact, later.number) == (True, 7)


async def test_one_check_runs_at_a_time(redis_server: RedisServer) -> None:
    """Everybody sees how far it is; whoever asks meanwhile starts none."""
    async with checks(redis_server) as (one, redis), checks(redis_server) as (two, _):
        await redis.pipeline([("XADD", redis.keys.audit, "*", "entry", "{}") for _ in range(4000)])
        await one.start()
        assert await two.running() == Running(0, 4000)
        await two.start(patience_s=5)
        assert await two.last() is None
        reads = set()

        async def ended() -> bool:
            running = await two.running()
            if running is not None:
                reads.add(running.read)
            return running is None

        while not await ended():
            await asyncio.sleep(0)
        found = await two.last()
        assert found is not None
        assert (found.entries, found.before) == (4000, 4000)
        assert max(reads) > 0


async def test_a_chain_that_was_made_anew_is_not_whole(redis_server: RedisServer) -> None:
    """Every link of it fits, but the one that was known is gone; that is not forgotten by the next check."""
    async with checks(redis_server) as (one, redis):
        await some_deeds(redis, 5)
        await one.start(patience_s=5)
        await redis.command("DEL", redis.keys.audit, redis.keys.audit_head)
        await some_deeds(redis, 5)
        for _ in range(2):
            await one.start(patience_s=5)
            found = await one.last()
            assert found is not None
            assert not found.intact
            assert "was replaced" in found.breaks[-1]


async def test_a_changed_entry_is_told(redis_server: RedisServer) -> None:
    """With the words of the chain."""
    async with checks(redis_server) as (one, redis):
        await some_deeds(redis, 3)
        (first, _), *_ = await redis.command("XRANGE", redis.keys.audit, "-", "+")
        await redis.command("XDEL", redis.keys.audit, first)
        await one.start(patience_s=5)
        found = await one.last()
        assert found is not None
        assert (found.intact, len(found.breaks)) == (False, 1)


class Hanging(Audit):
    """A check that never ends."""

    async def verify(self, known: str = "", progress: object = None) -> ChainCheck:
        await asyncio.sleep(3600)
        raise AssertionError


async def test_a_worker_that_stops_blocks_nobody(redis_server: RedisServer) -> None:
    """A check that is broken off tells nothing and lets the next one begin; if its worker dies, its sign has an end."""
    async with checks(redis_server) as (two, redis):
        one = AuditChecks(redis, Hanging(redis), SystemClock())
        await one.start(patience_s=0.01)
        assert 0 < int(await redis.command("TTL", redis.keys.people("audit-checking"))) <= 15
        await one.close()
        assert (await two.last(), await two.running()) == (None, None)
        await two.start(patience_s=5)
        assert await two.last() is not None


async def test_a_chain_that_begins_after_a_check_is_whole(redis_server: RedisServer) -> None:
    """There was no link to be found again."""
    async with checks(redis_server) as (one, redis):
        for count in (0, 2):
            await some_deeds(redis, count)
            await one.start(patience_s=5)
            found = await one.last()
            assert found is not None
            assert (found.intact, found.number) == (True, count)
