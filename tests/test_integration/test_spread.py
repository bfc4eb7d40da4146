"""A thousand OpenRouter keys under ten thousand calls, spread as each strategy says; counted upstream, key by key.

Where dice decide, the bounds are so wide that chance breaks one in less than a thousand million runs.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from heapq import heapify, heapreplace
from math import exp, sqrt
from typing import Any

import pytest

from app.cli.session import open_keys
from app.core.config import Settings
from app.core.security import openrouter_key_id
from app.services.selection import Strategy
from tests.gateway_process import GatewayProcess, MadeClient, running_gateway, wait_until
from tests.simulator_thread import SimulatorThread, running_simulator
from tests.test_integration.samples import CHAT_MODEL
from tests.test_integration.wire_tools import call_json

KEYS = 1000
CALLS = 10_000 // len(Strategy)
CLIENTS = 16
PROBES_PER_S = 100
PROBES_AT_ONCE = 8
WEIGHTS = (50, 100, 200, 400)
FIRST_TIER = range(0, KEYS, 10)
RICH = range(5, KEYS, 100)
DOUBT = 7.0
"""So many standard deviations are allowed."""


def weight(number: int) -> int:
    return WEIGHTS[number * len(WEIGHTS) // KEYS]


class House:
    """The gateway, its keys in the order of their numbers, and what upstream has seen of each."""

    def __init__(self, upstream: SimulatorThread, gateway: GatewayProcess) -> None:
        self.upstream = upstream
        self.gateway = gateway
        # Of the rich ones each has a little more than the one before; the others have far less than any of them.
        rich = {number: 50 + place / 2000 for place, number in enumerate(RICH)}
        made = [
            upstream.control("keys", {"account": "user_spread", "name": f"spread-{n}", "limit": rich.get(n, 1)})
            for n in range(KEYS)
        ]
        self.secrets = [key["key"] for key in made]
        self.ids = [openrouter_key_id(secret) for secret in self.secrets]
        self.numbers = {key["hash"]: number for number, key in enumerate(made)}
        self.asked: dict[tuple[float, str], None] = {}
        self.unbilled: dict[tuple[float, str], None] = {}
        self.imported: dict[str, int] = json.loads(
            gateway.cli("keys", "import", "--json", stdin="\n".join(self.secrets)).stdout
        )["counts"]
        self.imported_at = time.time()
        self.watch()
        asyncio.run(self._set_keys())
        self.client = gateway.create_client("load")
        self.guide = gateway.create_client("guide")
        gateway.cli("clients", "set", self.guide.id, "--trace")

    async def _set_keys(self) -> None:
        """Weights and tiers, and one account, or else calls would belong to accounts."""
        settings = Settings(_env_file=None, redis_url="", data_dir=self.gateway.data_dir)  # type: ignore[call-arg]
        async with open_keys(settings, probe=False) as keys:
            for number, key_id in enumerate(self.ids):
                changes = {
                    "account": "user_spread",
                    "weight": weight(number),
                    "tier": 0 if number in FIRST_TIER else 1,
                }
                await keys.update_openrouter_key(key_id, changes, by="test")

    def watch(self) -> None:
        """Remembers which keys were asked about or fetched the price list, before upstream forgets it."""
        for seen in self.upstream.requests():
            path, what = seen["target"], (seen["received_at"], seen["key_hash"])
            if path == "/api/v1/key":
                self.asked[what] = None
            elif not path.startswith(("/api/v1/chat", "/_sim")) and seen["key_hash"]:
                self.unbilled[what] = None

    def bill(self) -> list[dict[str, Any]]:
        return list(self.upstream.control("bill")["rows"])

    def served(self) -> Counter[int]:
        """How many calls each key has served, ever, those that fetch the price list among them."""
        self.watch()
        hashes = [row["key_hash"] for row in self.bill()] + [key for _, key in self.unbilled]
        return Counter(dict.fromkeys(range(KEYS), 0) | Counter(self.numbers[one] for one in hashes))

    def left_nano(self) -> list[int]:
        """Of each key's limit."""
        known = {key["hash"]: key for key in self.upstream.control("keys")}
        return [round(float(known[one]["limit"]) * 10**9) - int(known[one]["usage_nano"]) for one in self.numbers]

    def switch(self, strategy: Strategy) -> None:
        """Returns when the worker has heard of it."""
        self.gateway.cli("pool", "strategy", strategy)
        asked = {"model": CHAT_MODEL, "messages": [{"role": "user", "content": "Which one?"}]}

        def heard() -> bool:
            reply = call_json(self.gateway.port, "/v1/chat/completions", asked, key=self.guide.key)
            assert reply.status == 200, reply.body[:300]
            return f"strategy={strategy};" in reply.first("x-gateway-trace")

        wait_until(heard, what=f"the strategy {strategy}")

    def spread(self, strategy: Strategy) -> Counter[int]:
        """What each key serves of the next calls, no two of which are alike; every one of them succeeds."""
        self.switch(strategy)
        before, billed = self.served(), len(self.bill())
        asyncio.run(send(self.gateway.port, self.client, strategy))
        after = self.served()
        assert len(self.bill()) - billed == CALLS
        return Counter({number: after[number] - before[number] for number in range(KEYS)})


