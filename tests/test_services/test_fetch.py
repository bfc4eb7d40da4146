"""Small whole answers for the gateway itself."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app.core.clock import SystemClock
from app.core.errors import GatewayError
from app.core.security import Secret
from app.models.keys import OpenRouterKey
from app.services.fetch import Fetcher
from app.services.pool import Pool
from app.transport import Origin, Timeouts, Upstream
from simulator import Simulator
from simulator.script import Step
from tests.test_services.proxies import KeptMarks


class Source:
    """The simulator's keys by their number."""

    def __init__(self, secrets: list[str]) -> None:
        self.secrets = secrets

    def secret_of(self, key_id: str) -> Secret:
        return Secret(self.secrets[int(key_id)])


@pytest.fixture
async def rig() -> AsyncIterator[tuple[Fetcher, Pool, Simulator]]:
    """Two keys in front of a simulator."""
    simulator = Simulator()
    secrets = [simulator.add_key() for _ in range(2)]
    base = await simulator.start()
    clock = SystemClock()
    pool = Pool(clock)
    pool.replace([OpenRouterKey(id=str(number), sealed="", masked="m") for number in range(2)], Source(secrets))
    port = int(base.rpartition(":")[2].partition("/")[0])
    upstream = Upstream(Origin("http", "127.0.0.1", port), Timeouts(), clock=clock)
    yield Fetcher(upstream, b"/api", pool, KeptMarks(), clock, max_tries=3), pool, simulator
    await upstream.close()
    await simulator.stop()


async def test_the_answer_comes_whole_and_clean(rig: tuple[Fetcher, Pool, Simulator]) -> None:
    """Headers are fit for clients, the body is all of it."""
    fetched = await rig[0].get(b"/v1/models", [])

    assert fetched.status == 200
    assert fetched.body.startswith(b'{"data":[')
    assert not {b"set-cookie", b"server", b"access-control-allow-origin"} & {name for name, _ in fetched.headers}


async def test_a_refused_key_is_replaced(rig: tuple[Fetcher, Pool, Simulator]) -> None:
    """The next key is asked, and the refused one rests."""
    fetcher, pool, simulator = rig
    first = next(iter(simulator.world.keys.values()))
    simulator.world.script.write(first.hash, [Step(fault="401", times=0, path="*")], append=False)

    for _ in range(2):
        assert (await fetcher.get(b"/v1/models/user", [])).status == 200

    assert pool.resting() == 1


async def test_without_keys_it_says_so() -> None:
    """No key, no call."""
    clock = SystemClock()
    upstream = Upstream(Origin("http", "127.0.0.1", 9), Timeouts(), clock=clock)
    with pytest.raises(GatewayError) as caught:
        await Fetcher(upstream, b"/api", Pool(clock), KeptMarks(), clock, max_tries=3).get(b"/v1/models", [])
    await upstream.close()

    assert caught.value.status == 503


async def test_an_unreachable_upstream_is_told(rig: tuple[Fetcher, Pool, Simulator]) -> None:
    """After every key was tried."""
    fetcher, _, simulator = rig
    await simulator.stop()
    with pytest.raises(GatewayError) as caught:
        await fetcher.get(b"/v1/models", [])

    assert (caught.value.status, caught.value.error_type) == (502, "upstream_connect")
