"""A house as one sees it after two months: six OpenRouter keys of three accounts, five clients, many calls."""

from __future__ import annotations

import itertools
import math
import random
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from app.core.security import openrouter_key_id
from app.models.ledger import CostKind, Entry, TryMade
from simulator.settings import SimSettings
from tests.gateway_process import running_gateway
from tests.redis_server import RedisServer
from tests.simulator_thread import SimulatorThread, running_simulator
from tests.test_panel.usage_world import BooksWorld
from tests.test_services.ledger_world import USD, entry

_HOUR_S: Final = 3600
_LATELY: Final = 3
"""How much busier the last hour is: the minutes of single keys are shown for no longer."""
LABELS: Final = {
    "prod-a": "acme", "prod-b": "acme", "prod-c": "acme-eu", "batch": "acme-eu", "research": "acme-labs",
    "spare": "acme-labs",
}  # fmt: skip
MONEY: Final = {
    "prod-a": (400, 137),
    "prod-b": (400, 152),
    "prod-c": (250, 148),
    "batch": (60, 51),
    "research": (50, 12),
}
"""Dollars that a key may spend a month, and has spent by now."""
CLIENTS: Final[dict[str, dict[str, Any]]] = {
    "web-app": {"owner": "platform", "limits": [{"unit": "usd", "span": "month", "size": 400 * USD}]},
    "support-bot": {"owner": "support", "limits": [{"unit": "usd", "span": "day", "size": 4 * USD}]},
    "nightly-batch": {"owner": "data", "models_denied": ["*:online"], "limits": [
        {"unit": "requests", "span": "minute", "size": 120}, {"unit": "usd", "span": "month", "size": 60 * USD}]},
    "research": {"owner": "anna@example.com", "limits": [{"unit": "usd", "span": "month", "size": 150 * USD}]},
    "ci": {"owner": "platform", "models_allowed": ["openai/*"]},
}  # fmt: skip
DEEDS: Final = (
    ("clients", "raise", "support-bot", "usd/day", "8", "--until", "2099-01-01"),
    ("clients", "set", "ci", "--note", "only small models"),
    ("keys", "set", "batch", "--weight", "50"),
    ("clients", "rotate", "research", "--overlap", "24h"),
    ("pool", "strategy", "most_credit"),
    ("pool", "strategy", "--default"),
)
"""Of somebody at the command line, for the audit."""
_SHARES: Final = (0.46, 0.27, 0.14, 0.1, 0.03)
_MODELS: Final = {
    "anthropic/claude-sonnet-4.5": (0.38, 5_200_000), "openai/gpt-4o-mini": (0.34, 310_000),
    "google/gemini-2.5-flash": (0.17, 640_000), "deepseek/deepseek-chat": (0.08, 210_000),
    "openai/gpt-4o": (0.03, 7_900_000),
}  # fmt: skip


def calls_of(keys: dict[str, str], ids: dict[str, str], now_s: float, days: int) -> list[Entry]:
    """`keys` and `ids` by name. Busy by day, quiet at night and on Sundays; one call in forty needed a second key."""
    dice, numbers, found = random.Random(11), itertools.count(1), []
    names = list(_MODELS)
    for hour in range(days * 24):
        begin_s = now_s - (days * 24 - hour) * _HOUR_S
        at = time.gmtime(begin_s)
        busy = 6 + 26 * max(0.0, math.sin((at.tm_hour - 6) / 12 * math.pi)) * (0.35 if at.tm_wday > 4 else 1)
        busy *= 0.8 + 0.6 * hour / (days * 24)
        for _ in range(round(busy * (_LATELY if hour == days * 24 - 1 else 1))):
            model = dice.choices(names, [share for share, _ in _MODELS.values()])[0]
            client = dice.choices(list(CLIENTS), _SHARES)[0]
            key = keys["batch"] if client == "nightly-batch" else keys[dice.choice(("prod-a", "prod-b", "prod-c"))]
            found.append(_call(next(numbers), begin_s + dice.random() * _HOUR_S, model, ids[client], key, keys, dice))
    return sorted(found, key=lambda one: one.at_s + one.duration_ms / 1000)


