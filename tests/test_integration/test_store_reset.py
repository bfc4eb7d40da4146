"""Redis was emptied, exchanged or set back: nobody is let in, nothing is set up anew, and the alarm says what to do."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import GatewayMaker
from tests.gateway_process import GatewayProcess, wait_until
from tests.redis_server import RedisServer, running_redis
from tests.test_integration.conftest import made_up_keys
from tests.test_integration.wire_tools import Reply, call, call_json, is_error_of, running_raw_upstream


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    (tmp_path / "redis").mkdir()
    with running_redis(tmp_path / "redis") as server:
        yield server


def ask(gateway: GatewayProcess, key: str) -> Reply:
    return call(gateway.port, "GET", "/v1/made-up", key=key)


def test_an_emptied_store_is_no_fresh_installation(
    own_gateway: GatewayMaker, redis: RedisServer, tmp_path: Path
) -> None:
    """While it runs and after a restart: 503 in the API's words, no key of the environment taken, no client made; and
    the restored data serve at once.
    """
    with running_raw_upstream() as upstream:
        settings = {"REDIS_URL": redis.url, "SESSION_SECRET_KEY": secrets.token_hex(32)}
        gateway = own_gateway(upstream.base_url, keys=made_up_keys(1), **settings)
        client = gateway.create_client("a").key
        assert ask(gateway, client).status == 200
        redis.kill()
        shutil.copytree(redis.folder, tmp_path / "saved")
        redis.start()
        wait_until(lambda: ask(gateway, client).status == 200)

        usual = call_json(gateway.port, "/v1/chat/completions", {"model": "a/b", "messages": []}, key=client)
        assert usual.status == 200
        redis.call("FLUSHALL")
        wait_until(lambda: ask(gateway, client).status == 503, what="the alarm")

        for _ in range(2):
            refusal = ask(gateway, client)
            assert refusal.status == 503
            assert is_error_of("openrouter", refusal)
            assert b"store_reset" in refusal.body
            usual = call_json(gateway.port, "/v1/chat/completions", {"model": "a/b", "messages": []}, key=client)
            assert (usual.status, b"store_reset" in usual.body) == (503, True)
            assert ask(gateway, "gw_live_nobody").status in (401, 503)
            assert not gateway.is_ready()
            assert "reset" in str(gateway.health())
            made = gateway.cli("clients", "create", "b", check=False)
            assert made.returncode != 0
            assert "lost everything" in made.stderr
            for name in ("openrouter-keys", "client-keys", "version", "store-mark"):
                assert redis.call("EXISTS", f"ormw:{{state}}:{name}") == b":0\r\n"
            assert "redis store reset" in {line.get("event") for line in gateway.log_lines()}
            gateway.stop()
            gateway.start(ready=False)
            wait_until(lambda: gateway.health().get("status") is not None if answers(gateway) else False)

        redis.kill()
        shutil.rmtree(redis.folder)
        shutil.move(tmp_path / "saved", redis.folder)
        redis.start()
        wait_until(lambda: ask(gateway, client).status == 200, what="the known keys")
        assert gateway.is_ready()


def answers(gateway: GatewayProcess) -> bool:
    try:
        gateway.health()
    except OSError:
        return False
    return True
