"""A gateway whose books hold calls of every kind, hostile names among them, as settlements would have written them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from app.core.redis import RedisManager
from app.core.security import openrouter_key_id
from app.models.ledger import CostKind, Entry, TryMade
from app.services.cells import deltas
from app.services.spending import sums_of
from tests.gateway_process import running_gateway
from tests.redis_server import RedisServer
from tests.simulator_thread import running_simulator
from tests.test_panel.apart import apart
from tests.test_panel.conftest import PanelWorld
from tests.test_services.conftest import manager
from tests.test_services.ledger_world import add_up, entry, put

XSS = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
FORMULA = '=HYPERLINK("http://evil.example","x")'
MODEL = "openai/gpt-4o"
RARE = "rare/model"
USD = 10**9
PLAIN = 60
"""Calls of the last hour that are as usual."""
MANY = 14
"""Models that were called once, weeks ago."""


@dataclass
class BooksWorld(PanelWorld):
    """`keys` are ids: `prod-a`, `burst`, and one without a name."""

    server: RedisServer = field(default_factory=lambda: pytest.fail("no server"))
    http: httpx2.Client = field(default_factory=httpx2.Client)
    keys: list[str] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)
    """Names and ids of clients."""

    def get(self, path: str) -> str:
        answer = self.http.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    def redis(self, work: Callable[[RedisManager], Awaitable[None]]) -> None:
        """Does something in the gateway's Redis."""

        async def run() -> None:
            async with manager(self.server) as redis:
                await work(redis)

        apart(run)

    def settle(self, entries: list[Entry]) -> None:
        async def write(redis: RedisManager) -> None:
            await put(redis, entries)
            await add_up(redis, deltas(entries))
            sums = sums_of(entries)
            await redis.pipeline([("INCRBY", redis.keys.books(*name), nano) for name, _, nano in sums])

        self.redis(write)


def some_calls(keys: list[str], ids: dict[str, str], now_s: float) -> list[Entry]:
    """Of the last hour, one of eight days ago, and some of twenty."""
    prod, burst, _ = keys
    client = ids["billing-bot"]
    served = (TryMade(prod, "200", 400.0),)
    common: dict[str, Any] = {"client_id": client, "route": "chat/completions", "key_id": prod, "tries": served}
    plain = [
        entry(
            number,
            request_id=f"plain-{number}",
            at_s=now_s - 50 * number - 60,
            model=MODEL,
            stream=number % 2 == 0,
            reasoning_tokens=20,
            cached_tokens=100,
            **common,
        )
        for number in range(PLAIN)
    ]
    tries = (TryMade(burst, "429 rate_limited", 118.0), TryMade(prod, "200", 520.0))
    own: list[dict[str, Any]] = [
        {"request_id": "rescued", "outcome": "rescued", "tries": tries, "duration_ms": 9000.0},
        {"request_id": "failed", "outcome": "failed", "status": 502, "error": "upstream_connect", "model": "",
         "tries": (TryMade(burst, "502 upstream_fault", 30.0),), "key_id": burst, "cost_nano": 0,
         "first_token_ms": 0.0},
        {"request_id": "refused", "outcome": "refused", "status": 429, "error": "rate_limit_exceeded", "model": "",
         "tries": (), "key_id": "", "cost_nano": 0, "first_token_ms": 0.0, "client_id": ids["quiet"]},
        {"request_id": "left", "outcome": "left", "cost_kind": CostKind.UNKNOWN, "flags": ("missing:cost",),
         "reserved_nano": 3 * USD, "cost_nano": 3 * USD},
        {"request_id": "hostile", "model": XSS, "model_asked": XSS, "provider": XSS, "error": XSS, "user": XSS,
         "flags": (XSS,), "client_id": ids[XSS]},
        {"request_id": "formula", "model": FORMULA, "model_asked": FORMULA, "provider": FORMULA},
        {"request_id": "gone", "client_id": "ck_gone", "key_id": "f" * 64, "tries": (TryMade("f" * 64, "200", 4.0),)},
        {"request_id": "older", "at_s": now_s - 8 * 86_400, "model": RARE, "cost_nano": 7 * USD},
    ]  # fmt: skip
    more = [
        entry(1000 + number, **{**common, "at_s": now_s - 30 - number, "model": MODEL, **changes})
        for number, changes in enumerate(own)
    ]
    many = [
        entry(2000 + number, request_id=f"many-{number}", at_s=now_s - 20 * 86_400, model=f"maker/model-{number}")
        for number in range(MANY)
    ]
    return sorted([*plain, *more, *many], key=lambda one: one.at_s + one.duration_ms / 1000)


@pytest.fixture(scope="module")
def books_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BooksWorld]:
    server = RedisServer(tmp_path_factory.mktemp("redis")).start()
    try:
        with running_simulator() as simulator:
            secrets = simulator.new_keys(3)
            env = {"REDIS_URL": server.url, "SESSION_SECRET_KEY": "long-enough-for-a-secret-" * 2}
            with running_gateway(simulator.base_url, keys=secrets, env=env) as gateway:
                world = BooksWorld(gateway, simulator, server=server, keys=[openrouter_key_id(key) for key in secrets])
                for name in ("billing-bot", "quiet", XSS):
                    made = gateway.create_client(name)
                    world.clients[name], world.ids[name] = made.key, made.id
                with closing(world.sign_in()) as world.http:
                    for key, label in zip(world.keys, ("prod-a", "burst"), strict=False):
                        _name(world, key, label)
                    world.settle(some_calls(world.keys, world.ids, time.time()))
                    yield world
    finally:
        server.close()


def _name(world: BooksWorld, key: str, label: str) -> None:
    answer = world.http.patch(f"/admin/api/openrouter-keys/{key}", json={"label": label})
    assert answer.status_code == 200, answer.text


__all__ = ["FORMULA", "MANY", "MODEL", "PLAIN", "RARE", "USD", "XSS", "BooksWorld", "books_world", "some_calls"]
