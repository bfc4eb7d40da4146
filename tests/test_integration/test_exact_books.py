"""Every call is booked once and at its true cost, whatever dies in the middle of two hundred streams."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis, RedisError

from simulator.settings import SimSettings
from tests.conftest import GatewayMaker
from tests.gateway_process import GatewayProcess, wait_until
from tests.redis_server import RedisServer
from tests.simulator_thread import SimulatorThread, running_simulator
from tests.test_integration.stream_load import running_load

SECRET = "0123456789abcdef0123456789abcdef"
STREAMS = 200
BOOKS = "ormw:{books}"


@pytest.fixture
def upstream() -> Iterator[SimulatorThread]:
    """A simulated OpenRouter whose streams take three seconds."""
    with running_simulator(SimSettings(first_token_ms=50, tokens_per_s=5, answer_tokens=15)) as running:
        yield running


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of its own, which keeps what it has acknowledged."""
    server = RedisServer(tmp_path, appendfsync="everysec")
    server.start()
    yield server
    server.kill()


class House:
    """A gateway on that Redis, and what its books say."""

    def __init__(self, own_gateway: GatewayMaker, upstream: SimulatorThread, redis: RedisServer) -> None:
        self.upstream = upstream
        self.redis = Redis(unix_socket_path=redis.socket, decode_responses=True)
        keys = [upstream.control("keys", {"account": f"a{number}"})["key"] for number in range(3)]
        env = {"REDIS_URL": redis.url, "SESSION_SECRET_KEY": SECRET}
        self.gateway: GatewayProcess = own_gateway(upstream.base_url, keys=keys, **env)

    def billed(self) -> int:
        return int(self.upstream.control("bill")["total_nano"])

    def spent(self) -> int:
        return int(self.redis.get(f"{BOOKS}:spent:g:gateway:total") or 0)

    def ledger(self) -> list[dict[str, Any]]:
        said = self.gateway.cli("requests", "list", "--limit", "1000", "--json").stdout
        return list(json.loads(said)["requests"])

    def entries(self) -> int:
        with contextlib.suppress(RedisError):
            return int(self.redis.xlen(f"{BOOKS}:ledger"))
        return 0

    def reserved(self) -> list[str]:
        """What is left of holds: nothing, when all calls are over."""
        return [name for kind in ("held", "running", "holds") for name in self.redis.keys(f"{BOOKS}:{kind}:*")]


@pytest.mark.parametrize("victims", ["gateway", "redis", "both"])
def test_what_dies_loses_nothing(
    own_gateway: GatewayMaker, upstream: SimulatorThread, redis: RedisServer, victims: str
) -> None:
    """After a restart the sums are what upstream has billed, to the nano-dollar, with one entry for each call."""
    house = House(own_gateway, upstream, redis)
    client = house.gateway.create_client("load", "--limit", "usd/day=100", "--limit", "concurrent=300")
    with running_load(house.gateway.port, client.key, STREAMS) as load:
        wait_until(lambda: load.headed == STREAMS, within_s=20, what="all streams on their way")
        load.stop()
        if victims != "redis":
            house.gateway.kill()
        if victims != "gateway":
            redis.kill()
            time.sleep(1)
            redis.start()
        if victims != "redis":
            house.gateway.start()
    wait_until(lambda: house.entries() == STREAMS, within_s=60, what="an entry for each call")
    assert house.spent() == house.billed()
    assert house.reserved() == []
    entries = house.ledger()
    assert len({entry["id"] for entry in entries}) == STREAMS
    kinds = {entry["cost_kind"] for entry in entries}
    assert kinds == ({"reported"} if victims == "redis" else {"looked_up"})
