"""How long the panel's first page and sums of usage take in a full house: 1,000 OpenRouter keys, 100,000 client keys,
ten million calls in a month.

They are asked for as a browser would, signed in, again and again; the newest sums are added up each time.
"""

from __future__ import annotations

import asyncio
import dataclasses
import http.client
import random
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.core.clock import SystemClock
from app.core.embedded import socket_url
from app.core.redis import RedisManager, RedisOptions, RedisReplyError, RedisUnavailable
from app.core.tasks import TaskSet
from app.models.ledger import CostKind, Entry, TryMade
from app.services.cells import deltas
from app.services.insight import Insight
from bench import crowd, load, report
from bench.measure import Figures, say
from bench.report import Aim, Row
from bench.rig import BenchError, Contestant, Gateway, Rig, openrouter_keys

NAME = "gateway-full"
KEYS, CLIENTS, DAYS = 1_000, 100_000, 30
PASSWORD = "bench-panel-password-4471"
CALLS_AN_HOUR = 120
ALIKE = 116
"""Each call stands for so many of its kind: the sums do not get more by it, only larger."""
_HOUR_S = 3600
_AT_ONCE = 200
_QUICK_MS = 500
PATIENCE_S = 180
AIM = Aim(50.0, at_most=True, text="<= 50 ms")
SUMS_AIM = Aim(100.0, at_most=True, text="<= 100 ms")
PERIODS = ("24h", "30d")
SUMS = ("client", "model", "client,model")
MODELS = [f"{maker}/model-{number}" for maker in ("openai", "anthropic", "google", "mistral") for number in range(10)]


def calls(now_s: float, keys: list[str], clients: list[str]) -> Iterator[list[Entry]]:
    """Thirty days of them, hour by hour: a few clients call much, many a little."""
    dice = random.Random(7)
    for hour in range(DAYS * 24):
        at_s = now_s - (DAYS * 24 - hour) * _HOUR_S
        batch = []
        for number in range(CALLS_AN_HOUR):
            key = keys[int(dice.paretovariate(1)) % len(keys)]
            served = dice.random() < 0.97
            batch.append(
                Entry(
                    id=f"bench-{hour}-{number}", request_id=f"r{hour}-{number}",
                    at_s=at_s + number * _HOUR_S / CALLS_AN_HOUR,
                    client_id=clients[int(dice.paretovariate(0.7)) % len(clients)], route="chat/completions",
                    skin="openrouter", model=dice.choice(MODELS), provider="Bench", key_id=key,
                    account=f"account-{key[:4]}",
                    status=200 if served else 502, outcome="served" if served else "failed",
                    stream=True, tries=(TryMade(key, "200" if served else "502", 400.0),), input_tokens=900,
                    output_tokens=250, cost_nano=dice.randrange(10_000, 9_000_000), cost_kind=CostKind.REPORTED,
                    first_token_ms=dice.uniform(200, 900), duration_ms=dice.uniform(900, 9000), overhead_ms=0.4,
                )
            )  # fmt: skip
        yield batch


async def fill(data_dir: Path) -> None:
    """The books of a month, as settlements write them."""
    redis = RedisManager(RedisOptions(url=socket_url(data_dir), timeout_s=5.0), SystemClock())
    try:
        await redis.connect()
        stored = await redis.command("HKEYS", redis.keys.openrouter_keys)
        keys = [one.decode() for one in stored]
        clients = [one.decode() for one in (await redis.command("HKEYS", redis.keys.client_keys))[:5000]]
        commands: list[tuple[Any, ...]] = []
        for batch in calls(SystemClock().wall_s(), keys, clients):
            for parts, ttl_s, fields in deltas(batch):
                name = redis.keys.books(*parts)
                commands += [("HINCRBY", name, field, number * ALIKE) for field, number in fields.items()]
                commands.append(("EXPIRE", name, ttl_s))
            if len(commands) > _AT_ONCE:
                await redis.pipeline(commands)
                commands = []
        await redis.pipeline(commands)
        insight = Insight(redis, TaskSet(), SystemClock())
        while await insight.roll():
            pass
    except (RedisUnavailable, RedisReplyError) as error:
        raise BenchError(str(error)) from error
    finally:
        await redis.close()