async def send(port: int, client: MadeClient, topic: str) -> None:
    """All calls, over a few connections that stay open."""
    numbers = iter(range(CALLS))

    async def talk() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in numbers:
            said = [{"role": "user", "content": f"Question {number} on {topic}"}]
            body = json.dumps({"model": CHAT_MODEL, "messages": said}).encode()
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {client.key}\r\n"
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            answered = (await reader.readuntil(b"\r\n\r\n")).lower()
            _, length, rest = answered.partition(b"\r\ncontent-length: ")
            if length:
                await reader.readexactly(int(rest.partition(b"\r\n")[0]))
            else:
                await reader.readuntil(b"\r\n0\r\n\r\n")
            assert answered.startswith(b"http/1.1 200 "), answered
        writer.close()
        await writer.wait_closed()

    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(talk())


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with (
        running_simulator() as upstream,
        running_gateway(upstream.base_url, env={"PROBES_PER_S": str(PROBES_PER_S)}) as gateway,
    ):
        yield House(upstream, gateway)


def deviation(share: float) -> float:
    """Of how many calls go to a share of the keys."""
    return sqrt(CALLS * share * (1 - share))


def share_of(served: Counter[int], of_weight: int) -> float:
    return sum(calls for number, calls in served.items() if weight(number) == of_weight) / CALLS


def test_a_thousand_keys_come_in_at_once(house: House) -> None:
    """Each is asked about while it is taken in, and serves."""
    assert house.imported == {"added": KEYS}
    keys = house.gateway.health()["openrouter_keys"]
    assert (keys["total"], keys["ready"]) == (KEYS, KEYS)


def test_random_is_even_on_average(house: House) -> None:
    """So many keys are hit as when each call throws dice, and none far more often than others."""
    served = house.spread(Strategy.RANDOM)
    missed = exp(-CALLS / KEYS)
    expected = KEYS * (1 - missed)
    spread = sqrt(KEYS * missed * (1 - (1 + CALLS / KEYS) * missed))
    hit = sum(calls > 0 for calls in served.values())
    assert abs(hit - expected) < DOUBT * spread
    assert max(served.values()) < 16


def test_weights_are_shares(house: House) -> None:
    """A key of twice the weight serves twice as much."""
    served = house.spread(Strategy.WEIGHTED)
    for of_weight in WEIGHTS:
        share = of_weight / sum(WEIGHTS)
        assert abs(share_of(served, of_weight) - share) * CALLS < DOUBT * deviation(share)
    assert max(served.values()) < 22


def test_balanced_goes_by_weight_and_load(house: House) -> None:
    """By weight, but for the calls whose first draw met a busy key."""
    served = house.spread(Strategy.BALANCED)
    busy = CLIENTS * max(WEIGHTS) / sum(map(weight, range(KEYS)))
    for of_weight in WEIGHTS:
        share = of_weight / sum(WEIGHTS)
        found, doubt = share_of(served, of_weight), DOUBT * deviation(share) / CALLS
        assert share - busy - doubt < found < share * (1 + busy) + doubt
    assert max(served.values()) < 22


