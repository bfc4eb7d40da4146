"""`pool`, as a process on the Redis of a gateway whose pool has seen something."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from app.core.clock import SystemClock
from app.core.redis import RedisManager
from app.core.security import openrouter_key_id
from app.models.key_facts import KeyFacts
from app.models.marks import Mark, MarkKind, Scope
from app.services.key_facts import FactStore
from app.services.marks import FOREVER_S, Marks
from app.services.selection import Strategy
from tests.redis_server import RedisServer
from tests.test_cli.conftest import Cli
from tests.test_services.conftest import manager
from tests.test_services.key_workers import openrouter_key

KEYS = [openrouter_key(number) for number in range(1, 4)]
IDS = [openrouter_key_id(key) for key in KEYS]
USD = 10**9


def at(server: RedisServer, work: Callable[[RedisManager], Awaitable[None]]) -> None:
    """What a running gateway does."""

    async def run() -> None:
        async with manager(server) as redis:
            await work(redis)

    asyncio.run(run())


def marked(server: RedisServer, *marks: Mark) -> None:
    async def put(redis: RedisManager) -> None:
        store = Marks(redis, SystemClock())
        store.put(marks)
        await store.close()

    at(server, put)


def known(server: RedisServer, *facts: KeyFacts) -> None:
    async def put(redis: RedisManager) -> None:
        store = FactStore(redis, SystemClock())
        for one in facts:
            await store.put(one, 1)
        await store.close()

    at(server, put)


def mark(scope: Scope, subject: str, kind: MarkKind, reason: str, until_s: float | None = None) -> Mark:
    now_s = time.time()
    ends_s = now_s + 3600 if until_s is None else until_s
    return Mark(scope=scope, subject=subject, kind=kind, until_s=ends_s, reason=reason, at_s=now_s, by="call")


@pytest.fixture
def pool(cli: Cli, redis_server: RedisServer) -> Cli:
    """Three keys of one account: one well, one spent, one that OpenRouter does not know any more."""
    for number, key in enumerate(KEYS):
        cli.run("keys", "add", "--label", f"key-{number}", stdin=key)
    cli.run("keys", "set", "key-0", "--tag", "team-a", "--weight", "3", "--tier", "1")
    now_s = time.time()
    rich = KeyFacts(
        id=IDS[0], probed_at=now_s, account="org_1", workspace="ws_1", limit_nano=5 * USD, limit_remaining_nano=USD,
        limit_reset="daily", usage_nano=4 * USD, expires_at=now_s + 6.5 * 86_400,
    )  # fmt: skip
    known(redis_server, rich, *(KeyFacts(id=key_id, probed_at=now_s, account="org_1") for key_id in IDS[1:]))
    marked(
        redis_server,
        mark(Scope.KEY, IDS[1], MarkKind.SPENT, "key_limit"),
        mark(Scope.KEY, IDS[2], MarkKind.DISABLED, "unknown to OpenRouter (401)", FOREVER_S),
        mark(Scope.FAMILY, "org_1 :free", MarkKind.COOL, "free_minute"),
        mark(Scope.MODEL, "openai/gpt-4o", MarkKind.COOL, "provider_limit"),
    )
    return cli


def test_the_status_tells_each_key(pool: Cli) -> None:
    """State, marks with reason and end, money, what comes next, whose it is, what was set; and no secret."""
    done = pool.run("pool", "status")
    lines = done.stdout.splitlines()

    assert lines[0].split() == ["KEY", "STATE", "MARKS", "LEFT", "NEXT", "ACCOUNT", "SET"]
    well, spent, dead = lines[1:]
    for words in ("key-0 ", "partly", "$1.00 of $5.00 daily", "expires in 6 days", "org_1 / ws_1"):
        assert words in well
    assert well.rstrip().endswith("team-a weight 3 tier 1")
    assert "free_minute (free models) 59 min" in well
    assert "key_limit 59 min" in spent
    assert "dead " in dead
    assert "unknown to OpenRouter (401) until cleared" in dead
    assert "3 keys, 1 account: no extra rate limit" in done.stderr
    assert "strategy: balanced" in done.stderr
    assert "openai/gpt-4o 59 min" in done.stderr
    assert not any(key[13:-4] in pool.printed for key in KEYS)


def test_the_status_for_programs(pool: Cli) -> None:
    """The same as JSON, in dollars and instants."""
    told = pool.json("pool", "status")

    assert (told["strategy"], told["incident"]) == ("balanced", False)
    assert told["warning"] == "3 keys, 1 account: no extra rate limit"
    assert [model["subject"] for model in told["models"]] == ["openai/gpt-4o"]
    first, second, third = told["keys"]
    assert [one["standing"] for one in told["keys"]] == ["partly", "spent", "dead"]
    assert (first["id"], first["label"], first["account"], first["workspace"]) == (IDS[0], "key-0", "org_1", "ws_1")
    assert (first["limit_usd"], first["left_usd"], first["limit_reset"]) == (5.0, 1.0, "daily")
    assert (first["tags"], first["weight"], first["tier"]) == (["team-a"], 3, 1)
    assert first["outlook"] == ["expires in 6 days"]
    assert second["marks"][0]["reason"] == "key_limit"
    assert second["marks"][0]["until"].endswith("Z")
    assert third["marks"][0]["until"] is None


def test_an_incident_is_told(cli: Cli, redis_server: RedisServer) -> None:
    """Three keys that nothing connects are refused at once: it is not the keys."""
    for key in KEYS:
        cli.run("keys", "add", stdin=key)
    marked(redis_server, *(mark(Scope.KEY, key_id, MarkKind.CHECK, "key_refused") for key_id in IDS))

    assert "fault of its own" in cli.run("pool", "status").stderr
    assert cli.json("pool", "status")["incident"]


def test_an_empty_pool_says_what_to_do(cli: Cli) -> None:
    """Instead of an empty table."""
    done = cli.run("pool", "status")
    assert done.stdout == ""
    assert "keys add" in done.stderr
    assert cli.json("pool", "status")["keys"] == []


def test_the_strategy_is_shown_and_switched(cli: Cli) -> None:
    """Until somebody gives it back to the setting."""
    assert cli.run("pool", "strategy").stdout == "balanced (from POOL_STRATEGY)\n"
    assert cli.run("pool", "strategy", "tiers").stdout == "tiers (switched at run time)\n"
    assert cli.json("pool", "strategy") == {
        "strategy": "tiers",
        "switched": True,
        "default": "balanced",
        "choices": list(Strategy),
    }
    cli.env = {**cli.env, "POOL_STRATEGY": "weighted"}
    assert cli.json("pool", "strategy", "--default")["strategy"] == "weighted"
    assert "one of balanced, round_robin" in cli.run("pool", "strategy", "best", code=2).stderr
    assert "exclude each other" in cli.run("pool", "strategy", "tiers", "--default", code=2).stderr


def test_a_mark_is_taken_away_by_hand(pool: Cli, redis_server: RedisServer) -> None:
    """The key's own; what hits its account's other keys as well only when asked for."""
    done = pool.run("pool", "clear", "key-1")
    assert done.stdout == "cleared: key-1: key_limit\n"
    assert "free_minute" in done.stderr
    assert "bears no mark" in pool.run("pool", "clear", "key-1").stderr
    told = pool.json("pool", "clear", IDS[2][:8])
    assert [(one["kind"], one["scope"]) for one in told["cleared"]] == [("disabled", "key")]
    assert [one["scope"] for one in told["left"]] == ["family"]
    assert [one["standing"] for one in pool.json("pool", "status")["keys"]] == ["partly"] * 3

    assert "free_minute (free models)" in pool.run("pool", "clear", "key-0", "--all").stdout
    assert {one["standing"] for one in pool.json("pool", "status")["keys"]} == {"ready"}
    assert "No key answers" in pool.run("pool", "clear", "nobody", code=1).stderr

    async def in_audit(redis: RedisManager) -> None:
        entries = str(await redis.command("XRANGE", redis.keys.audit, "-", "+"))
        assert '"deed":"clear"' in entries

    at(redis_server, in_audit)
