"""Small pictures of many keys and clients, from a real Redis."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from app.core.redis import RedisManager
from app.core.tasks import TaskSet
from app.models.ledger import TryMade
from app.services.cells import Figures, Step, deltas, short_key
from app.services.insight import Insight
from app.services.insight_plan import Answer, Query
from app.services.strips import Minute, Strips, hour_of_week
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager
from tests.test_services.ledger_world import KEYS, NOW_S, SetClock, add_up, entry

HOUR_S = 3600
FIRST, SECOND = short_key(KEYS[0]), short_key(KEYS[1])


def calls(minutes: tuple[Minute, ...]) -> int:
    return sum(one.served + one.rescued + one.failed + one.moved for one in minutes)


@contextlib.asynccontextmanager
async def strips(server: RedisServer) -> AsyncIterator[tuple[RedisManager, Insight, Strips]]:
    async with manager(server) as redis:
        clock = SetClock()
        yield redis, Insight(redis, TaskSet(), clock), Strips(redis, clock)


async def test_the_last_hour_of_every_key(redis_server: RedisServer) -> None:
    """Also across the turn of the hour; what failed here and went well elsewhere shows here as moved."""
    rescued = (TryMade(KEYS[1], "429 rate_limited", 20.0), TryMade(KEYS[0], "200", 700.0))
    entries = [
        entry(1, at_s=NOW_S), entry(2, at_s=NOW_S - 59 * 60), entry(3, at_s=NOW_S - 60 * 60),
        entry(4, at_s=NOW_S, outcome="rescued", tries=rescued),
        entry(5, at_s=NOW_S, outcome="left"), entry(6, at_s=NOW_S - 60, outcome="failed"),
        entry(7, at_s=NOW_S - 60, outcome="refused", key_id="", tries=()),
    ]  # fmt: skip
    async with strips(redis_server) as (redis, insight, pictures):
        for one in entries:
            await add_up(redis, deltas([one]))
            await insight.roll()
        told = await pictures.key_minutes()
    assert told.keys() == {FIRST, SECOND}
    assert [len(minutes) for minutes in told.values()] == [60, 60]
    first = told[FIRST]
    assert (first[-1], first[-2], first[0]) == (Minute(2, 1, 0, 0), Minute(0, 0, 1, 0), Minute(1, 0, 0, 0))
    assert calls(first) == 5
    assert (told[SECOND][-1], calls(told[SECOND])) == (Minute(0, 0, 0, 1), 1)


async def test_a_day_of_one_key(redis_server: RedisServer) -> None:
    """24 hours of 60 minutes; older ones are not written any more."""
    times = [NOW_S, NOW_S - 23 * HOUR_S, NOW_S - 24 * HOUR_S, NOW_S - 30 * HOUR_S]
    async with strips(redis_server) as (redis, insight, pictures):
        await add_up(redis, deltas([entry(number, at_s=at_s) for number, at_s in enumerate(times)]))
        await insight.roll()
        since_s, hours = await pictures.key_day(KEYS[0])
        names = await redis.command("KEYS", "*strips*")
        assert len(names) == 3
        assert all([0 < await redis.command("TTL", name) <= 27 * HOUR_S for name in names])
    assert (len(hours), {len(minutes) for minutes in hours}) == (24, {60})
    busy = [(hour, place) for hour, row in enumerate(hours) for place, one in enumerate(row) if one == Minute(1)]
    assert busy == [(0, 13), (23, 13)]
    assert since_s <= NOW_S - 23 * HOUR_S < since_s + HOUR_S


async def test_what_went_wrong_with_keys(redis_server: RedisServer) -> None:
    """By status or short code, of every try; those that went well are not told."""
    tries = (
        TryMade(KEYS[1], "429 rate_limited", 1.0),
        TryMade(KEYS[1], "closed_early x", 1.0),
        TryMade(KEYS[0], "502", 1.0),
    )
    entries = [entry(number, outcome="failed", tries=tries) for number in range(3)] + [entry(9), entry(8, tries=())]
    async with strips(redis_server) as (redis, insight, pictures):
        for one in entries:
            await add_up(redis, deltas([one]))
        await insight.roll()
        for step in (Step.HOUR, Step.DAY):
            told = await pictures.key_codes(NOW_S - HOUR_S, step=step)
            assert told == {SECOND: {"429": 3, "closed_early": 3}, FIRST: {"502": 3}}
        assert await pictures.key_codes(NOW_S + HOUR_S, step=Step.HOUR) == {}


async def test_a_day_of_many_clients(redis_server: RedisServer) -> None:
    """In the order of time, for those asked for, also for many and for unknown ones."""
    entries = [entry(number, client_id=f"ck_{number % 3}", at_s=NOW_S - number * HOUR_S) for number in range(6)]
    async with strips(redis_server) as (redis, insight, pictures):
        await add_up(redis, deltas(entries))
        await insight.roll()
        told = await pictures.client_hours({"ck_0": "gr_1", "ck_9": "gr_1"} | {f"x{n}": "" for n in range(600)})
    assert len(told) == 602
    assert [hour for hour, one in enumerate(told["ck_0"]) if one.served == 1] == [20, 23]
    assert set(told["ck_9"]) == {Figures()}
    assert {len(hours) for hours in told.values()} == {24}


async def test_a_week_by_the_hour(redis_server: RedisServer) -> None:
    """Weeks lie upon one another, Monday first."""
    times = [NOW_S - 60, NOW_S - 60 - 7 * 24 * HOUR_S, NOW_S - 24 * HOUR_S]
    async with strips(redis_server) as (redis, insight, _):
        await add_up(redis, deltas([entry(number, at_s=at_s) for number, at_s in enumerate(times)]))
        answer: Answer = await insight.answer(Query(since_s=NOW_S - 28 * 24 * HOUR_S, until_s=NOW_S, step=Step.HOUR))
    week = hour_of_week(answer)
    assert [len(day) for day in week] == [24] * 7
    assert (week[0][2].served, week[6][2].served) == (2, 1)
    assert week[0][2].cost_nano == pytest.approx(2 * week[6][2].cost_nano)
    assert sum(one.requests for day in week for one in day) == 3