def _call(
    number: int, at_s: float, model: str, client: str, key: str, keys: dict[str, str], dice: random.Random
) -> Entry:
    first_ms = dice.lognormvariate(6.2, 0.45)
    took_ms = first_ms + dice.lognormvariate(7.3, 0.6)
    tries: tuple[TryMade, ...] = (TryMade(key, "200", round(first_ms, 1)),)
    outcome, status, error = "served", 200, ""
    luck = dice.random()
    if luck < 0.025:
        outcome, tries = "rescued", (TryMade(keys["research"], "429 rate_limited", 140.0), *tries)
        first_ms, took_ms = first_ms + 140, took_ms + 140
    elif luck < 0.03:
        outcome, status, error = "failed", 502, "upstream_reset"
        tries = (TryMade(key, "502 upstream_fault", 900.0),)
    elif luck < 0.045:
        outcome, status, error, tries = "refused", 429, "rate_limit_exceeded", ()
    well = outcome in ("served", "rescued")
    return entry(
        number, id=f"00000000000000cc-{number}", request_id=f"req-{number:05d}", at_s=at_s, client_id=client,
        group_id="", route="chat/completions", skin="openrouter", stream=dice.random() < 0.7, model_asked=model,
        model=model if well else "", provider=model.partition("/")[0].title() if well else "",
        key_id=key if tries else "", account="", status=status, outcome=outcome, error=error, tries=tries,
        input_tokens=dice.randrange(200, 6000) if well else 0, output_tokens=dice.randrange(40, 900) if well else 0,
        cached_tokens=dice.choice((0, 0, 128)) if well else 0,
        cost_nano=int(_MODELS[model][1] * dice.uniform(4, 21)) if well else 0, cost_kind=CostKind.REPORTED,
        first_token_ms=round(first_ms, 1) if well else 0.0, duration_ms=round(took_ms if well else first_ms, 1),
        overhead_ms=round(dice.uniform(0.2, 0.6), 2), bytes_in=dice.randrange(900, 24_000),
        bytes_out=dice.randrange(600, 9_000),
    )  # fmt: skip


def _spent(simulator: SimulatorThread, secrets: dict[str, str]) -> None:
    """What the keys have left, as probes will see it."""
    world = simulator.simulator.world
    for name, (limit, spent) in MONEY.items():
        key = world.find_key(secrets[name])
        assert key is not None
        key.limit_nano, key.limit_reset = limit * USD, "monthly"
        key.account.credits_nano = 2_000 * USD
        key.spending.add(spent * USD, world.now())


@contextmanager
def furnished_house(folder: Path, days: int, pace: SimSettings) -> Iterator[BooksWorld]:
    """The world, signed in, with the calls of so many days in its books, and a call of each client in this minute."""
    server = RedisServer(folder).start()
    try:
        with running_simulator(pace) as simulator:
            secrets = {name: simulator.new_keys(1, account=account)[0] for name, account in LABELS.items()}
            _spent(simulator, secrets)
            env = {"REDIS_URL": server.url, "SESSION_SECRET_KEY": "long-enough-for-a-secret-" * 2}
            with running_gateway(simulator.base_url, keys=list(secrets.values()), env=env) as gateway:
                keys = {name: openrouter_key_id(secret) for name, secret in secrets.items()}
                world = BooksWorld(gateway, simulator, server=server, keys=list(keys.values()))
                with closing(world.sign_in()) as world.http:
                    _furnish(world, keys, days)
                    yield world
    finally:
        server.close()


def _furnish(world: BooksWorld, keys: dict[str, str], days: int) -> None:
    for name, key in keys.items():
        told = world.http.patch(f"/admin/api/openrouter-keys/{key}", json={"label": name})
        assert told.status_code == 200, told.text
    for name, terms in CLIENTS.items():
        made = world.http.post("/admin/api/client-keys", json={"name": name, **terms})
        assert made.status_code == 201, made.text
        world.clients[name], world.ids[name] = made.json()["key"], made.json()["id"]
    world.settle(calls_of(keys, world.ids, time.time() - 30, days))
    for name in CLIENTS:
        world.call(name, "openai/gpt-4o-mini")
    for deed in DEEDS:
        world.gateway.cli(*deed)
    rested = world.http.post(f"/admin/api/openrouter-keys/{keys['research']}/cool", json={"seconds": 900})
    assert rested.status_code == 200, rested.text
