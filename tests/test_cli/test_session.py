"""Where a command finds the gateway, and what it says when it does not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.redis_server import RedisServer
from tests.test_cli.conftest import Cli
from tests.test_services.key_workers import openrouter_key

NOT_RUNNING = (
    "openrouter-middleware: The gateway is not running: start it with `make run` "
    "(or `openrouter-middleware serve`), or set REDIS_URL.\n"
)


def test_without_a_gateway_nothing_is_made(tmp_path: Path) -> None:
    """One sentence; above all no session secret, which the gateway would then take for its own."""
    cli = Cli(tmp_path, {"DATA_DIR": str(tmp_path / "data")})
    for words in (("keys", "list"), ("clients", "create", "app"), ("clients", "list")):
        assert cli.run(*words, code=3).stderr == NOT_RUNNING
    assert not (tmp_path / "data").exists()


def test_a_server_without_a_secret_is_no_gateway(redis_server: RedisServer, tmp_path: Path) -> None:
    """Something answers at the socket of DATA_DIR, but no gateway's secret is there: none is made."""
    data = Path(redis_server.socket).parent / "data"
    data.mkdir()
    (data / "redis.sock").symlink_to(redis_server.socket)
    cli = Cli(tmp_path, {"DATA_DIR": str(data)})
    assert cli.run("clients", "create", "app", code=3).stderr == NOT_RUNNING
    assert not (data / "session-secret").exists()


def test_foreign_secrets_are_noticed(cli: Cli) -> None:
    """With another session secret than the gateway's, a new key would be stored and never work."""
    cli.run("keys", "add", stdin=openrouter_key(1))
    stranger = dataclasses.replace(cli, env={**cli.env, "SESSION_SECRET_KEY": "t" * 40})
    for words, stdin in ((("clients", "create", "app"), ""), (("keys", "add"), openrouter_key(2))):
        assert "not the running gateway's" in stranger.run(*words, stdin=stdin, code=1).stderr
    assert len(stranger.json("keys", "list")) == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"SESSION_SECRET_KEY": ""}, "SESSION_SECRET_KEY is required"),
        ({"SESSION_SECRET_KEY": "canary"}, "at least 32"),
        ({"PORT": "canary", "LOG_LEVEL": "canary"}, "2 settings are not usable"),
        ({"CLIENT_KEY_PEPPER": "canary"}, "CLIENT_KEY_PEPPER must"),
    ],
)
def test_bad_settings(cli: Cli, settings: dict[str, str], said: str) -> None:
    """Exit code 2; named and not quoted."""
    done = dataclasses.replace(cli, env={**cli.env, **settings}).run("keys", "list", code=2)
    assert said in done.stderr
    assert "canary" not in done.stderr


def test_a_wrong_redis_password(cli: Cli, redis_server: RedisServer) -> None:
    """Exit code 3, and the right one works."""
    redis_server.call("CONFIG", "SET", "requirepass", "right-canary")
    for password in ("", "wrong-canary"):
        done = dataclasses.replace(cli, env={**cli.env, "REDIS_PASSWORD": password}).run("clients", "list", code=3)
        assert "REDIS_PASSWORD" in done.stderr
        assert "canary" not in done.stderr
    dataclasses.replace(cli, env={**cli.env, "REDIS_PASSWORD": "right-canary"}).run("clients", "list")
