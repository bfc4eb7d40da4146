"""Deed number one, over a real Redis."""

from __future__ import annotations

import asyncio

from app import __version__
from app.core.clock import SystemClock
from app.services.audit import Audit
from app.services.installation import note_installation
from app.services.switches import Switch, Switches
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager


async def deeds(audit: Audit) -> list[tuple[str, str]]:
    check = await audit.verify()
    assert check.intact, check.breaks
    assert check.links == len([1 async for _ in audit.entries()])
    return [(noted.deed.deed, noted.deed.after) async for noted in audit.entries() if noted.deed is not None][::-1]


async def test_of_several_workers_one_notes_it(redis_server: RedisServer) -> None:
    """As the first link of the chain; a later start adds nothing."""
    async with manager(redis_server) as redis:
        clock = SystemClock()
        noted = await asyncio.gather(*(note_installation(redis, clock) for _ in range(8)))
        assert noted.count(True) == 1
        assert not await note_installation(redis, clock)
        assert await deeds(Audit(redis)) == [("installed", __version__)]


async def test_an_audit_that_has_begun_gets_none(redis_server: RedisServer) -> None:
    """Of a gateway that was installed by an earlier release, nobody knows when."""
    async with manager(redis_server) as redis:
        switches = Switches(redis, SystemClock())
        await switches.set(Switch.MAX_ATTEMPTS, "2", by="ann")
        assert not await note_installation(redis, SystemClock())
        assert await deeds(Audit(redis)) == [("switch", "2")]


async def test_the_chain_goes_on_behind_it(redis_server: RedisServer) -> None:
    """Whoever has read the audit before sees what has come."""
    async with manager(redis_server) as redis:
        switches = Switches(redis, SystemClock())
        await note_installation(redis, SystemClock())
        await switches.set(Switch.MAX_ATTEMPTS, "2", by="ann")
        assert [deed for deed, _ in await deeds(Audit(redis))] == ["installed", "switch"]


async def test_an_audit_that_was_emptied_is_not_begun_anew(redis_server: RedisServer) -> None:
    """What a thief of entries has left is for the check to tell."""
    async with manager(redis_server) as redis:
        await note_installation(redis, SystemClock())
        await redis.command("DEL", redis.keys.audit)
        assert not await note_installation(redis, SystemClock())
        assert not (await Audit(redis).verify()).intact
