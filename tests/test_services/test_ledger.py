"""The stream of entries on a real Redis: pages, search, following and forgetting."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from app.core.redis import RedisManager, RedisUnavailable
from app.core.tasks import TaskSet
from app.models.ledger import CostKind
from app.services.ledger import CORRECTED, FIELD, STREAM, Ledger, Page
from app.services.ledger_filter import Filter
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager
from tests.test_services.ledger_world import NOW_S, SetClock, entry, put

DAY_S = 86_400


@contextlib.asynccontextmanager
async def ledger(
    server: RedisServer, *, most: int = 100_000, days: int = 30
) -> AsyncIterator[tuple[RedisManager, Ledger]]:
    async with manager(server) as redis:
        yield redis, Ledger(redis, TaskSet(), SetClock(), most=most, days=days)


def numbers(page: Page) -> list[int]:
    return [int(line.entry.request_id.removeprefix("req_")) for line in page.lines]


@pytest.mark.parametrize("form", [msgspec.json, msgspec.msgpack], ids=["json", "msgpack"])
async def test_pages_go_from_the_newest_to_the_oldest(redis_server: RedisServer, form: Any) -> None:
    """Each entry once, also when new ones come in between two pages."""
    async with ledger(redis_server) as (redis, book):
        await put(redis, [entry(number, at_s=NOW_S - 1000 + number) for number in range(120)], form=form)
        first = await book.page(Filter())
        await put(redis, [entry(500)])
        second = await book.page(Filter(), before=first.older)
        third = await book.page(Filter(), before=second.older)
    assert numbers(first) + numbers(second) + numbers(third) == list(range(119, -1, -1))
    assert (first.complete, third.older) == (True, "")
    assert first.lines[0].entry == entry(119, at_s=NOW_S - 1000 + 119)


async def test_pages_of_what_fits(redis_server: RedisServer) -> None:
    """However rare it is; a search that reads too much stops and tells where to go on."""
    async with ledger(redis_server) as (redis, book):
        await put(
            redis, [entry(number, at_s=NOW_S - 5000 + number, client_id=f"ck_{number % 900}") for number in range(2000)]
        )
        wanted = Filter(client_id="ck_7")
        assert numbers(await book.page(wanted)) == [1807, 907, 7]
        part = await book.page(wanted, most_read=1000)
        assert (numbers(part), part.complete) == ([1807], False)
        assert numbers(await book.page(wanted, before=part.older)) == [907, 7]
        assert numbers(await book.page(Filter(client_id="nobody"))) == []


async def test_a_period_is_that_of_the_admissions(redis_server: RedisServer) -> None:
    """Also of a call that was settled a day later."""
    late = entry(3, at_s=NOW_S - DAY_S, duration_ms=DAY_S * 1000.0)
    async with ledger(redis_server) as (redis, book):
        await put(redis, [entry(1, at_s=NOW_S - DAY_S - 50), entry(2, at_s=NOW_S - DAY_S + 50), late])
        await put(redis, [entry(4, at_s=NOW_S + 1)])
        wanted = Filter(since_s=NOW_S - DAY_S, until_s=NOW_S)
        assert numbers(await book.page(wanted)) == [3, 2]
        assert [line.entry.request_id async for line in book.lines(wanted)] == ["req_2", "req_3"]


async def test_one_entry_is_found_by_its_ids(redis_server: RedisServer) -> None:
    """Its own, the request's, the generation's."""
    async with ledger(redis_server) as (redis, book):
        await put(redis, [entry(number, at_s=NOW_S - 5000 + number) for number in range(1200)])
        for name in ("00000000000000aa-17", "req_17", "gen-17"):
            line = await book.find(name)
            assert line is not None
            assert line.entry.request_id == "req_17"
        assert await book.find("req_9999") is None


async def test_all_lines_from_the_oldest(redis_server: RedisServer) -> None:
    """Past many pages."""
    async with ledger(redis_server) as (redis, book):
        await put(redis, [entry(number, at_s=NOW_S - 5000 + number) for number in range(1234)])
        assert [line.entry.request_id async for line in book.lines(Filter())] == [f"req_{n}" for n in range(1234)]


async def test_corrected_costs_are_told(redis_server: RedisServer) -> None:
    """In pages, in what is exported and in what is looked up; only of what was charged without proof."""
    doubtful = entry(2, cost_nano=500, cost_kind=CostKind.UNKNOWN)
    async with ledger(redis_server) as (redis, book):
        await put(redis, [entry(1, at_s=NOW_S - 90), doubtful, entry(3, at_s=NOW_S - 30, cost_kind=CostKind.UNKNOWN)])
        for one in (entry(1), doubtful):
            await redis.command("HSET", redis.keys.books(*CORRECTED), one.id, 70)
        page = await book.page(Filter())
        every = [line async for line in book.lines(Filter())]
        found = await book.find("req_2")
    assert [line.corrected_nano for line in page.lines] == [None, 70, None]
    assert [line.cost_nano for line in every] == [entry().cost_nano, 70, entry().cost_nano]
    assert found is not None
    assert (found.corrected_nano, found.entry.cost_nano) == (70, 500)


async def test_calls_over_time_by_outcome(redis_server: RedisServer) -> None:
    """Under any filter; a search that reads too much says so."""
    entries = [
        entry(number, at_s=NOW_S - 600 + number, outcome="served" if number % 3 else "failed", status=200 + number % 2)
        for number in range(600)
    ]
    async with ledger(redis_server) as (redis, book):
        await put(redis, entries)
        wanted = Filter(since_s=NOW_S - 600, until_s=NOW_S, status=201)
        told = await book.histogram(wanted, bars=6)
        some = await book.histogram(Filter(since_s=NOW_S - 600), bars=6, most_read=500)
        none = await book.histogram(Filter(client_id="nobody"), bars=3)
    assert (told.since_s, told.bar_s, told.complete) == (NOW_S - 600, 100.0, True)
    fitting = [one for one in entries if one.status == 201]
    for place, bar in enumerate(told.counts):
        own = [one.outcome for one in fitting if place * 100 <= one.at_s - told.since_s < (place + 1) * 100]
        assert bar == {name: own.count(name) for name in set(own)}
    assert (sum(sum(bar.values()) for bar in some.counts), some.complete) == (500, False)
    assert (none.counts, none.complete) == (({}, {}, {}), True)


async def test_following_tells_what_comes_in(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, what fits, and on after Redis was away."""
    monkeypatch.setattr("app.services.ledger._FOLLOW_PAUSE_S", 0.01)
    async with ledger(redis_server) as (redis, book), asyncio.timeout(30):
        await put(redis, [entry(1, at_s=NOW_S - 500)])
        heard = book.follow(Filter(client_id="ck_1"))
        first = asyncio.ensure_future(anext(heard))
        await asyncio.sleep(0.05)
        await put(redis, [entry(2, at_s=NOW_S - 400, client_id="ck_2"), entry(3, at_s=NOW_S - 400)])
        assert (await first).entry.request_id == "req_3"
        second = asyncio.ensure_future(anext(heard))
        redis_server.kill()
        await asyncio.sleep(0.1)
        redis_server.start()
        while True:
            try:
                await put(redis, [entry(4, at_s=NOW_S - 300)])
                break
            except RedisUnavailable:
                await asyncio.sleep(0.05)
        assert (await second).entry.request_id == "req_4"
        await heard.aclose()


