"""Admissions and settlements on a real Redis, beside a plain model of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from app.core.clock import SystemClock
from app.core.errors import GatewayError
from app.core.inline_task import InlineTask
from app.core.redis import RedisManager, RedisOptions, RedisUnavailable
from app.models.ledger import Entry
from app.models.limits import Span, Unit
from app.services.limit_plan import PARTS, Checks, Plan
from app.services.limit_script import Batch, LimitScript, Settled
from app.services.limits import Granted, Limits
from app.services.local_limits import WithoutRedis
from app.services.money import NANO, Amounts
from app.services.signs_of_life import SignsOfLife
from app.services.spending import Purse, spent_name
from tests.redis_server import RedisServer
from tests.test_core.test_redis import ShiftedClock, cluster, connected, guarded
from tests.test_services.conftest import manager
from tests.test_services.limit_world import (
    CALL,
    JOURNAL,
    NOON,
    USD,
    Books,
    HandClock,
    Model,
    a_batch,
    a_client,
    a_group,
    a_plan,
    an_entry,
    limit,
    limits_on,
    patient,
)

__all__ = ["cluster", "guarded"]

CONCURRENT = limit(Unit.CONCURRENT, Span.NOW, 1).id
GROUP = a_group(
    limit(Unit.USD, Span.DAY, 60),
    limit(Unit.REQUESTS, Span.HOUR, 40),
    limit(Unit.CONCURRENT, Span.NOW, 6, models="a/*"),
    limit(Unit.USD, Span.WEEK, 20, shadow=True),
    name="gr_1",
)
GATEWAY = a_group(limit(Unit.USD, Span.TOTAL, 150), limit(Unit.TOKENS, Span.DAY, 500))
CLIENTS = [
    (
        a_client(
            limit(Unit.USD, Span.MONTH, 80, raised_to=100, raised_until=1_795_521_700.0),
            limit(Unit.REQUESTS, Span.MINUTE, 5, each_user=True),
            limit(Unit.OUTPUT_TOKENS, Span.MINUTE, 30),
            limit(Unit.USD, Span.TOTAL, 40, models="b/*", each_user=True),
            group="gr_1",
        ),
        GROUP,
    ),
    (a_client(limit(Unit.USD, Span.WEEK, 50), name="ck_2", clamp=True, group="gr_1"), GROUP),
    (
        a_client(
            limit(Unit.CONCURRENT, Span.NOW, 3),
            limit(Unit.INPUT_TOKENS, Span.HOUR, 60),
            limit(Unit.REQUESTS, Span.DAY, 8, shadow=True),
            limit(Unit.USD, Span.DAY, 70, models="a/*"),
            name="ck_3",
        ),
        None,
    ),
]
PLANS = [Plan(client, group, GATEWAY) for client, group in CLIENTS]
SPANS = {one.id: one.span for terms in (GROUP, GATEWAY, *(client for client, _ in CLIENTS)) for one in terms.limits}

calls = st.tuples(
    st.integers(0, 2),
    st.sampled_from([(), ("a/x",), ("b/y",), ("a/x", "b/y:free")]),
    st.sampled_from(["", "u1", "u2"]),
    st.builds(
        lambda nano, asked, written, least: Amounts(nano, asked, written, min(least, nano)),
        st.integers(0, 30), st.integers(0, 15), st.integers(0, 15), st.integers(0, 10),
    ),
)  # fmt: skip
steps = st.lists(
    st.one_of(
        st.tuples(st.just("admit"), st.lists(calls, min_size=1, max_size=6)),
        st.tuples(st.just("ended"), st.integers(0, 1000)),
        st.tuples(st.just("settle"), st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 100)), max_size=4)),
        st.tuples(st.just("pass"), st.sampled_from([0.3, 1.0, 7.5, 60.0, 61.0, 1800.0, 3600.0, 50_000.0])),
    ),
    max_size=40,
)


class World:
    """The same steps on Redis and on the model."""

    def __init__(self, redis: RedisManager, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = HandClock()
        self.redis = redis
        self.limits = Limits(redis, self.clock, JOURNAL, WithoutRedis(), patience_s=20)
        self.model = Model()
        self.books = Books(redis)
        self.mark = self.number = 0
        self.monkeypatch = monkeypatch
        self.turn(0)

    def turn(self, by_s: float) -> None:
        self.clock.now_s += by_s
        self.model.now_s = self.clock.now_s
        self.monkeypatch.setattr(LimitScript, "now_s", self.clock.now_s)

    async def admit(self, asked: list[Any]) -> None:
        holds = [str(self.number + n) for n in range(len(asked))]
        self.number += len(asked)
        expected = [
            self.model.admit(hold, CLIENTS[who][0], PLANS[who], models, user, amounts)
            for hold, (who, models, user, amounts) in zip(holds, asked, strict=True)
        ]
        found = await asyncio.gather(
            *(
                self.limits.admit(hold, PLANS[who], models, user, amounts)
                for hold, (who, models, user, amounts) in zip(holds, asked, strict=True)
            ),
            return_exceptions=True,
        )
        assert [told(one) for one in found] == [told(one) for one in expected]

    async def settle(self, chosen: list[tuple[int, int]]) -> None:
        settled = []
        purses: list[tuple[Entry, tuple[Purse, ...]]] = []
        for place, percent in chosen:
            if not self.model.holds:
                break
            hold = sorted(self.model.holds)[place % len(self.model.holds)]
            held = self.model.holds[hold]
            amounts = held.amounts
            item = Settled(hold, amounts.input_tokens * percent // 70, amounts.output_tokens * percent // 100,
                           held.nano * percent // 100)  # fmt: skip
            settled.append((item, an_entry(hold, held.at_s, item.cost_nano, held.client, held.group)))
            purses += [(settled[-1][1], Checks(held.checks).purses)]
            self.model.settled(hold, item)
        batch = a_batch(self.mark, *settled, purses=purses)
        self.mark = await self.limits.settle(batch)
        assert self.mark == batch.upto
        assert await self.limits.settle(batch) == self.mark

    async def step(self, kind: str, what: Any) -> None:
        match kind:
            case "admit":
                await self.admit(what)
            case "ended" if self.model.holds:
                hold = sorted(self.model.holds)[what % len(self.model.holds)]
                self.limits.ended(hold)
                self.model.ended(hold)
                self.mark = await self.limits.settle(a_batch(self.mark))
            case "settle":
                await self.settle(what)
            case "pass":
                self.turn(what)
        await self.compare()

    async def compare(self) -> None:
        numbers = {name: value for name, value in self.model.numbers.items() if value}
        assert await self.books.numbers("held", "spent", "running") == numbers
        rates = {name: self.inside(name, parts) for name, parts in (await self.books.rates()).items()}
        expected = {name: self.inside(name, parts) for name, parts in self.model.rate_parts().items()}
        assert {name: parts for name, parts in rates.items() if parts} == {n: p for n, p in expected.items() if p}
        assert await self.books.holds() <= len(self.model.holds)
        for name in ("g:gr_1", "g:gateway", "c:ck_2"):
            self.below(name)

    def inside(self, name: str, counted: dict[int, int]) -> dict[int, int]:
        """What has not slid out of the window: the rest is forgotten sooner or later."""
        parts, part_s = PARTS[SPANS[name.rpartition(":")[2].partition("~")[0]]]
        return {part: n for part, n in counted.items() if n and part >= self.clock.now_s // part_s - parts}

    def below(self, name: str) -> None:
        for check in {check for plan in PLANS for check in plan.every if check.subject == name}:
            if check.limit.unit is Unit.USD and not check.limit.shadow:
                assert self.model.used(check) <= check.limit.size


def told(one: Any) -> Any:
    match one:
        case GatewayError():
            return one.status, one.message, one.hint, one.headers
        case Granted():
            return one.nano, one.shadows
        case _:
            return one


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as made:
        yield made


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(todo=steps)
def test_beside_a_plain_model(
    todo: list[Any], redis_server: RedisServer, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every decision and every counter is the model's; when all is settled, nothing is held."""

    async def run() -> None:
        redis = RedisManager(RedisOptions(redis_server.url, timeout_s=10), SystemClock())
        await redis.command("FLUSHALL")
        world = World(redis, monkeypatch)
        try:
            for kind, what in todo:
                await world.step(kind, what)
            while world.model.holds:
                await world.settle([(0, 50)])
            await world.compare()
            assert await world.books.numbers("held", "running") == {}
            assert await world.books.holds() == 0
        finally:
            await world.limits.close()
            await redis.close()

    runner.run(run())