def sign_in(port: int) -> str:
    """The cookie of a session."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    form = urllib.parse.urlencode({"username": "admin", "password": PASSWORD})
    headers = {"content-type": "application/x-www-form-urlencoded", "sec-fetch-site": "same-origin"}
    connection.request("POST", "/login", form, headers)
    answer = connection.getresponse()
    answer.read()
    if answer.status != http.client.SEE_OTHER:
        raise BenchError(f"the panel did not let us in: {answer.status}")
    cookies = [value.partition(";")[0] for name, value in answer.getheaders() if name.lower() == "set-cookie"]
    connection.close()
    return "; ".join(cookies)


def page_ms(port: int, cookie: str, period: str) -> float:
    return _asked_ms(port, cookie, f"/admin?period={period}", b"</html>")


def sums_ms(port: int, cookie: str, by: str) -> float:
    """Of thirty days, told apart by something, beside the thirty days before."""
    return _asked_ms(port, cookie, f"/admin/api/usage?period=30d&by={by}&compare=true&top=50", b"}")


def _asked_ms(port: int, cookie: str, path: str, last: bytes) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.connect()
        begun = time.perf_counter()
        connection.request("GET", path, headers={"cookie": cookie})
        answer = connection.getresponse()
        body = answer.read()
        took_ms = (time.perf_counter() - begun) * 1000
    finally:
        connection.close()
    if answer.status != http.client.OK or last not in body:
        raise BenchError(f"{path} answered {answer.status}")
    return took_ms


def _is_settled(port: int, cookie: str) -> bool:
    """Whether the page comes, and quickly, several times in a row."""
    try:
        return all(page_ms(port, cookie, "30d") < _QUICK_MS for _ in range(3))
    except (BenchError, TimeoutError):
        return False


def compare(rig: Rig, upstream: Contestant, figures: Figures, pages: int) -> None:
    gateway = Gateway(rig, NAME, upstream, pool=openrouter_keys(KEYS, accounts=50))
    gateway.env["ADMIN_PASSWORD"] = PASSWORD
    running = gateway.start()
    rig.wait_until(lambda: load.answers(running), running.pid, NAME)
    asyncio.run(crowd.fill(gateway.data_dir, CLIENTS))
    asyncio.run(fill(gateway.data_dir))
    running = gateway.restart()
    rig.wait_until(lambda: load.answers(running), running.pid, NAME)
    cookie = sign_in(running.port)
    # The sums of a month are added up once, by whoever is first; from then on they stand.
    begun = time.monotonic()
    while not _is_settled(running.port, cookie):
        if time.monotonic() - begun > PATIENCE_S:
            raise BenchError("the sums of a month are not added up")
        time.sleep(1)
    for period in PERIODS:
        asked = dataclasses.replace(running, name=f"{NAME}-{period}")
        for _ in range(pages):
            figures.add("page", asked, page_ms(running.port, cookie, period))
            time.sleep(0.25)
        told = figures.of("page", f"{NAME}-{period}")
        say(f"the overview of {period}: {sorted(told)[len(told) // 2]:.0f} ms")
    for by in SUMS:
        asked = dataclasses.replace(running, name=f"{NAME}-{by}")
        for _ in range(pages):
            figures.add("sums", asked, sums_ms(running.port, cookie, by))
            time.sleep(0.1)


def rows(figures: Figures) -> list[Row]:
    found = []
    for period in PERIODS:
        what = f"ms of the overview of {period}, {KEYS:,} and {CLIENTS:,} keys, {DAYS} days"
        told = figures.of("page", f"{NAME}-{period}")
        found.append(report.absolute(what, [], told, AIM, "ms", 1) if told else report.missing(what, AIM))
    millions = DAYS * 24 * CALLS_AN_HOUR * ALIKE / 1e6
    for by in SUMS:
        what = f"ms of the usage of 30 days by {by.replace(',', ' and ')}, {millions:.0f} million calls"
        told = figures.of("sums", f"{NAME}-{by}")
        found.append(report.absolute(what, [], told, SUMS_AIM, "ms", 1) if told else report.missing(what, SUMS_AIM))
    return found