async def test_too_many_and_too_old_ones_go(redis_server: RedisServer) -> None:
    """By whole nodes of the stream: some more than asked for may stay, never fewer."""
    async with ledger(redis_server, most=1000) as (redis, book):
        await put(redis, [entry(number, at_s=NOW_S - 40 * DAY_S) for number in range(300)])
        await put(redis, [entry(number, at_s=NOW_S - 2000) for number in range(900)])
        assert await book.trim() > 0
        extent = await book.extent()
        assert 900 <= extent.entries <= 1000
        assert extent.oldest_s is not None
        await put(redis, [entry(number, at_s=NOW_S - 1000) for number in range(900)])
        await book.trim()
        assert 1000 <= (await book.extent()).entries <= 1110
        assert await book.trim() == 0


async def test_an_entry_takes_few_bytes(redis_server: RedisServer) -> None:
    """So that 200,000 of them, the usual bound, take less than 150 MB."""
    async with ledger(redis_server) as (redis, book):
        assert (await book.extent()).oldest_s is None
        await put(redis, [entry(number, at_s=NOW_S - 5000 + number, user="0" * 16) for number in range(2000)])
        size = await redis.command("MEMORY", "USAGE", redis.keys.books(*STREAM), "SAMPLES", 0)
        assert size / 2000 < 700


async def test_trimming_goes_on_by_itself(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """And outlasts a Redis that is away."""
    monkeypatch.setattr("app.services.ledger._TRIM_PAUSE_S", 0.02)
    async with ledger(redis_server, most=1000) as (redis, book), asyncio.timeout(30):
        await put(redis, [entry(number) for number in range(2000)])
        redis_server.kill()
        book.start()
        await asyncio.sleep(0.1)
        redis_server.start()
        while True:
            with contextlib.suppress(RedisUnavailable):
                if (await book.extent()).entries < 1200:
                    break
            await asyncio.sleep(0.05)
        await book._tasks.close()


async def test_what_is_no_entry_is_passed_over(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """And told; a later version's entry with more fields is read."""
    longer = msgspec.json.encode([*msgspec.to_builtins(entry(2)), "new"])
    async with ledger(redis_server) as (redis, book):
        for raw in (b"nonsense", b"[1]", longer):
            await redis.command("XADD", redis.keys.books(*STREAM), "*", FIELD, raw)
        assert numbers(await book.page(Filter())) == [2]
    assert caplog.text.count("ledger entry unreadable") == 2