WINDOWS = [(Span.MINUTE, 60, 1), (Span.HOUR, 60, 60), (Span.DAY, 96, 900)]


@pytest.mark.parametrize(("span", "parts", "part_s"), WINDOWS)
async def test_a_window_slides(
    redis: RedisManager, monkeypatch: pytest.MonkeyPatch, span: Span, parts: int, part_s: int
) -> None:
    """A part that is only partly inside counts whole; who is refused hears when there is room for what it asks."""
    plan = a_plan(limit(Unit.TOKENS, span, 10))
    length_s = parts * part_s
    async with limits_on(redis, HandClock()) as limits:

        async def ask(at_s: float, *tokens: int) -> list[int]:
            """Zero, or in how many seconds it fits."""
            monkeypatch.setattr(LimitScript, "now_s", NOON + at_s)
            asks = (limits.admit(f"{at_s} {n}", plan, (), "", Amounts(0, one, 0)) for n, one in enumerate(tokens))
            found = await asyncio.gather(*asks, return_exceptions=True)
            return [int(dict(one.headers)[b"retry-after"]) if isinstance(one, GatewayError) else 0 for one in found]

        assert await ask(0.5 * part_s, 4) == [0]
        assert await ask(10 * part_s, 6, 1, 7) == [0, length_s - 9 * part_s, length_s + part_s]
        assert await ask(length_s + 0.75 * part_s, 1) == [max(1, -(-part_s // 4))]
        assert await ask(length_s + part_s, 3, 2, 1, 4) == [0, 10 * part_s, 0, 10 * part_s]
        assert await ask(length_s + 11 * part_s, 6, 1, 10) == [0, length_s - 9 * part_s, length_s + part_s]
        assert await ask(3 * length_s, 10) == [0]
        name = redis.keys.books("rate", *plan.every[0].place)
        assert set(await redis.command("HKEYS", name)) == {b"first", b"sum", b"%d" % ((NOON + 3 * length_s) // part_s)}
        assert length_s < await redis.command("TTL", name) <= length_s + 2 * part_s


# ---- many at once


async def test_five_hundred_at_once_stay_below_a_dollar(redis_server: RedisServer) -> None:
    """Four workers let in what fits, and never a cent more, whatever the calls turn out to cost."""
    plan = a_plan(limit(Unit.USD, Span.MONTH, NANO), limit(Unit.CONCURRENT, Span.NOW, 60))
    most: list[int] = []

    async def one(limits: Limits, number: int) -> Granted | GatewayError:
        try:
            granted = await limits.admit(str(number), plan, (), "", Amounts(nano=NANO // 97))
        except GatewayError as error:
            return error
        limits.ended(str(number))
        return granted

    async def worker(number: int) -> int:
        async with patient(redis_server) as redis, limits_on(redis, SystemClock(), f"journal-{number}") as limits:
            mark = let_in = 0
            for turn in range(5):
                holds = range(turn * 25, turn * 25 + 25)
                found = await asyncio.gather(*(one(limits, hold) for hold in holds))
                good = [hold for hold, answer in zip(holds, found, strict=True) if isinstance(answer, Granted)]
                let_in += len(good)
                assert {error.status for error in found if isinstance(error, GatewayError)} <= {402, 429}
                most.append(sum((await Books(redis).numbers("held:c:ck_1", "spent:c:ck_1:m")).values()))
                at_s = SystemClock().wall_s()
                settled = [(Settled(str(hold), 1, 1, NANO // 194), an_entry("x", at_s, NANO // 194)) for hold in good]
                mark = await limits.settle(
                    a_batch(
                        mark,
                        *settled,
                        *((Settled(str(n), 0, 0, 0), an_entry("x", at_s, 0)) for n in holds if n not in good),
                        journal=f"journal-{number}",
                    )
                )
            return let_in

    let_in = sum(await asyncio.gather(*(worker(number) for number in range(4))))
    async with patient(redis_server) as redis:
        assert max(most) <= NANO
        assert await Books(redis).numbers("held", "running") == {}
        spent = await redis.command("GET", redis.keys.books(*spent_name("c:ck_1", Span.MONTH, SystemClock().wall_s())))
        assert int(spent) == let_in * (NANO // 194) <= NANO
        assert 97 <= let_in <= 194


# ---- each thing once


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[RedisManager]:
    async with patient(redis_server) as connected:
        yield connected


@pytest.fixture
async def limits(redis: RedisManager) -> AsyncIterator[Limits]:
    async with limits_on(redis, SystemClock()) as made:
        yield made


FULL = a_plan(
    limit(Unit.USD, Span.DAY, NANO, models="a/*"),
    limit(Unit.USD, Span.TOTAL, NANO),
    limit(Unit.CONCURRENT, Span.NOW, 2),
    limit(Unit.TOKENS, Span.HOUR, 1000),
    limit(Unit.REQUESTS, Span.MINUTE, 100),
)
ASKED = Amounts(nano=NANO // 4, input_tokens=10, output_tokens=20)


def settled(hold: str, cost_nano: int = 1000) -> tuple[Settled, Any]:
    return Settled(hold, 5, 5, cost_nano), an_entry(hold, SystemClock().wall_s(), cost_nano)


async def test_ended_and_settled_twice(redis: RedisManager, limits: Limits) -> None:
    """What was ended or settled before, and what was never held, changes nothing."""
    books = Books(redis)
    await limits.admit("1", FULL, ("a/x",), "", ASKED)
    await limits.admit("2", FULL, ("a/x",), "", ASKED)
    for _ in range(3):
        limits.ended("1")
        limits.ended("unknown")
    assert await limits.settle(a_batch(0)) == 1
    assert sum((await books.numbers("running")).values()) == 1

    first = settled("1")
    purses = FULL.checks(("a/x",), "").purses
    assert len(purses) == 1
    assert await limits.settle(a_batch(1, first, settled("unknown"), purses=[(first[1], purses)])) == 3
    numbers = await books.numbers("held", "running")
    assert set(numbers.values()) == {NANO // 4, 1}
    assert await limits.settle(a_batch(3, settled("1", 0))) == 4
    limits.ended("1")
    assert await limits.settle(a_batch(4, settled("2", 0))) == 5

    assert await books.numbers("held", "running") == {}
    assert await books.holds() == 0
    assert sum(sum(parts.values()) for name, parts in (await books.rates()).items() if parts) == 20 + 2
    spent = await books.numbers("spent:c")
    assert {value for name, value in spent.items() if "~" in name} == {1000}
    assert {value for name, value in spent.items() if "~" not in name} == {2000}


async def test_a_batch_counts_from_its_mark_only(redis: RedisManager, limits: Limits) -> None:
    """A batch that is repeated, comes too early or starts elsewhere books nothing, and tells how far the books are."""
    first, second = a_batch(0, settled("1"), entries=[b"one"]), a_batch(1, settled("2"), entries=[b"two"])

    assert await limits.settle(second) == 0
    assert await limits.settle(first) == 1
    assert await limits.settle(first) == 1
    assert await limits.settle(a_batch(5, settled("3"))) == 1
    assert await limits.settle(second) == await limits.mark_of(JOURNAL) == 2

    assert (await Books(redis).numbers("spent:c:ck_1:total"))["spent:c:ck_1:total"] == 2000
    assert [value for _, value in await redis.command("XRANGE", redis.keys.books("ledger"), "-", "+")] == [
        {b"entry": b"one"},
        {b"entry": b"two"},
    ]
    await limits.forget_journal(JOURNAL)
    assert await limits.mark_of(JOURNAL) == 0


async def test_a_batch_brings_counters_and_spenders(redis: RedisManager, limits: Limits) -> None:
    """Deltas go to hashes with a life, spenders to the set of who is to be looked after; large numbers stay exact."""
    large = 2**53 - 1
    batch = Batch(
        JOURNAL, 0, 7, sums=[(("spent", "c:x", "total"), 0, large)], spenders=["c:x", "g:gateway"],
        deltas=[(("cells", "h"), 100, {"a": large, "b": -2}), (("cells", "t"), 0, {"a": 1})],
    )  # fmt: skip
    assert await limits.settle(batch) == 7
    again = structs.replace(batch, after=7, upto=8)
    assert await limits.settle(again) == 8

    keys = redis.keys.books
    assert await redis.command("GET", keys("spent", "c:x", "total")) == b"%d" % (2 * large)
    assert await redis.command("HGETALL", keys("cells", "h")) == {b"a": b"%d" % (2 * large), b"b": b"-4"}
    assert 0 < await redis.command("TTL", keys("cells", "h")) <= 100
    assert await redis.command("TTL", keys("cells", "t")) == -1
    assert await redis.command("SMEMBERS", keys("spenders")) == {b"c:x", b"g:gateway"}


async def test_the_ledger_is_capped(redis: RedisManager) -> None:
    """The oldest entries go."""
    async with limits_on(redis, SystemClock(), ledger_entries=100) as limits:
        mark = 0
        for _ in range(10):
            mark = await limits.settle(Batch(JOURNAL, mark, mark + 1, entries=[b"x"] * 100))
        assert 100 <= await redis.command("XLEN", redis.keys.books("ledger")) < 300


@pytest.mark.parametrize("size", [2**53 - 2, 5_000_000 * NANO])
async def test_sizes_near_what_scripts_can_count(redis: RedisManager, limits: Limits, size: int) -> None:
    """The last nano-dollar fits, and none after it."""
    plan = a_plan(limit(Unit.USD, Span.TOTAL, size))
    assert (await limits.admit("1", plan, (), "", Amounts(nano=size - 1))).nano == size - 1
    assert (await limits.admit("2", plan, (), "", Amounts(nano=1))).nano == 1
    with pytest.raises(GatewayError):
        await limits.admit("3", plan, (), "", Amounts(nano=1))
    assert (await limits.admit("4", plan, (), "", Amounts())).nano == 0
    assert await Books(redis).numbers("held") == {"held:c:ck_1:total": size}


async def test_more_limits_than_bits(limits: Limits) -> None:
    """A hundred limits that only measure are all told."""
    shadows = [limit(Unit.REQUESTS, Span.MINUTE, 0, shadow=True, models=f"m{n}*") for n in range(100)]
    granted = await limits.admit("1", a_plan(*shadows, limit(Unit.REQUESTS, Span.HOUR, 1)), (), "", CALL)
    assert granted.shadows == tuple(shadows)


async def test_many_calls_in_one_turn(redis: RedisManager, limits: Limits) -> None:
    """More than go into one batch: all are answered, in order."""
    plan = a_plan(limit(Unit.CONCURRENT, Span.NOW, 1100))
    found = await asyncio.gather(
        *(limits.admit(str(n), plan, (), "", CALL) for n in range(1200)), return_exceptions=True
    )
    assert [isinstance(one, Granted) for one in found] == [True] * 1100 + [False] * 100
    assert await Books(redis).holds() == 1100


# ---- who is cancelled, and in which order


async def test_cancelled_callers_leave_nothing_behind(redis: RedisManager, limits: Limits) -> None:
    """Whether cancelled before or while Redis is asked: once it is settled, nothing is reserved."""
    plan = a_plan(limit(Unit.CONCURRENT, Span.NOW, 1000), limit(Unit.USD, Span.DAY, NANO))
    mark = 0
    for turns in range(12):
        first = asyncio.create_task(limits.admit(f"{turns}-a", plan, (), "", USD))
        for _ in range(turns):
            await asyncio.sleep(0)
        second = asyncio.create_task(limits.admit(f"{turns}-b", plan, (), "", USD))
        await asyncio.sleep(0)
        first.cancel()
        second.cancel()
        await asyncio.wait([first, second])
        mark = await limits.settle(a_batch(mark, settled(f"{turns}-a", 0), settled(f"{turns}-b", 0)))
    await limits.admit("last", plan, (), "", USD)
    assert (await Books(redis).numbers("held", "running")).keys() >= {"running:c:ck_1:" + CONCURRENT}
    await limits.settle(a_batch(mark, settled("last", 0)))

    assert await Books(redis).numbers("held", "running") == {}
    assert await Books(redis).holds() == 0


async def test_an_inline_task_is_let_in_and_cancelled(redis: RedisManager, limits: Limits) -> None:
    """Calls of the proxy run in tasks of their own kind, and wait in them as in any other."""
    plan = a_plan(limit(Unit.CONCURRENT, Span.NOW, 2))
    heard: list[Any] = []

    async def call(hold: str) -> None:
        heard.append((await limits.admit(hold, plan, (), "", CALL)).nano)

    loop = asyncio.get_running_loop()
    tasks = [InlineTask(call(str(n)), loop) for n in range(3)]
    for task in tasks:
        loop.call_soon(task.start)
    loop.call_soon(tasks[0].cancel)
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0.01)
    assert heard == [0, 0]
    assert await Books(redis).holds() == 2


async def test_what_has_ended_makes_room_for_who_comes_after(limits: Limits) -> None:
    """A place that is free is free for the very next call."""
    plan = a_plan(limit(Unit.CONCURRENT, Span.NOW, 1))
    await limits.admit("0", plan, (), "", CALL)
    for number in range(1, 30):
        limits.ended(str(number - 1))
        assert (await limits.admit(str(number), plan, (), "", CALL)) is not None
    with pytest.raises(GatewayError, match="1 concurrent request,"):
        await limits.admit("x", plan, (), "", CALL)


async def test_holds_of_another_journal(redis: RedisManager, limits: Limits) -> None:
    """A journal that was taken over is ended and settled beside one's own, though its calls have the same numbers."""
    plan = a_plan(limit(Unit.CONCURRENT, Span.NOW, 5))
    async with limits_on(redis, SystemClock(), "other") as other:
        await other.admit("1", plan, (), "", CALL)
    await limits.admit("1", plan, (), "", CALL)

    limits.ended("1", "other")
    assert await limits.settle(a_batch(0, settled("1"), journal="other")) == 1
    assert (await Books(redis).holds("other"), await Books(redis).holds()) == (0, 1)
    assert list((await Books(redis).numbers("running")).values()) == [1]


async def test_closing_refuses_who_waits(redis_server: RedisServer) -> None:
    """Nobody waits for ever."""
    async with manager(redis_server) as redis:
        limits = Limits(redis, SystemClock(), JOURNAL, WithoutRedis())
        redis_server.pause()
        asks = [asyncio.create_task(limits.admit(str(n), FULL, (), "", ASKED)) for n in range(3)]
        await asyncio.sleep(0.02)
        asks.append(asyncio.create_task(limits.admit("late", FULL, (), "", ASKED)))
        mark = limits.settle(a_batch(0))
        await asyncio.sleep(0)
        await limits.close()
        found = await asyncio.gather(*asks, mark, return_exceptions=True)
        redis_server.resume()
    assert [type(one) for one in found] == [GatewayError] * 4 + [RedisUnavailable]


async def test_a_mistake_hangs_nobody(redis: RedisManager, limits: Limits, caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be packed fails with those that go along, and the next round is as usual."""
    first = limits.settle(Batch(JOURNAL, 0, 2**70))
    with pytest.raises(GatewayError):
        await limits.admit("1", FULL, (), "", ASKED)
    with pytest.raises(RedisUnavailable):
        await first
    assert (await limits.admit("2", FULL, (), "", ASKED)).nano == ASKED.nano
    assert "background task failed" in caplog.text


# ---- without Redis


async def test_a_dead_redis_and_back(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """The first calls wait a bound, the next ones not at all; when it is back, all is exact again, by itself."""
    plan = a_plan(limit(Unit.REQUESTS, Span.MINUTE, 4), limit(Unit.USD, Span.TOTAL, NANO))
    caplog.set_level("INFO")
    async with manager(redis_server) as redis, limits_on(redis, SystemClock(), patience_s=0.3) as limits:
        limits.share_among(2)
        await limits.admit("1", plan, (), "", USD)
        redis_server.kill()
        granted = [await limits.admit(hold, plan, (), "", USD) for hold in ("2", "3")]
        assert [one.nano for one in granted] == [USD.nano] * 2
        with pytest.raises(GatewayError) as caught:
            await limits.admit("4", plan, (), "", USD)
        assert (caught.value.status, dict(caught.value.headers)[b"x-ratelimit-limit"]) == (429, b"2")
        limits.ended("2")
        with pytest.raises(RedisUnavailable):
            await limits.settle(a_batch(0, settled("1"), settled("2"), settled("3")))
        redis_server.start()

        async with asyncio.timeout(20):
            while "limits exact again" not in caplog.messages:
                await asyncio.sleep(0.05)
                with contextlib.suppress(GatewayError):
                    await limits.admit("5", plan, (), "", USD)
        assert await limits.settle(a_batch(0, settled("1"), settled("2"), settled("3"), settled("5"))) == 4
        assert await Books(redis).numbers("held") == {}
        assert await Books(redis).numbers("spent:c:ck_1:total") == {"spent:c:ck_1:total": 4000}
    assert caplog.messages.count("limits without redis") == 1


@pytest.mark.parametrize(
    ("without", "plan", "status"),
    [
        (WithoutRedis(rates="allow"), a_plan(limit(Unit.REQUESTS, Span.MINUTE, 1)), None),
        (WithoutRedis(rates="refuse"), a_plan(limit(Unit.REQUESTS, Span.MINUTE, 1)), 503),
        (WithoutRedis(rates="refuse"), a_plan(limit(Unit.USD, Span.DAY, NANO)), None),
        (WithoutRedis(budgets="refuse"), a_plan(limit(Unit.USD, Span.DAY, NANO)), 503),
        (WithoutRedis(budgets="refuse"), a_plan(limit(Unit.REQUESTS, Span.MINUTE, 9)), None),
        (WithoutRedis(), a_plan(limit(Unit.USD, Span.DAY, NANO), name="ck_new"), 503),
    ],
)  # fmt: skip
async def test_policies_without_redis(
    redis_server: RedisServer, without: WithoutRedis, plan: Plan, status: int | None
) -> None:
    """Rates are shared, let through or refused; budgets go on from what was left, or are refused."""
    async with manager(redis_server) as redis, limits_on(redis, SystemClock(), without=without, patience_s=1) as limits:
        if "ck_new" not in repr(plan.every):
            await limits.admit("1", plan, (), "", USD)
        redis_server.kill()
        got: list[int | None] = []
        for hold in ("2", "3"):
            try:
                await limits.admit(hold, plan, (), "", USD)
                got.append(None)
            except GatewayError as error:
                got.append(error.status)
        assert got == [status] * 2


async def test_what_runs_is_not_let_in_once_more_when_redis_goes(redis_server: RedisServer) -> None:
    """Calls that Redis has let in keep their places until they end; who gave up while he waited has none."""
    plan = a_plan(limit(Unit.CONCURRENT, Span.NOW, 3))
    async with patient(redis_server) as redis, limits_on(redis, SystemClock()) as limits:
        gone = asyncio.create_task(limits.admit("0", plan, (), "", CALL))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])
        limits.closed("0", 0)
        await limits.admit("1", plan, (), "", CALL)
        await limits.admit("2", plan, (), "", CALL)
        redis_server.kill()
        await limits.admit("3", plan, (), "", CALL)
        with pytest.raises(GatewayError, match="3 concurrent"):
            await limits.admit("4", plan, (), "", CALL)
        limits.closed("1", 0)
        await limits.admit("5", plan, (), "", CALL)
        limits.ended("2")
        await limits.admit("6", plan, (), "", CALL)
        with pytest.raises(GatewayError, match="3 concurrent"):
            await limits.admit("7", plan, (), "", CALL)


async def test_nothing_is_sent_while_the_last_may_still_be_done(redis_server: RedisServer) -> None:
    """Even if Redis is back at once: what was given up is over first. Holds of other journals are not one's own."""
    plan = a_plan(limit(Unit.CONCURRENT, Span.NOW, 1))
    async with patient(redis_server) as redis, limits_on(redis, SystemClock()) as limits:
        redis_server.kill()
        await limits.admit("1", plan, (), "", CALL)
        redis_server.start()
        for _ in range(3):
            with pytest.raises(RedisUnavailable):
                await limits.settle(a_batch(0, settled("1"), journal="other"))
            limits.ended("1", "other")
            with pytest.raises(GatewayError):
                await limits.admit("2", plan, (), "", CALL)
        limits.closed("1", 0)
        await limits.admit("2", plan, (), "", CALL)
        assert await Books(redis).holds() == 0


async def test_a_paused_redis_does_nothing_late(redis_server: RedisServer) -> None:
    """What Redis was asked while it slept is not reserved when it wakes up: whoever asked has gone."""
    plan = a_plan(limit(Unit.CONCURRENT, Span.NOW, 100), limit(Unit.REQUESTS, Span.DAY, 100))
    async with manager(redis_server) as redis, limits_on(redis, SystemClock(), patience_s=0.4) as limits:
        await limits.admit("1", plan, (), "", CALL)
        redis_server.pause()
        await asyncio.gather(*(limits.admit(f"p{n}", plan, (), "", CALL) for n in range(20)))
        await asyncio.sleep(0.6)
        redis_server.resume()
        async with asyncio.timeout(20):
            while True:
                try:
                    assert await Books(redis).holds() == 1
                    break
                except RedisUnavailable:
                    await asyncio.sleep(0.1)
        assert list((await Books(redis).numbers("running")).values()) == [1]


async def test_a_redis_that_refuses_writes(redis: RedisManager, caplog: pytest.LogCaptureFixture) -> None:
    """As good as away; no call is let in unseen, and nothing floods the log."""
    plan = a_plan(limit(Unit.USD, Span.DAY, NANO))
    async with limits_on(redis, SystemClock(), patience_s=0.05) as limits:
        await limits.admit("1", plan, (), "", USD)
        await redis.command("CONFIG", "SET", "maxmemory", "1")
        for number in range(2, 12):
            assert (await limits.admit(str(number), plan, (), "", USD)).nano == USD.nano
            await asyncio.sleep(0.03)
        assert caplog.messages.count("limits without redis") == 1
        await redis.command("CONFIG", "SET", "maxmemory", "0")
        while (await Books(redis).holds()) < 2:
            await limits.admit("12", plan, (), "", USD)
            await asyncio.sleep(0.02)


# ---- other forms of Redis


async def test_in_a_cluster(cluster: list[RedisServer]) -> None:
    """All that one admission needs is in one slot."""
    url = f"redis+cluster://127.0.0.1:{cluster[1].options['port']}"
    async with connected(url) as redis, limits_on(redis, SystemClock()) as limits:
        found = await asyncio.gather(
            *(limits.admit(str(n), FULL, ("a/x",), "", Amounts(nano=1)) for n in range(4)), return_exceptions=True
        )
        assert [type(one) for one in found] == [Granted, Granted, GatewayError, GatewayError]
        limits.ended("0")
        assert await limits.settle(a_batch(0, settled("0"), settled("1"), entries=[b"x"], spenders=["c:x"])) == 2
        signs = SignsOfLife(redis, JOURNAL, lambda _: None)
        await signs.start()
        assert await signs.sweep() == 1
        await signs.close()
        holds = await redis.command("HLEN", redis.keys.books("holds", JOURNAL))
        assert holds == 0


async def test_after_a_failover(guarded: tuple[str, RedisServer]) -> None:
    """The new master goes on where the old one was; calls meanwhile are judged by what is known."""
    url, master = guarded
    plan = a_plan(limit(Unit.USD, Span.TOTAL, NANO), limit(Unit.CONCURRENT, Span.NOW, 50))
    clock = ShiftedClock()
    redis = RedisManager(RedisOptions(url), clock)
    async with asyncio.timeout(50):
        while True:
            with contextlib.suppress(RedisUnavailable):
                await redis.connect()
                break
            await asyncio.sleep(0.1)
            clock.shift_s += 30
        async with limits_on(redis, clock, patience_s=0.2) as limits:
            await limits.admit("1", plan, (), "", USD)
            await redis.command("WAIT", 1, 1000)
            # The sentinel has to have seen the replica before it can promote it.
            await asyncio.sleep(1)
            master.kill()
            await limits.admit("2", plan, (), "", USD)
            while True:
                with contextlib.suppress(RedisUnavailable):
                    mark = await limits.settle(a_batch(0, settled("1"), settled("2")))
                    break
                await asyncio.sleep(0.1)
                clock.shift_s += 30
            assert mark == 2
            books = redis.keys.books
            assert await redis.command("GET", books("spent", "c:ck_1", "total")) == b"2000"
            assert await redis.command("EXISTS", books("held", "c:ck_1", "total"), books("holds", JOURNAL)) == 0
        await redis.close()
