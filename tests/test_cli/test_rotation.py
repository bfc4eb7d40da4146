"""`keys rotate` and its kin, as a process on a real Redis before a simulated OpenRouter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.core.security import openrouter_key_id
from tests.redis_server import RedisServer
from tests.simulator_thread import SimulatorThread, running_simulator
from tests.test_cli.conftest import Cli


@pytest.fixture
def upstream() -> Iterator[SimulatorThread]:
    """A simulated OpenRouter for one test."""
    with running_simulator() as running:
        yield running


@pytest.fixture
def rotating(redis_server: RedisServer, upstream: SimulatorThread, tmp_path: Path) -> Cli:
    """The command line on an external Redis, with a management key `admin` and a pool key `main` on file."""
    folder = tmp_path / "cli"
    folder.mkdir()
    settings = {
        "REDIS_URL": redis_server.url,
        "SESSION_SECRET_KEY": "s" * 40,
        "OPENROUTER_BASE_URL": upstream.base_url,
    }
    cli = Cli(folder, settings)
    admin = upstream.control("keys", {"account": "a", "name": "admin", "management": True})["key"]
    key = upstream.control("keys", {"account": "a", "name": "main", "limit": 5, "limit_reset": "daily"})["key"]
    cli.run("keys", "add", "--label", "admin", stdin=admin)
    cli.run("keys", "add", "--label", "main", stdin=key)
    return cli


def live(upstream: SimulatorThread) -> list[str]:
    return [
        key["hash"]
        for key in upstream.control("keys")
        if not key["management"] and not key["deleted"] and not key["disabled"]
    ]


def test_a_key_is_rotated_and_brought_back(rotating: Cli, upstream: SimulatorThread) -> None:
    """Planned, done until the quarantine, shown, undone, and done again to the end; no secret on any screen."""
    old = rotating.json("keys", "list")[-1]["id"]
    plan = rotating.run("keys", "plan", "main").stdout
    assert "5 USD daily" in plan
    assert len(rotating.json("keys", "plan", "main")) == 9
    assert "No key was renewed" in rotating.run("keys", "renewals").stderr
    done = rotating.json("keys", "rotate", "main", "--stage-s", "0")
    assert (done["step"], done["key"], done["problem"]) == ("quarantine", old, "")
    assert live(upstream) == [done["successor"]]
    assert "quarantine" in rotating.run("keys", "renewals").stdout
    assert "under way" in rotating.run("keys", "rotate", old, code=1).stderr
    assert "undone" in rotating.run("keys", "rotate", old, "--undo").stdout
    assert rotating.json("keys", "renewals")[0]["problem"].startswith("taken back by cli")
    assert live(upstream) == [old]
    rotating.run("keys", "rotate", "main", "--stage-s", "0", "--quarantine-h", "0", "--no-wait")
    (entry,) = rotating.json("keys", "renewals")
    assert (entry["step"], entry["next_at"] is not None) == ("create", True)
    assert "sealed" not in entry
    for key in upstream.simulator.world.keys.values():
        assert key.secret[13:-4] not in rotating.printed


def test_a_leak_is_closed(rotating: Cli, upstream: SimulatorThread) -> None:
    """At OpenRouter and here; where OpenRouter refuses, the exit code says so."""
    key = upstream.control("keys", {"account": "b", "name": "stranger"})["key"]
    rotating.run("keys", "add", "--label", "stranger", stdin=key)
    assert rotating.run("keys", "revoke", "main", "--yes").stdout.startswith("revoked: ")
    assert live(upstream) == [openrouter_key_id(key)]
    half = rotating.run("keys", "revoke", "stranger", "--yes", code=1)
    assert "revoked here only" in half.stderr
    states = {one["label"]: one["state"] for one in rotating.json("keys", "list")}
    assert states == {"admin": "enabled", "main": "revoked", "stranger": "revoked"}


def test_keys_are_adopted_capped_and_compared(rotating: Cli, upstream: SimulatorThread) -> None:
    """Differences are listed with one action each, and settled on demand."""
    (found,) = rotating.json("keys", "drift")
    assert (found["drift"], found["action"], found["done"]) == ("not_managed", "adopt", "no")
    assert "managed: main" in rotating.run("keys", "adopt", "main").stdout
    assert "agree" in rotating.run("keys", "drift").stderr
    assert rotating.json("keys", "cap", "main", "--limit-usd", "7", "--reset", "weekly")["limit"] == 7
    upstream.control("keys", {"key": "main", "limit": 9})
    assert "Its limit is 9 USD weekly, not 7 USD weekly." in rotating.run("keys", "drift", "--fix").stdout
    assert rotating.json("keys", "drift") == []
    upstream.control("keys", {"account": "a", "name": "somebody's"})
    assert rotating.json("keys", "drift", "--fix")[0]["done"] == "by hand"
    assert rotating.json("keys", "adopt", "main", "--release") == {"managed": False}
    assert "released" in rotating.run("keys", "adopt", "main", "--release").stdout
    assert "expected daily" in rotating.run("keys", "cap", "main", "--reset", "hourly", code=2).stderr


def test_keys_are_made_and_retired(rotating: Cli, upstream: SimulatorThread) -> None:
    """A new one into the pool, an old one out of it."""
    made = rotating.json("keys", "create", "fresh", "--admin", "admin", "--limit-usd", "2", "--expires-days", "9")
    assert made["step"] == "done"
    assert made["successor"] in live(upstream)
    assert "fresh" in rotating.run("keys", "list").stdout
    gone = rotating.run("keys", "retire", "fresh", "--yes")
    assert "quarantine" in gone.stdout
    assert made["successor"] not in live(upstream)


def test_refusals_are_one_line(rotating: Cli, upstream: SimulatorThread, redis_server: RedisServer) -> None:
    """Each says what is wrong, with the exit code of its kind."""
    assert "by hand" in rotating.run("keys", "rotate", "admin", code=1).stderr
    assert "No key answers" in rotating.run("keys", "plan", "nobody", code=1).stderr
    upstream.script("admin", {"status": 500, "times": 0, "path": "/keys"})
    assert "status 500" in rotating.run("keys", "drift", code=1).stderr
    rotating.env = {**rotating.env, "OPENROUTER_BASE_URL": "http://127.0.0.1:9/api/v1"}
    away = rotating.run("keys", "plan", "main", code=3).stderr
    assert "cannot be reached" in away
    assert away.count("\n") == 1
    redis_server.kill()
    assert "REDIS_URL" in rotating.run("keys", "drift", code=3).stderr
