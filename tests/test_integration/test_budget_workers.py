"""A budget under five hundred calls at once, over four workers: never passed by more than the documented bound, and
nothing stays reserved.

The bound of `docs/limits.md`: what single calls cost above what was reserved for them, and not a nano-dollar more.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis import Redis

from app.models.ledger import Entry
from simulator.settings import SimSettings
from tests.conftest import GatewayMaker
from tests.gateway_process import GatewayProcess, MadeClient, wait_until
from tests.redis_server import RedisServer
from tests.simulator_thread import SimulatorThread, running_simulator
from tests.test_integration.wire_tools import status_of

CALLS = 500
WORKERS = 4
BUDGET_NANO = 1_000_000_000
MODEL = "anthropic/claude-sonnet-4.5"
OUTPUT_NANO = 15_000
"""What a token costs that it writes."""
MAX_TOKENS, WRITTEN = 600, 590
LONG = 9000
"""Longer than an answer is taken to be while nobody knows better."""
SECRET = "0123456789abcdef0123456789abcdef"
BOOKS = "ormw:{books}"


@pytest.fixture
def upstream() -> Iterator[SimulatorThread]:
    """Answers late, so that all calls of a wave are under way together."""
    with running_simulator(SimSettings(first_token_ms=1000, tokens_per_s=0, heartbeat_ms=0)) as running:
        yield running


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()


class House:
    """Four workers on one Redis, a client with a dollar in all, and what the two books say."""

    def __init__(self, own_gateway: GatewayMaker, upstream: SimulatorThread, redis: RedisServer) -> None:
        self.upstream = upstream
        self.redis = Redis(unix_socket_path=redis.socket)
        keys = [upstream.control("keys", {"account": f"a{number}"})["key"] for number in range(3)]
        # The machine may be busy: nobody is to judge without Redis here.
        env = {"REDIS_URL": redis.url, "SESSION_SECRET_KEY": SECRET, "WORKERS": str(WORKERS), "REDIS_TIMEOUT_S": "5"}
        self.gateway: GatewayProcess = own_gateway(upstream.base_url, keys=keys, **env)
        self.client: MadeClient = self.gateway.create_client("crowd", "--limit", "usd/total=1")
        self.asked = 0

    def wave(self, **asked: Any) -> Counter[int]:
        """All calls at once. How many had which status."""
        self.asked += CALLS
        found = asyncio.run(all_at_once(self.gateway.port, self.client.key, asked))
        wait_until(self.at_rest, within_s=20, what="an entry for each call, and nothing reserved")
        return found

    def at_rest(self) -> bool:
        reserved = [name for kind in ("held", "holds") for name in self.redis.keys(f"{BOOKS}:{kind}:*")]
        return int(self.redis.xlen(f"{BOOKS}:ledger")) == self.asked and not reserved

    def spent(self) -> int:
        return int(self.redis.get(f"{BOOKS}:spent:c:{self.client.id}:total") or 0)

    def billed(self) -> dict[str, int]:
        """By generation."""
        return {row["id"]: int(row["cost_nano"]) for row in self.upstream.control("bill")["rows"]}

    def ledger(self) -> list[Entry]:
        return [_entry.decode(fields[b"entry"]) for _, fields in self.redis.xrange(f"{BOOKS}:ledger")]

    def served(self) -> list[Entry]:
        return [entry for entry in self.ledger() if entry.status == 200]

    def overrun(self) -> int:
        """The documented bound: what calls were billed above what they had reserved."""
        billed, served = self.billed(), self.served()
        assert {entry.generation_id for entry in served} == set(billed)
        return sum(max(0, billed[entry.generation_id] - entry.reserved_nano) for entry in served)


_entry = msgspec.msgpack.Decoder(Entry)


async def all_at_once(port: int, key: str, asked: dict[str, Any]) -> Counter[int]:
    said = [{"role": "user", "content": "What will this cost?"}]
    body = json.dumps({"model": MODEL, "messages": said, **asked}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n"
    )
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    go = asyncio.Barrier(CALLS)

    async def one() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await go.wait()
        writer.write(head.encode() + body)
        answer = await reader.read()
        writer.close()
        return status_of(answer)

    async with asyncio.timeout(40):
        return Counter(await asyncio.gather(*(one() for _ in range(CALLS))))


def test_a_budget_is_never_passed(own_gateway: GatewayMaker, upstream: SimulatorThread, redis: RedisServer) -> None:
    """With `max_tokens` the estimate holds, and the bound is zero: wave after wave spends the dollar down to what no
    call fits into, and no nano-dollar beyond it.
    """
    house = House(own_gateway, upstream, redis)
    upstream.control("settings", {"answer_tokens": WRITTEN})
    waves = [house.wave(max_tokens=MAX_TOKENS)]
    assert len({entry.id.rpartition("-")[0] for entry in house.ledger()}) == WORKERS
    (reserved,) = {entry.reserved_nano for entry in house.served()}
    assert MAX_TOKENS * OUTPUT_NANO < reserved < BUDGET_NANO // 100
    while waves[-1][200] and len(waves) < 5:
        waves.append(house.wave(max_tokens=MAX_TOKENS))
    assert all(set(wave) <= {200, 402} for wave in waves)
    assert [wave[200] > 0 for wave in waves] == [True] * (len(waves) - 1) + [False]
    assert sum(wave[200] for wave in waves) == len(house.billed())
    assert house.overrun() == 0
    assert house.spent() == sum(house.billed().values())
    assert BUDGET_NANO - reserved < house.spent() <= BUDGET_NANO


def test_answers_longer_than_ever(own_gateway: GatewayMaker, upstream: SimulatorThread, redis: RedisServer) -> None:
    """Without `max_tokens` an answer may be longer than any before: the budget is passed by no more than that costs."""
    house = House(own_gateway, upstream, redis)
    upstream.control("settings", {"answer_tokens": LONG})
    wave = house.wave()
    (reserved,) = {entry.reserved_nano for entry in house.served()}
    assert wave == {200: BUDGET_NANO // reserved, 402: CALLS - BUDGET_NANO // reserved}
    assert house.overrun() == sum(house.billed().values()) - wave[200] * reserved > 0
    assert house.spent() == sum(house.billed().values())
    assert BUDGET_NANO < house.spent() <= BUDGET_NANO + house.overrun()
