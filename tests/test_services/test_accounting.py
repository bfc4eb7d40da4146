"""The money side of a call, from admission to the ledger, on a real Redis."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from app.core.errors import GatewayError
from app.core.redis import RedisManager
from app.models.exchange import Outcome
from app.models.keys import ClientKey
from app.models.ledger import CostKind, Entry
from app.models.limits import Group, Limit, Span, Unit
from app.models.usage import Usage
from app.services.ask import read_ask
from app.services.call import Call
from app.services.routes import route_of
from app.services.spending import period_of
from tests.redis_server import RedisServer
from tests.test_services.books_rig import BooksRig, books_on
from tests.test_services.conftest import manager
from tests.test_services.limit_world import NOON, HandClock

MODEL = "openai/gpt-4o"
PRICES = msgspec.json.encode(
    {"data": [{"id": MODEL, "pricing": {"prompt": "0.000001", "completion": "0.00001"}, "context_length": 128_000}]}
)
USD = 10**9


def client(*limits: Limit, **more: Any) -> ClientKey:
    return ClientKey(id="ck_1", name="n", digest="", masked="", limits=limits, **more)


def usd(size: int, **more: Any) -> Limit:
    return Limit(unit=Unit.USD, span=Span.DAY, size=size, **more)


def opened(rig: BooksRig, who: ClientKey) -> Call:
    """A call whose head has come."""
    route = route_of("POST", b"/v1/chat/completions")
    assert route is not None
    call = Call("POST", route, b"", [], b"application/json", who, b"", request_id="req-1")
    rig.accounting.open(call)
    return call


def body_of(**asked: Any) -> bytes:
    return msgspec.json.encode({"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], **asked})


ASKED = body_of(max_tokens=1000)


async def begun(rig: BooksRig, who: ClientKey, **asked: Any) -> tuple[Call, bytes]:
    """A call that was let in, and its body as it goes on."""
    body = body_of(**asked)
    call = opened(rig, who)
    call.ask = read_ask(body)
    return call, await rig.accounting.admit(call, body)


async def entries(redis: RedisManager, count: int) -> list[Entry]:
    async with asyncio.timeout(10):
        while len(found := await redis.command("XRANGE", redis.keys.books("ledger"), "-", "+")) < count:
            await asyncio.sleep(0.01)
    return [msgspec.msgpack.decode(fields[b"entry"] if isinstance(fields, dict) else fields[1], type=Entry)
            for _, fields in found]  # fmt: skip


async def test_a_call_without_limits_is_booked(redis_server: RedisServer) -> None:
    """It waits for nobody, and its entry says what it was and cost."""
    async with manager(redis_server) as redis, books_on(redis, price_list=PRICES) as rig:
        call, body = await begun(rig, client(), user="carol")
        call.usage = Usage(input_tokens=5, output_tokens=7, cost_nano=75_000, reasoning_tokens=2)
        call.outcome, call.status, call.model, call.provider = Outcome.SERVED, 200, MODEL, "OpenAI"
        rig.accounting.settle(call, 321)
        rig.accounting.settle(call, 321)
        (entry,) = await entries(redis, 1)
        assert (entry.request_id, entry.client_id, entry.model_asked, entry.model) == ("req-1", "ck_1", MODEL, MODEL)
        assert (entry.cost_nano, entry.cost_kind, entry.reasoning_tokens) == (75_000, CostKind.REPORTED, 2)
        assert (entry.outcome, entry.status, entry.bytes_in, entry.bytes_out) == ("served", 200, len(body), 321)
        assert entry.user
        assert "carol" not in entry.user
        assert rig.prices.learned((MODEL,)).output_tokens >= 7


async def test_what_a_call_may_cost_is_reserved_and_given_back(redis_server: RedisServer) -> None:
    """Its upper estimate as long as it runs, its cost afterwards."""
    async with manager(redis_server) as redis, books_on(redis, price_list=PRICES) as rig:
        call, _ = await begun(rig, client(usd(USD)), max_tokens=1000)
        held = await redis.command("KEYS", redis.keys.books("held", "*"))
        assert 10_000_000 < int(await redis.command("GET", held[0])) == call.account.nano < 11_000_000
        call.usage = Usage(cost_nano=42)
        rig.accounting.settle(call, 0)
        await entries(redis, 1)
        assert await redis.command("KEYS", redis.keys.books("held", "*")) == []
        assert int(await redis.command("GET", redis.keys.books("spent", "c:ck_1", "total"))) == 42


async def test_who_cannot_pay_is_refused_or_gets_less(redis_server: RedisServer) -> None:
    """402 in words; with `clamp`, as many tokens as the money left pays for, written into the body."""
    async with manager(redis_server) as redis, books_on(redis, price_list=PRICES) as rig:
        with pytest.raises(GatewayError) as caught:
            await begun(rig, client(usd(USD // 100)), max_tokens=100_000)
        assert (caught.value.status, caught.value.error_type) == (402, "payment_required")
        assert "$0.01 per day" in caught.value.message
        call, body = await begun(rig, client(usd(USD // 100), clamp=True), max_tokens=100_000)
        asked = msgspec.json.decode(body)
        assert 0 < asked["max_tokens"] <= 1000
        assert call.wrote == ("max_tokens",)
        assert call.account.nano == USD // 100
        call.usage = Usage(cost_nano=0)
        rig.accounting.settle(call, 0)


async def test_the_groups_limits_count_too(redis_server: RedisServer) -> None:
    """And the gateway's; the answer says whose it was."""
    groups = {"g_1": Group(id="g_1", name="team", limits=(Limit(unit=Unit.REQUESTS, span=Span.MINUTE, size=1),))}
    async with manager(redis_server) as redis, books_on(redis, groups=groups, price_list=PRICES) as rig:
        member = client(group="g_1")
        call, _ = await begun(rig, member)
        assert dict(call.limit_headers)[b"x-ratelimit-remaining"] == b"0"
        with pytest.raises(GatewayError) as caught:
            await begun(rig, member)
        assert caught.value.status == 429
        assert caught.value.message.startswith("The limit of this key's group")
        rig.accounting.settle(call, 0)


