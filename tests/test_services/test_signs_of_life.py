"""Dead workers' holds are given back, and never a living one's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.core.clock import SystemClock
from app.core.redis import RedisManager, RedisUnavailable
from app.models.limits import Span, Unit
from app.services import signs_of_life
from app.services.money import NANO, Amounts
from app.services.signs_of_life import SignsOfLife
from tests.redis_server import RedisServer
from tests.test_services.limit_world import Books, a_plan, limit, limits_on, patient

PLAN = a_plan(
    limit(Unit.USD, Span.TOTAL, NANO),
    limit(Unit.CONCURRENT, Span.NOW, 10_000),
    limit(Unit.TOKENS, Span.HOUR, 10**9),
)
OWN = a_plan(limit(Unit.USD, Span.TOTAL, NANO, models="a/*"))
LOOKS = 5


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[RedisManager]:
    async with patient(redis_server) as connected:
        yield connected


def counted(_: int) -> None:
    """Nobody is told."""


async def hold(redis: RedisManager, journal: str, *holds: str, plan: Any = PLAN) -> None:
    """Let in by a worker that is gone now, without any sign."""
    await redis.command("SADD", redis.keys.books("workers"), journal)
    async with limits_on(redis, SystemClock(), journal) as limits:
        await asyncio.gather(*(limits.admit(one, plan, (), "", Amounts(10, 1, 1)) for one in holds))


async def looks(signs: SignsOfLife, times: int) -> list[int]:
    return [await signs.sweep() for _ in range(times)]


async def test_the_dead_give_back_and_the_living_keep(redis: RedisManager) -> None:
    """Money and places among the running calls, after a time in which somebody alive would have shown up."""
    books = Books(redis)
    own, living = SignsOfLife(redis, "own", counted), SignsOfLife(redis, "living", counted)
    await own.start()
    await living.start()
    await hold(redis, "living", "1", "2")
    await hold(redis, "dead", "1", "2", "3")

    assert await looks(own, LOOKS - 1) == [2] * (LOOKS - 1)
    assert sorted((await books.numbers("held", "running")).values()) == [5, 50]
    assert await own.sweep() == 2
    assert sorted((await books.numbers("held", "running")).values()) == [2, 20]
    assert (await books.holds("dead"), await books.holds("living")) == (0, 2)
    assert await redis.command("SMEMBERS", redis.keys.books("workers")) == {b"own", b"living"}
    await looks(own, LOOKS)
    assert sorted((await books.numbers("held", "running")).values()) == [2, 20]
    await own.close()
    await living.close()


async def test_thousands_of_holds(redis: RedisManager) -> None:
    """However many a worker has left."""
    await hold(redis, "dead", *(str(number) for number in range(9000)))
    assert await Books(redis).holds("dead") == 9000
    signs = SignsOfLife(redis, "own", counted)
    await looks(signs, LOOKS)
    assert await Books(redis).numbers("held", "running") == {}
    assert await Books(redis).holds("dead") == 0


async def test_redis_was_away(redis_server: RedisServer, redis: RedisManager) -> None:
    """All signs have faded when it is back: whoever gives one meanwhile keeps what it holds."""
    own, slow = SignsOfLife(redis, "own", counted), SignsOfLife(redis, "slow", counted)
    await own.start()
    await slow.start()
    await hold(redis, "slow", "1")
    await redis.command("DEL", redis.keys.books("alive", "slow"))
    assert await looks(own, LOOKS - 1) == [1] * (LOOKS - 1)
    await slow.keep("slow")
    assert await looks(own, 1) == [2]
    await redis.command("DEL", redis.keys.books("alive", "slow"))
    await looks(own, LOOKS - 1)
    assert await Books(redis).holds("slow") == 1
    await own.close()
    await slow.close()


async def test_a_journal_that_was_taken_over(redis: RedisManager) -> None:
    """Its holds live on with the new owner, until it lets go."""
    await hold(redis, "taken", "1")
    heir, other = SignsOfLife(redis, "heir", counted), SignsOfLife(redis, "other", counted)
    await looks(other, LOOKS - 1)
    await heir.keep("taken")
    await looks(other, 2 * LOOKS)
    assert await Books(redis).holds("taken") == 1

    await heir.let_go("taken")
    assert await redis.command("SISMEMBER", redis.keys.books("workers"), "taken")
    await redis.command("DEL", redis.keys.books("alive", "taken"))
    await heir.keep("heir")
    await looks(other, LOOKS)
    assert await Books(redis).holds("taken") == 0


async def test_nothing_is_said_of_who_held_nothing(redis: RedisManager, caplog: pytest.LogCaptureFixture) -> None:
    """An heir that is done with a journal leaves nothing of it; only what was given back is worth a line."""
    heir, other = SignsOfLife(redis, "heir", counted), SignsOfLife(redis, "other", counted)
    await heir.keep("taken")
    await heir.let_go("taken")
    assert await redis.command("SMEMBERS", redis.keys.books("workers")) == {b"heir"}
    assert await redis.command("EXISTS", redis.keys.books("alive", "taken")) == 0
    await redis.command("DEL", redis.keys.books("alive", "heir"))
    await looks(other, LOOKS)
    assert await redis.command("SMEMBERS", redis.keys.books("workers")) == set()
    assert "holds given back" not in caplog.messages
    await hold(redis, "dead", "1")
    await looks(other, LOOKS)
    assert caplog.messages.count("holds given back") == 1


async def test_closing(redis: RedisManager) -> None:
    """Who holds nothing is gone at once; what is not settled yet stays reserved until the sign fades."""
    empty, full = SignsOfLife(redis, "empty", counted), SignsOfLife(redis, "full", counted)
    await empty.start()
    await full.start()
    await hold(redis, "full", "1")
    await empty.close()
    await full.close()
    assert await redis.command("SMEMBERS", redis.keys.books("workers")) == {b"full"}
    assert await redis.command("EXISTS", redis.keys.books("alive", "empty")) == 0
    assert 0 < await redis.command("TTL", redis.keys.books("alive", "full")) <= 60


async def test_signs_go_on(
    redis_server: RedisServer, redis: RedisManager, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Signs are given and the living counted again and again, whatever Redis does meanwhile."""
    monkeypatch.setattr(signs_of_life, "_SIGN_EVERY_S", 0.02)
    heard: list[int] = []
    signs = SignsOfLife(redis, "own", heard.append)
    await signs.start()
    await hold(redis, "dead", "1")
    async with asyncio.timeout(20):
        while await Books(redis).holds("dead"):
            await asyncio.sleep(0.02)
        assert set(heard) == {1}
        await redis.command("SET", redis.keys.books("holds", "wrong"), "x")
        await redis.command("SADD", redis.keys.books("workers"), "wrong")
        while "sweep of holds" not in caplog.messages:
            await asyncio.sleep(0.02)
        redis_server.kill()
        await asyncio.sleep(0.1)
        redis_server.start()
        before = len(heard)
        while len(heard) == before:
            await asyncio.sleep(0.02)
    redis_server.kill()
    await signs.close()


async def test_no_start_without_redis(redis_server: RedisServer, redis: RedisManager) -> None:
    """Nobody works without a sign at the beginning."""
    redis_server.kill()
    with pytest.raises(RedisUnavailable):
        await SignsOfLife(redis, "own", counted).start()