def test_least_used_fills_what_others_left(house: House) -> None:
    """The uneven counts of all calls before are filled up from below, exactly."""
    house.switch(Strategy.LEAST_USED)
    levels = list(house.served().values())
    house.spread(Strategy.LEAST_USED)
    after = sorted(house.served().values())
    heapify(levels)
    for _ in range(sum(after) - sum(levels)):
        heapreplace(levels, levels[0] + 1)
    assert after == sorted(levels)


@pytest.mark.parametrize("strategy", [Strategy.ROUND_ROBIN, Strategy.LEAST_RECENT])
def test_turns_are_exact(house: House, strategy: Strategy) -> None:
    """Nobody serves twice before everybody has served once, although probes change the pool all the time."""
    served = house.spread(strategy)
    assert set(served.values()) == {1, 2}


def test_the_first_tier_takes_all(house: House) -> None:
    """As long as it can: no key of it is full. Within the tier, weights are shares."""
    served = house.spread(Strategy.TIERS)
    assert {number for number, calls in served.items() if calls} <= set(FIRST_TIER)
    busy = CLIENTS * max(WEIGHTS) / sum(map(weight, FIRST_TIER))
    for of_weight in WEIGHTS:
        share = of_weight / sum(WEIGHTS)
        found, doubt = share_of(served, of_weight), DOUBT * deviation(share) / CALLS
        assert share - busy - doubt < found < share * (1 + busy) + doubt


def probed(house: House) -> bool:
    """Whether all keys are known."""
    house.watch()
    keys = json.loads(house.gateway.cli("pool", "status", "--json").stdout)["keys"]
    return all(key["probed_at"] for key in keys)


def test_most_credit_is_spent_first(house: House) -> None:
    """Only the richest serve, and what they have left becomes level, but for calls that are still running."""
    wait_until(lambda: probed(house), within_s=60, what="a probe of every key")
    served = house.spread(Strategy.MOST_CREDIT)
    used = {number for number, calls in served.items() if calls}
    assert used <= set(RICH)
    assert len(used) > len(RICH) // 2
    left, call_nano = house.left_nano(), max(row["cost_nano"] for row in house.bill())
    # A probe may have seen the cost of a few calls that the gateway has charged once more.
    assert max(left) - min(left[number] for number in used) <= (CLIENTS + 3) * call_nano


def test_probes_never_storm(house: House) -> None:
    """Each key is asked about once by the import and once by the gateway, and that within PROBES_PER_S."""
    wait_until(lambda: probed(house), within_s=60, what="a probe of every key")
    assert set(Counter(key for _, key in house.asked).values()) <= {1, 2}
    times = sorted(at for at, _ in house.asked if at > house.imported_at)
    assert times
    # Those that were on their way may arrive with those of the second after them.
    most = PROBES_PER_S + 1 + PROBES_AT_ONCE
    assert all(times[place + most] - times[place] > 1 for place in range(len(times) - most))


def test_a_new_start_asks_nobody_again(house: House) -> None:
    """What is known of a thousand keys outlives the process: only a key that is new is asked about."""
    wait_until(lambda: probed(house), within_s=60, what="a probe of every key")
    assert house.gateway.stop() == 0
    house.upstream.control("requests", method="DELETE")
    house.gateway.start()
    new = house.upstream.control("keys", {"account": "user_spread", "name": "late"})
    house.gateway.cli("keys", "add", stdin=new["key"])

    def asked() -> list[str]:
        return [seen["key_hash"] for seen in house.upstream.requests(path="/api/v1/key")]

    wait_until(lambda: asked().count(new["hash"]) >= 2, within_s=30, what="a probe of the new key")
    assert set(asked()) == {new["hash"]}
    assert house.gateway.health()["openrouter_keys"]["ready"] == KEYS + 1
