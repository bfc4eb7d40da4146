"""Another encryption key, by the command as its users run it: while calls run, after a death, with a broken value."""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
import urllib.request

import pytest
from redis import Redis

from app.core.security import openrouter_key_id
from tests.conftest import GatewayMaker
from tests.redis_server import RedisServer
from tests.simulator_thread import SimulatorThread
from tests.test_cli.conftest import Cli
from tests.test_integration.samples import CHAT_MODEL
from tests.test_services.key_workers import openrouter_key

OLD, NEW = (f"{version}:{base64.b64encode(secrets.token_bytes(32)).decode()}" for version in (1, 2))


def test_a_key_is_changed_while_calls_run(
    redis_server: RedisServer, own_gateway: GatewayMaker, own_simulator: SimulatorThread
) -> None:
    """With both keys in the ring nobody notices; afterwards the new one alone is enough."""
    env = {"REDIS_URL": redis_server.url, "SESSION_SECRET_KEY": "s" * 40}
    pool = own_simulator.new_keys(5)
    first = own_gateway(own_simulator.base_url, keys=pool, **env, ENCRYPTION_KEYS=OLD)
    client = first.create_client("busy")
    first.stop()
    gateway = own_gateway(own_simulator.base_url, **env, ENCRYPTION_KEYS=f"{NEW},{OLD}")
    statuses: list[int] = []
    stop = threading.Event()

    def call() -> None:
        body = json.dumps({"model": CHAT_MODEL, "messages": [{"role": "user", "content": "Hi"}]}).encode()
        headers = {"authorization": f"Bearer {client.key}", "content-type": "application/json"}
        while not stop.is_set():
            with urllib.request.urlopen(
                urllib.request.Request(f"{gateway.base_url}/chat/completions", body, headers), timeout=20
            ) as answer:
                answer.read()
                statuses.append(answer.status)

    thread = threading.Thread(target=call)
    thread.start()
    try:
        told = json.loads(gateway.cli("reseal", "--json").stdout)
        time.sleep(0.3)
    finally:
        stop.set()
        thread.join(20)
    assert (told["resealed"], told["current"], told["sealed_by"], told["still_needed"]) == (5, 2, {"2": 5}, [])
    assert set(statuses) == {200}
    assert json.loads(gateway.cli("reseal", "--json").stdout)["resealed"] == 0
    gateway.stop()
    last = own_gateway(own_simulator.base_url, **env, ENCRYPTION_KEYS=NEW)
    assert last.health()["openrouter_keys"]["ready"] == 5
    assert "reseal" in last.cli("audit", "list").stdout


def test_it_goes_on_where_it_was_ended(cli: Cli, redis_server: RedisServer) -> None:
    """What is done is passed over; looking changes nothing; what does not open stays as it is and is told."""
    cli.env = {**cli.env, "ENCRYPTION_KEYS": OLD}
    keys = [openrouter_key(number) for number in range(4)]
    for key in keys[:3]:
        cli.run("keys", "add", stdin=key)
    cli.env = {**cli.env, "ENCRYPTION_KEYS": f"{NEW},{OLD}"}
    cli.run("keys", "add", stdin=keys[3])
    assert cli.json("reseal", "--look")["sealed_by"] == {"1": 3, "2": 1}
    with Redis(unix_socket_path=redis_server.socket) as redis:
        name, field = "ormw:{state}:openrouter-keys", openrouter_key_id(keys[0])
        stored = redis.hget(name, field)
        assert stored is not None
        redis.hset(name, field, stored.replace(b'"sealed":"v1.1.', b'"sealed":"v1.1.AAAA'))
        told = cli.run("reseal", code=1)
        assert "1 do not open" in told.stderr
        assert "2 values were sealed anew" in told.stdout
        assert "Still needed: version 1" in told.stdout
        redis.hset(name, field, stored)
    assert cli.json("reseal")["resealed"] == 1
    assert cli.json("reseal", "--look")["sealed_by"] == {"2": 4}


@pytest.mark.parametrize("words", [("reseal", "--help")])
def test_the_help_says_the_order(cli: Cli, words: tuple[str, ...]) -> None:
    """First the new key in front, then restart, then this, then remove."""
    assert "restart every gateway" in " ".join(cli.run(*words).stdout.split())
