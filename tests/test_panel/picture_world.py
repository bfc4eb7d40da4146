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
from tests.gateway_process import running_gateway
from tests.redis_server import RedisServer
from tests.simulator_thread import running_simulator
from tests.test_panel.usage_world import BooksWorld
from tests.test_services.ledger_world import USD, entry

_HOUR_S: Final = 3600
_DAYS: Final = 60
LABELS: Final = {
    "prod-a": "acme", "prod-b": "acme", "prod-c": "acme-eu", "batch": "acme-eu", "research": "acme-labs",
    "spare": "acme-labs",
}  # fmt: skip
CLIENTS: Final[dict[str, dict[str, Any]]] = {
    "web-app": {"owner": "platform", "limits": [{"unit": "usd", "span": "month", "size": 400 * USD}]},
    "support-bot": {"owner": "support", "limits": [{"unit": "usd", "span": "day", "size": 12 * USD}]},
    "nightly-batch": {"owner": "data", "limits": [{"unit": "requests", "span": "minute", "size": 120}]},
    "research": {"owner": "anna@example.com", "limits": [{"unit": "usd", "span": "month", "size": 150 * USD}]},
    "ci": {"owner": "platform"},
}
_SHARES: Final = (0.46, 0.27, 0.14, 0.1, 0.03)
_MODELS: Final = {
    "anthropic/claude-sonnet-4.5": (0.38, 5_200_000), "openai/gpt-4o-mini": (0.34, 310_000),
    "google/gemini-2.5-flash": (0.17, 640_000), "deepseek/deepseek-chat": (0.08, 210_000),
    "openai/gpt-4o": (0.03, 7_900_000),
}  # fmt: skip


def calls_of(keys: dict[str, str], ids: dict[str, str], now_s: float) -> list[Entry]:
    """`keys` and `ids` by name. Busy by day, quiet at night and on Sundays; one call in forty needed a second key."""
    dice, numbers, found = random.Random(11), itertools.count(1), []
    names = list(_MODELS)
    for hour in range(_DAYS * 24):
        begin_s = now_s - (_DAYS * 24 - hour) * _HOUR_S
        at = time.gmtime(begin_s)
        busy = 6 + 26 * max(0.0, math.sin((at.tm_hour - 6) / 12 * math.pi)) * (0.35 if at.tm_wday > 4 else 1)
        for _ in range(round(busy * (0.8 + hour / 2400))):
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
        overhead_ms=round(dice.uniform(0.2, 0.6), 2),
    )  # fmt: skip


@contextmanager
def furnished_house(folder: Path) -> Iterator[BooksWorld]:
    """The world, signed in, with its calls in the books and a few real calls of this minute."""
    server = RedisServer(folder).start()
    try:
        with running_simulator() as simulator:
            secrets = {name: simulator.new_keys(1, account=account)[0] for name, account in LABELS.items()}
            env = {"REDIS_URL": server.url, "SESSION_SECRET_KEY": "long-enough-for-a-secret-" * 2}
            with running_gateway(simulator.base_url, keys=list(secrets.values()), env=env) as gateway:
                keys = {name: openrouter_key_id(secret) for name, secret in secrets.items()}
                world = BooksWorld(gateway, simulator, server=server, keys=list(keys.values()))
                with closing(world.sign_in()) as world.http:
                    for name, key in keys.items():
                        told = world.http.patch(f"/admin/api/openrouter-keys/{key}", json={"label": name})
                        assert told.status_code == 200, told.text
                    for name, terms in CLIENTS.items():
                        made = world.http.post("/admin/api/client-keys", json={"name": name, **terms})
                        assert made.status_code == 201, made.text
                        world.clients[name], world.ids[name] = made.json()["key"], made.json()["id"]
                    world.settle(calls_of(keys, world.ids, time.time() - 30))
                    for name in CLIENTS:
                        world.call(name, "openai/gpt-4o-mini")
                    rested = f"/admin/api/openrouter-keys/{keys['research']}/cool"
                    assert world.http.post(rested, json={"seconds": 900}).status_code == 200
                    yield world
    finally:
        server.close()
