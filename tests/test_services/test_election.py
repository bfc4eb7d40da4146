"""One of several is elected, by a lease in a real Redis."""

from __future__ import annotations

import asyncio

import pytest

from app.core.redis import RedisUnavailable
from app.services.election import Election
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager
from tests.test_services.key_workers import TurnedClock, until


async def test_only_one_is_elected_and_the_next_has_a_higher_token(redis_server: RedisServer) -> None:
    """Renewing keeps the token; giving back lets another in at once."""
    async with manager(redis_server) as redis:
        first, second = (Election(redis, TurnedClock(), "w") for _ in range(2))
        assert await first.campaign()
        token = first.token
        assert not await second.campaign()
        assert second.token == 0
        assert await first.campaign()
        assert first.token == token
        await first.close()
        assert not first.holds
        assert await second.campaign()
        assert second.token > token
        await first.close()
        assert await second.campaign(), "who holds no lease gives none back"
        await second.close()


async def test_works_do_not_disturb_each_other(redis_server: RedisServer) -> None:
    """Each has its own lease."""
    async with manager(redis_server) as redis:
        for name in ("a", "b"):
            assert await Election(redis, TurnedClock(), name).campaign()


async def test_a_holder_that_slept_knows_it(redis_server: RedisServer) -> None:
    """It stops believing before Redis does, and gets a new token if nobody came in between."""
    clock = TurnedClock()
    async with manager(redis_server) as redis:
        one = Election(redis, clock, "w", term_s=0.2)
        assert await one.campaign()
        token = one.token
        clock.ahead_s += 0.19
        assert not one.holds
        assert one.token == 0
        await asyncio.sleep(0.25)
        assert await one.campaign()
        assert one.token == token + 1


async def test_the_other_takes_over(redis_server: RedisServer) -> None:
    """The elected one dies without a word; at no time do both hold."""
    async with manager(redis_server) as left, manager(redis_server) as right:
        first = Election(left, TurnedClock(), "w", term_s=0.4)
        second = Election(right, TurnedClock(), "w", term_s=0.4)
        first.start()
        await until(lambda: first.holds)
        second.start()
        await first._tasks.close()  # as a killed process: nothing renews, nothing is given back
        await until(lambda: second.holds)
        assert not first.holds
        await second.close()


async def test_without_redis_the_lease_runs_out(redis_server: RedisServer) -> None:
    """Nobody works who cannot know that he is the one; afterwards somebody is elected again."""
    async with manager(redis_server) as redis:
        one = Election(redis, TurnedClock(), "w", term_s=0.6)
        one.start()
        await until(lambda: one.holds)
        redis_server.kill()
        await until(lambda: not one.holds)
        with pytest.raises(RedisUnavailable):
            await one.campaign()
        redis_server.start()
        await until(lambda: one.holds)
        redis_server.kill()
        await one.close()
