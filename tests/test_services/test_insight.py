"""Sums on a real Redis: what is asked of the tables is what the entries say, whoever adds to them and when."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable

import pytest

from app.core.redis import RedisManager, RedisUnavailable
from app.core.tasks import TaskSet
from app.models.ledger import CostKind, Entry
from app.services.cells import (
    BASE,
    FRESH,
    KEPT,
    Figures,
    Step,
    Table,
    bins_in,
    bucket_of,
    corrected,
    deltas,
    short_key,
    table_name,
)
from app.services.insight import Insight
from app.services.insight_plan import Dimension, Query, Spans
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager
from tests.test_services.ledger_world import NOW_S, USD, SetClock, add_up, entry, random_entries

HOUR_S, DAY_S = 3600, 86_400
VALUE: dict[Dimension, Callable[[Entry], str]] = {
    Dimension.CLIENT: lambda one: one.client_id,
    Dimension.GROUP: lambda one: one.group_id,
    Dimension.KEY: lambda one: short_key(one.key_id),
    Dimension.ACCOUNT: lambda one: one.account,
    Dimension.MODEL: lambda one: one.model,
    Dimension.PROVIDER: lambda one: one.provider,
}


@contextlib.asynccontextmanager
async def insight(server: RedisServer, at_s: float = NOW_S) -> AsyncIterator[tuple[RedisManager, Insight]]:
    async with manager(server) as redis:
        yield redis, Insight(redis, TaskSet(), SetClock(at_s))


def told(figures: Figures) -> dict[str, int]:
    names = ("requests", "served", "rescued", "failed", "refused", "left", "unknown", "input_tokens", "output_tokens")
    more = ("cached_tokens", "reasoning_tokens", "cost_nano", "upstream_nano", "first_token_ms", "first_tokens")
    return {name: getattr(figures, name) for name in names + more}


def summed(entries: Iterable[Entry]) -> dict[str, int]:
    """The same, straight from the entries."""
    some = list(entries)
    fields = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "cost_nano", "upstream_nano")
    sums = {name: sum(getattr(one, name) for one in some) for name in fields}
    outcomes = ("served", "rescued", "failed", "refused", "left")
    return (
        sums
        | {name: sum(one.outcome == name for one in some) for name in outcomes}
        | {
            "requests": len(some),
            "unknown": sum(one.cost_kind is CostKind.UNKNOWN for one in some),
            "first_token_ms": round(sum(one.first_token_ms for one in some)),
            "first_tokens": sum(one.first_token_ms > 0 for one in some),
        }
    )


@pytest.mark.parametrize("seed", range(3))
async def test_sums_are_those_of_the_entries(redis_server: RedisServer, seed: int) -> None:
    """By every dimension and pair, filtered and over every step, however batches and rolls fall."""
    since_s = NOW_S - 90 * 60
    entries = random_entries(seed, 600, since_s, NOW_S)
    async with insight(redis_server) as (redis, asked):
        for place in range(0, len(entries), 70):
            await add_up(redis, deltas(entries[place : place + 70]))
            if place % 3 == 0:
                await asked.roll()

        for dimension, value in VALUE.items():
            answer = await asked.answer(Query(since_s=since_s, until_s=NOW_S, by=(dimension,), step=Step.HOUR))
            expected = {name: summed(one for one in entries if value(one) == name) for name in map(value, entries)}
            assert {row.values[0]: told(row.figures) for row in answer.rows} == expected
            assert told(answer.total) == summed(entries)
        for step in Step:
            answer = await asked.answer(Query(since_s=since_s, until_s=NOW_S, step=step))
            assert told(answer.total) == summed(entries)
            assert [told(one) for one in answer.series] == [
                summed(one for one in entries if bucket_of(step, one.at_s) == bucket_of(step, start))
                for start in answer.starts_s
            ]
        for step in (Step.HOUR, Step.DAY):
            where = {Dimension.CLIENT: ("ck_1", "ck_2"), Dimension.MODEL: ("maker/model-1",)}
            asked_for = Query(
                since_s=since_s, until_s=NOW_S, where=where, by=(Dimension.ACCOUNT, Dimension.KEY), step=step
            )
            fitting = [one for one in entries if one.client_id in ("ck_1", "ck_2") and one.model == "maker/model-1"]
            answer = await asked.answer(asked_for)
            assert told(answer.total) == summed(fitting)
            assert answer.complete
            pairs = {(one.account, short_key(one.key_id)) for one in fitting}
            assert {row.values: told(row.figures) for row in answer.rows} == {
                pair: summed(one for one in fitting if (one.account, short_key(one.key_id)) == pair) for pair in pairs
            }


async def test_many_may_roll_at_once(redis_server: RedisServer) -> None:
    """Each fact is added once, and the same fact as often as it came."""
    entries = [entry(number, client_id=f"ck_{number % 7}", at_s=NOW_S - 60) for number in range(300)]
    async with insight(redis_server) as (redis, first), insight(redis_server) as (_, second):
        for place in range(0, len(entries), 10):
            await add_up(redis, deltas(entries[place : place + 10]))
        await asyncio.gather(*(one.roll() for one in (first, second) for _ in range(4)))
        answer = await first.answer(Query(since_s=NOW_S - HOUR_S, until_s=NOW_S))
        assert answer.total.served == 300
        assert answer.total.cost_nano == 300 * USD // 100
        assert await redis.command("EXISTS", redis.keys.books(*FRESH)) == 0


async def test_sums_beyond_floats_are_exact(redis_server: RedisServer) -> None:
    """To the nano-dollar, past 2^53 of them."""
    costs = [2**53 + 1, 2**53 + 3, 999_999_999, 1]
    async with insight(redis_server) as (redis, asked):
        for number, nano in enumerate(costs):
            await add_up(redis, deltas([entry(number, cost_nano=nano, upstream_nano=nano)]))
            await asked.roll()
        answer = await asked.answer(Query(since_s=NOW_S - HOUR_S, until_s=NOW_S, by=(Dimension.CLIENT,)))
    assert (answer.total.cost_nano, answer.rows[0].figures.upstream_nano) == (sum(costs), sum(costs))


async def test_a_full_table_takes_the_rest_as_other(redis_server: RedisServer) -> None:
    """Of its group as long as groups are few; nothing is lost, and what may be missing is said."""
    entries = [entry(number, client_id=f"ck_{number}", group_id=f"gr_{number % 2}") for number in range(60)]
    async with insight(redis_server) as (redis, asked):
        plan = json.loads(asked._plan)
        asked._plan = json.dumps([[step, kept_s, cube_s, 10, codes_s] for step, kept_s, cube_s, _, codes_s in plan])
        for place in range(0, 60, 6):
            await add_up(redis, deltas(entries[place : place + 6]))
            await asked.roll()
        period = {"since_s": NOW_S - HOUR_S, "until_s": NOW_S}
        by_client = await asked.answer(Query(**period, by=(Dimension.CLIENT,), top=100))
        by_group = await asked.answer(Query(**period, by=(Dimension.GROUP,)))
        crossed = await asked.answer(
            Query(**period, where={Dimension.CLIENT: ("ck_1",), Dimension.MODEL: ("openai/gpt-4o",)})
        )
        name = redis.keys.books(*table_name(Step.HOUR, Table.CUBE, bucket_of(Step.HOUR, NOW_S)))
        assert await redis.command("HLEN", name) == 11
    assert [row.values for row in by_client.rows][-1] == ("other",)
    assert by_client.total.requests == by_group.total.requests == 60
    assert {row.values[0]: row.figures.requests for row in by_group.rows} == {"gr_0": 30, "gr_1": 30}
    assert by_client.rows[-1].figures.requests == 50
    assert (crossed.complete, by_client.complete) == (False, True)


async def test_every_table_ends_but_the_months(redis_server: RedisServer) -> None:
    """Each bucket lives as long as its step is kept; what is late by more is not written any more."""
    async with insight(redis_server) as (redis, asked):
        await add_up(redis, deltas([entry(1, at_s=NOW_S - 5), entry(2, at_s=NOW_S - 40 * DAY_S)]))
        await asked.roll()
        names = [bytes(name).decode() for name in await redis.command("KEYS", "*sums*")]
        lives = {name: await redis.command("TTL", name) for name in names}
    forever = redis.keys.books(*table_name(Step.MONTH, Table.ALL, 0))
    assert lives.pop(forever) == lives.pop(redis.keys.books(*BASE, "late")) == -1
    assert all(life > 0 for life in lives.values())
    for step, keeping in KEPT.items():
        slack_s = 65 * DAY_S if step in (Step.MONTH, Step.DAY) else 2 * DAY_S
        held = [life for name, life in lives.items() if f":{step}:" in name]
        assert max(held) <= keeping.kept_s + slack_s
    assert not any(f":hour:clients:{bucket_of(Step.HOUR, NOW_S - 40 * DAY_S)}" in name for name in names)
    assert any(f":day:clients:{bucket_of(Step.DAY, NOW_S - 40 * DAY_S)}" in name for name in names)


async def test_a_fact_that_cannot_be_read_stops_nobody(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """It is dropped and told."""
    async with insight(redis_server) as (redis, asked):
        await redis.command("HINCRBY", redis.keys.books(*FRESH), "nonsense", 1)
        await add_up(redis, deltas([entry()]))
        assert await asked.roll() == 2
        assert (await asked.answer(Query(since_s=NOW_S - HOUR_S, until_s=NOW_S))).total.served == 1
    assert "usage facts unreadable" in caplog.text


async def test_few_round_trips_for_a_month(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty days by client and those before are some pipelines, however many calls there were."""
    async with insight(redis_server) as (redis, asked):
        await add_up(redis, deltas(random_entries(1, 200, NOW_S - 29 * DAY_S, NOW_S)))
        await asked.roll()
        trips: list[int] = []
        inner = redis.pipeline

        async def counted(commands: list[tuple[str, ...]]) -> list[object]:
            trips.append(len(commands))
            return await inner(commands)

        monkeypatch.setattr(redis, "pipeline", counted)
        query = Query(since_s=NOW_S - 29 * DAY_S, until_s=NOW_S, by=(Dimension.CLIENT,), compare=True)
        answer = await asked.answer(query)
    assert answer.step is Step.DAY
    assert answer.total.requests == 200
    assert len(trips) <= 6
    assert max(trips) <= 32


