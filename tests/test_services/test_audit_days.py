"""Deeds by day, over a real Redis."""

from __future__ import annotations

from app.core.redis import RedisManager
from app.services.audit_days import DAY_S, DAYS, AuditDays
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager
from tests.test_services.people_world import HandClock


async def add(redis: RedisManager, at_s: float, count: int = 1) -> None:
    commands = [("XADD", redis.keys.audit, f"{int(at_s * 1000)}-*", "entry", "{}") for _ in range(count)]
    await redis.pipeline(commands)


async def test_days_are_counted_once_and_go_on(redis_server: RedisServer) -> None:
    """What is older than the strip is not read, and what was counted is not counted again."""
    today = 20_000.0 * DAY_S
    clock = HandClock(today + 100)
    async with manager(redis_server) as redis:
        days = AuditDays(redis, clock)
        assert await days.counts() == [(today - (DAYS - 1 - place) * DAY_S, 0) for place in range(DAYS)]
        await add(redis, today - DAYS * DAY_S, 5)
        await add(redis, today - DAY_S, 2500)
        await add(redis, today + 1, 3)
        for _ in range(2):
            fresh = AuditDays(redis, clock)
            for one in (days, fresh):
                assert (await one.counts())[-2:] == [(today - DAY_S, 2500), (today, 3)]
            assert sum(count for _, count in await fresh.counts()) == 2503
        await add(redis, today + 2)
        assert (await days.counts())[-1] == (today, 4)

        clock.now_s += (DAYS - 1) * DAY_S
        await add(redis, clock.now_s)
        later = await days.counts()
        assert (later[0], later[-1]) == ((today, 4), (today + (DAYS - 1) * DAY_S, 1))
        assert len(later) == DAYS