async def test_every_budget_hears_of_calls_let_in_without_redis(redis_server: RedisServer) -> None:
    """Those of certain models and of end users too: what they count stands in the journal."""
    limits = (usd(USD), usd(USD, models="openai/*"), usd(USD, each_user=True), usd(USD, models="a/*"))
    who = client(*limits)
    async with manager(redis_server) as redis, books_on(redis, price_list=PRICES) as rig:

        async def one(cost_nano: int) -> Call:
            call, _ = await begun(rig, who, user="carol", max_tokens=10)
            call.usage = Usage(cost_nano=cost_nano)
            rig.accounting.settle(call, 0)
            return call

        call = await one(42)
        await entries(redis, 1)
        redis_server.kill()
        await one(100)
        redis_server.start()
        async with asyncio.timeout(20):
            await rig.books.shipper.done()
        day = period_of(Span.DAY, call.at_s)
        subjects = ["c:ck_1", *(f"c:ck_1~{one.id}" for one in limits[1:]), f"c:ck_1~{limits[2].id}~{call.user}"]
        spent = [int(await redis.command("GET", redis.keys.books("spent", one, day)) or 0) for one in subjects]
        assert spent == [142, 142, 0, 0, 142]
        assert await redis.command("KEYS", redis.keys.books("held", "*")) == []


async def test_a_call_at_midnight_belongs_to_the_day_it_came_in(redis_server: RedisServer) -> None:
    """It is checked against that day's money, and booked to it, however late it is let in."""
    clock = HandClock(NOON + 43_199)
    who = client(usd(USD // 50))
    async with manager(redis_server) as redis, books_on(redis, price_list=PRICES, clock=clock) as rig:
        call = opened(rig, who)
        clock.now_s += 10
        call.ask = read_ask(ASKED)
        await rig.accounting.admit(call, ASKED)
        (held,) = await redis.command("KEYS", redis.keys.books("held", "*"))
        assert held.endswith(b":d:2026-11-24")
        # The new day's money is whole.
        late, _ = await begun(rig, who, max_tokens=1000)
        for one in (call, late):
            one.usage = Usage(cost_nano=7)
            rig.accounting.settle(one, 0)
        await entries(redis, 2)
        for day in ("2026-11-24", "2026-11-25"):
            assert await redis.command("GET", redis.keys.books("spent", "c:ck_1", f"d:{day}")) == b"7"


async def test_bodies_are_kept_for_who_wants_it(redis_server: RedisServer) -> None:
    """What was asked and answered, sealed and apart; for nobody else."""
    async with manager(redis_server) as redis, books_on(redis, price_list=PRICES) as rig:
        call, body = await begun(rig, client(keep_bodies=True))
        assert call.kept is not None
        call.kept += b"An answer"
        rig.accounting.settle(call, 0)
        silent, _ = await begun(rig, client())
        assert silent.kept is None
        async with asyncio.timeout(10):
            while (kept := await rig.bodies.read("req-1")) is None:
                await asyncio.sleep(0.01)
        assert (kept.asked, kept.answered) == (body, b"An answer")