async def test_what_is_over_is_read_once(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until something is added to it: by a late call, or by a correction."""
    async with insight(redis_server) as (redis, asked):
        doubtful = entry(1, at_s=NOW_S - 9 * DAY_S, cost_nano=USD, cost_kind=CostKind.UNKNOWN)
        await add_up(redis, deltas([doubtful, entry(2, at_s=NOW_S - 3 * DAY_S)]))
        query = Query(since_s=NOW_S - 20 * DAY_S, until_s=NOW_S, by=(Dimension.CLIENT,), compare=True)
        first = await asked.answer(query)
        read: list[str] = []
        inner = redis.pipeline

        async def counted(commands: list[tuple[str, ...]]) -> list[object]:
            read.extend(command[1] for command in commands if command[0] == "HGETALL" and ":clients:" in command[1])
            return await inner(commands)

        monkeypatch.setattr(redis, "pipeline", counted)
        assert await asked.answer(query) == first
        today = redis.keys.books(*table_name(Step.DAY, Table.CLIENTS, bucket_of(Step.DAY, NOW_S)))
        assert read == [today]
        await add_up(redis, corrected(doubtful, USD // 4) + deltas([entry(3, at_s=NOW_S - 3 * DAY_S)]))
        again = await asked.answer(query)
    assert (first.total.cost_nano, first.total.unknown, first.total.served) == (USD + USD // 100, 1, 2)
    assert (again.total.cost_nano, again.total.unknown, again.total.served) == (USD // 4 + USD // 50, 0, 3)
    assert told(again.rows[0].figures) == told(again.total)


async def test_memory_is_bounded(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not asked for lately goes first, and answers stay right."""
    monkeypatch.setattr("app.services.insight._MOST_REMEMBERED", 30)
    monkeypatch.setattr("app.services.insight._MOST_MERGED", 2)
    entries = random_entries(7, 300, NOW_S - 20 * DAY_S, NOW_S)
    async with insight(redis_server) as (redis, asked):
        await add_up(redis, deltas(entries))
        for days in (19, 5, 12, 19):
            since_s = (NOW_S - days * DAY_S) // DAY_S * DAY_S
            answer = await asked.answer(Query(since_s=since_s, until_s=NOW_S, by=(Dimension.KEY,), step=Step.DAY))
            assert told(answer.total) == summed(one for one in entries if one.at_s >= since_s)
            assert told(answer.rows[0].figures) == summed(
                one for one in entries if one.at_s >= since_s and short_key(one.key_id) == answer.rows[0].values[0]
            )
            assert asked._remembered == sum(len(cells) for _, cells in asked._closed.values()) <= 30


async def test_sums_may_be_a_moment_old(redis_server: RedisServer) -> None:
    """If whoever asks says so: then this worker does not roll each time."""
    async with insight(redis_server) as (redis, asked):
        query = Query(since_s=NOW_S - HOUR_S, until_s=NOW_S)
        for expected, stale_s in ((1, 5.0), (1, 5.0), (3, 0.0)):
            await add_up(redis, deltas([entry()]))
            assert (await asked.answer(query, stale_s=stale_s)).total.served == expected


async def test_who_comes_while_it_is_freshened_waits(redis_server: RedisServer) -> None:
    """Two who ask at once both see what was booked before."""
    async with insight(redis_server) as (redis, asked):
        await add_up(redis, deltas([entry()]))
        query = Query(since_s=NOW_S - HOUR_S, until_s=NOW_S)
        answers = await asyncio.gather(*(asked.answer(query, stale_s=5.0) for _ in range(3)))
        assert [answer.total.served for answer in answers] == [1, 1, 1]


async def test_facts_may_be_merged_alone(redis_server: RedisServer) -> None:
    """Then the tables come later, and lose nothing; many samples of one kind are counted on the way."""
    async with insight(redis_server) as (redis, asked):
        for _ in range(8):
            await add_up(redis, deltas([entry(number, first_token_ms=300.0) for number in range(200)]))
            await asked.roll(spread=False)
        assert await redis.command("EXISTS", redis.keys.books(*BASE, "month", "all", "")) == 0
        answer = await asked.answer(Query(since_s=NOW_S - HOUR_S, until_s=NOW_S, by=(Dimension.KEY,), spans=True))
        name = redis.keys.books(*table_name(Step.DAY, Table.KEYS, bucket_of(Step.DAY, NOW_S)))
        (packed,) = (await redis.command("HGETALL", name)).values()
    assert (answer.total.served, answer.total.cost_nano) == (1600, 16 * USD)
    assert sorted(bins_in(packed).values()) == [1600] * 3


async def test_a_crowd_is_read_in_pieces(redis_server: RedisServer) -> None:
    """And told whole."""
    async with insight(redis_server) as (redis, asked):
        await add_up(redis, deltas([entry(number, client_id=f"ck_{number}") for number in range(700)]))
        answer = await asked.answer(Query(since_s=NOW_S - DAY_S, until_s=NOW_S, by=(Dimension.CLIENT,), top=3))
    assert [row.figures.requests for row in answer.rows] == [1, 1, 1, 697]


async def test_spans_are_quantiles(redis_server: RedisServer) -> None:
    """Of all calls of the period, of each row and of each bucket; also in crossed questions."""
    waits = [100.0] * 90 + [2000.0] * 9 + [9000.0]
    since_s, near = NOW_S - 2 * HOUR_S, {"rel": 0.125}
    async with insight(redis_server) as (redis, asked):
        early = [entry(number, at_s=NOW_S - HOUR_S - 900, client_id="ck_2", first_token_ms=50.0) for number in range(5)]
        await add_up(redis, deltas([entry(number, first_token_ms=ms) for number, ms in enumerate(waits)] + early))
        query = Query(since_s=since_s, until_s=NOW_S, by=(Dimension.CLIENT,), step=Step.HOUR, spans=True)
        answer = await asked.answer(query)
        crossed = await asked.answer(
            Query(
                since_s=since_s, until_s=NOW_S, by=(Dimension.MODEL,), where={Dimension.CLIENT: ("ck_2",)}, spans=True
            )
        )
        whole = await asked.answer(Query(since_s=since_s, until_s=NOW_S, spans=True))
        quiet = await asked.answer(Query(since_s=since_s, until_s=NOW_S))
        grouped = await asked.answer(Query(since_s=since_s, until_s=NOW_S, by=(Dimension.CLIENT,)))
    first = answer.rows[0].spans
    assert (answer.rows[0].values, crossed.rows[0].figures.requests) == (("ck_1",), 5)
    assert first.first_token is not None
    assert first.first_token.p50_ms == pytest.approx(100, **near)
    assert first.first_token.p95_ms == first.first_token.p99_ms == pytest.approx(2000, **near)
    assert first.duration is not None
    assert first.duration.p95_ms == pytest.approx(2000, **near)
    assert first.overhead is not None
    assert first.overhead.p50_ms == pytest.approx(0.25, **near)
    for told in (crossed.spans, crossed.rows[0].spans, answer.span_series[0]):
        assert told.first_token is not None
        assert told.first_token.p99_ms == pytest.approx(50, **near)
    assert [one.first_token is None for one in answer.span_series] == [False, True, False]
    assert whole.spans == answer.spans
    assert (quiet.spans, quiet.span_series, grouped.spans) == (whole.spans, (), Spans())
    assert quiet.waits == whole.spans.first_token


async def test_rolling_goes_on_by_itself(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after Redis was away."""
    for pause in ("_PAUSE_S", "_SPREAD_EVERY_S"):
        monkeypatch.setattr(f"app.services.insight.{pause}", 0.01)
    async with insight(redis_server) as (redis, asked):
        tasks = asked._tasks
        asked.start()
        redis_server.kill()
        with pytest.raises(RedisUnavailable):
            await asked.roll()
        await asyncio.sleep(0.05)
        redis_server.start()
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(RedisUnavailable):
                    await add_up(redis, deltas([entry()]))
                    break
                await asyncio.sleep(0.02)
            while (await redis.command("EXISTS", redis.keys.books(*FRESH))) or not (
                await redis.command("EXISTS", redis.keys.books(*BASE, "month", "all", ""))
            ):
                await asyncio.sleep(0.02)
        await tasks.close()
