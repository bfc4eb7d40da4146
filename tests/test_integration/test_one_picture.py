"""The doctor, the system page, the admin API and /health tell the same of one gateway, whatever state it is in."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from tests.conftest import GatewayMaker
from tests.gateway_process import GatewayProcess, wait_until
from tests.redis_server import running_redis
from tests.simulator_thread import SimulatorThread
from tests.test_panel.conftest import PanelWorld

SECRET = "0123456789abcdef0123456789abcdef"


@dataclass(frozen=True)
class Picture:
    """`healthy`: it can serve calls; `ready`: a balancer may send some; `keys`: OpenRouter keys that are ready."""

    healthy: bool
    ready: bool
    keys: int
    clients: int
    risky_redis: bool


def risky(texts: Sequence[str]) -> bool:
    return any("(maxmemory-policy allkeys" in text for text in texts)


def by_health(gateway: GatewayProcess) -> Picture:
    told = gateway.health()
    ready = httpx2.get(f"{gateway.origin}/readiness").status_code == 200
    keys = told["openrouter_keys"]["ready"]
    return Picture(told["status"] == "healthy", ready, keys, told["client_keys"], risky(told["warnings"]))


def by_page(world: PanelWorld) -> Picture:
    with closing(world.sign_in()) as client:
        page = client.get("/admin/settings").text
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    keys = re.search(r"(\d+) OpenRouter keys? (?:is|are) ready", text)
    clients = re.search(r"(\d+) client keys? may call", text)
    count = int(keys[1]) if keys else 0
    ready = "not ready" not in text
    return Picture(ready and count > 0, ready, count, int(clients[1]) if clients else 0, risky([text]))


def by_api(world: PanelWorld) -> Picture:
    with closing(world.sign_in()) as client:
        told = client.get("/admin/api/system-status").json()
    keys = told["openrouter_keys"]["ready"]
    return Picture(told["healthy"], told["ready"], keys, told["client_keys"], risky(told["warnings"]))


def by_doctor(gateway: GatewayProcess) -> Picture:
    found = json.loads(gateway.cli("doctor", "--json", check=False).stdout)["findings"]

    def bad(*areas: str) -> bool:
        return any(one["verdict"] == "bad" and one["area"] in areas for one in found)

    def number(pattern: str) -> int:
        numbers = [re.match(pattern, one["text"]) for one in found]
        return next((int(one[1]) for one in numbers if one), 0)

    return Picture(
        not bad("redis", "keys"), not bad("redis"), number(r"(\d+) OpenRouter keys are ready"),
        number(r"(\d+) client keys may call"), risky([one["text"] for one in found]),
    )  # fmt: skip


def agreed(gateway: GatewayProcess) -> Picture:
    world = PanelWorld(gateway, None)  # type: ignore[arg-type]
    pictures = [by_health(gateway), by_page(world), by_api(world), by_doctor(gateway)]
    assert len(set(pictures)) == 1, pictures
    return pictures[0]


def test_they_agree_from_the_first_start_on(own_gateway: GatewayMaker, own_simulator: SimulatorThread) -> None:
    """Without keys, with some, with none that is enabled."""
    gateway = own_gateway(own_simulator.base_url)
    assert agreed(gateway) == Picture(healthy=False, ready=True, keys=0, clients=0, risky_redis=False)
    for key in own_simulator.new_keys(3):
        gateway.cli("keys", "add", stdin=key)
    gateway.create_client("one")
    wait_until(lambda: gateway.health()["openrouter_keys"]["ready"] == 3, what="the keys")
    assert agreed(gateway) == Picture(healthy=True, ready=True, keys=3, clients=1, risky_redis=False)
    for one in json.loads(gateway.cli("keys", "list", "--json").stdout):
        gateway.cli("keys", "disable", one["id"])
    wait_until(lambda: gateway.health()["openrouter_keys"]["ready"] == 0, what="their end")
    assert agreed(gateway) == Picture(healthy=False, ready=True, keys=0, clients=1, risky_redis=False)


@pytest.mark.parametrize("policy", ["noeviction", "allkeys-lru"])
def test_they_agree_about_redis(
    own_gateway: GatewayMaker, own_simulator: SimulatorThread, tmp_path: Path, policy: str
) -> None:
    """One that may throw keys away is told by all of them; one that is gone, by those that can be asked without it."""
    with running_redis(tmp_path, **{"maxmemory-policy": policy, "appendonly": "yes"}) as redis:
        env = {"REDIS_URL": redis.url, "SESSION_SECRET_KEY": SECRET, "ALLOW_EVICTING_REDIS": "true"}
        gateway = own_gateway(own_simulator.base_url, keys=own_simulator.new_keys(2), **env)
        gateway.create_client("one")
        assert agreed(gateway).risky_redis is (policy != "noeviction")
        redis.kill()
        wait_until(lambda: not by_health(gateway).ready, what="the outage")
        for told in (by_health(gateway), by_doctor(gateway)):
            assert (told.healthy, told.ready) == (False, False)
