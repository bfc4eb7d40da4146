"""A worker of its own that dies at a given step: `python -m tests.test_services.settle_child live|heir|storm …`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from app.core.clock import Clock, SystemClock
from app.core.commit_log import CommitLog
from app.core.config import Settings
from app.core.redis import RedisManager, RedisOptions
from app.core.security import Secret
from app.core.tasks import TaskSet
from app.models.usage import Usage
from app.services import recovery as recovery_module
from app.services import settlement, settler
from app.services.account import Account
from app.services.ledger import Ledger
from app.services.limits import Limits
from app.services.local_limits import WithoutRedis
from app.services.recovery import Recovery
from app.services.settler import Settler
from app.services.signs_of_life import SignsOfLife
from app.services.upstream_api import UpstreamClient
from app.services.usage import usage_in
from tests.test_services.books_rig import BooksRig, books_on
from tests.test_services.settle_world import MODEL, PLAN, RESERVED, a_sent, an_entry


@dataclass
class Heirs:
    """What takes over the journals of the dead, in a hurry."""

    recovery: Recovery
    limits: Limits
    signs: SignsOfLife


def hurry() -> None:
    """Nobody waits for a minute in a test."""
    settler._PAUSES_S = (0.02,) * 20  # type: ignore[misc]
    settlement._KEPT_S = 0.0  # type: ignore[misc]
    recovery_module._CONFIRM_EVERY_S = 0.02  # type: ignore[misc]
    recovery_module._RETRY_S = 0.05  # type: ignore[misc]


@contextlib.asynccontextmanager
async def heirs_on(
    redis: RedisManager, folder: Path, upstream: str, key: str, *, clock: Clock | None = None
) -> AsyncIterator[Heirs]:
    clock = clock or SystemClock()
    own = os.urandom(8).hex()
    client = UpstreamClient(Settings(_env_file=None, openrouter_base_url=upstream))
    limits = Limits(redis, clock, own, WithoutRedis())
    signs = SignsOfLife(redis, own, limits.share_among)
    asker = Settler(client, clock, lambda _: Secret(key))
    ledger = Ledger(redis, TaskSet(), clock, most=1000, days=30)
    recovery = Recovery(folder, limits, signs, asker, clock, lambda _: True, ledger)
    recovery.start()
    try:
        yield Heirs(recovery, limits, signs)
    finally:
        await recovery.close()
        await asker.close()
        await signs.close()
        await limits.close()
        await client.close()


def die(*_: object, **__: object) -> NoReturn:
    """kill -9, by its own hand."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


async def a_call(rig: BooksRig, client: UpstreamClient, key: str, last_step: str = "") -> Account:
    """A call from its admission to its booking; with a step's name it ends right behind that."""

    def reached(step: str) -> None:
        if step == last_step:
            die()

    account = rig.books.open()
    account.held = True
    granted = await rig.limits.admit(account.hold, PLAN, (MODEL,), "", RESERVED)
    account.nano, account.tokens = granted.nano, (RESERVED.input_tokens, RESERVED.output_tokens)
    reached("admitted")
    rig.books.sending(account, a_sent(account.number))
    reached("sent")
    asked: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
    answer = await client.request("POST", "/chat/completions", Secret(key), asked)
    reached("answered")
    rig.books.named(account, answer.headers["x-generation-id"])
    reached("named")
    journal = account.id.partition("-")[0]
    entry = an_entry(journal, account.number, generation_id=account.generation_id, reserved_nano=account.nano)
    usage: Usage | None = usage_in(answer.body) if last_step != "unpriced" else None
    assert usage is None or json.loads(answer.body)["usage"]["cost"] > 0
    rig.books.settle(account, entry, usage, billable=True)
    reached("unpriced")
    reached("closed")
    await rig.books.shipper.done()
    reached("booked")
    return account


async def live(redis: RedisManager, folder: Path, upstream: str, key: str, step: str) -> None:
    """One call goes well, the next one is its last."""
    client = UpstreamClient(Settings(_env_file=None, openrouter_base_url=upstream))
    async with books_on(redis, upstream=upstream, secret_of=lambda _: Secret(key), folder=folder) as rig:
        await a_call(rig, client, key)
        await a_call(rig, client, key, step)
        if step == "stopped":
            unpriced = rig.books.open()
            rig.books.sending(unpriced, a_sent(unpriced.number, held=False))
        await client.close()


async def storm(redis: RedisManager, folder: Path, upstream: str, key: str) -> None:
    """Call after call, many at once, until somebody puts an end to it; the dead before it are inherited on the way."""
    settlement._KEPT_S = 60.0  # type: ignore[misc]  # Redis dies too, and may lose what it has booked
    client = UpstreamClient(Settings(_env_file=None, openrouter_base_url=upstream))

    async def caller(rig: BooksRig) -> None:
        while True:
            await a_call(rig, client, key)
            sys.stdout.write("done\n")
            sys.stdout.flush()

    async with (
        books_on(redis, upstream=upstream, secret_of=lambda _: Secret(key), folder=folder) as rig,
        heirs_on(redis, folder, upstream, key),
    ):
        await asyncio.gather(*(caller(rig) for _ in range(20)))


async def inherit(redis: RedisManager, folder: Path, upstream: str, key: str, step: str) -> None:
    """An heir that dies as well."""
    match step:
        case "taken":
            SignsOfLife.keep = die  # type: ignore[assignment]
        case "closing":
            settlement.Shipper.ship = die  # type: ignore[assignment]
        case "booked":
            settlement.Shipper.confirm = die  # type: ignore[assignment]
        case "removing":
            CommitLog.remove = die  # type: ignore[assignment]
        case "removed":
            Limits.forget_journal = die  # type: ignore[assignment]
    async with heirs_on(redis, folder, upstream, key):
        await asyncio.sleep(30)


async def main(kind: str, redis_url: str, folder: str, upstream: str, key: str, step: str) -> None:
    hurry()
    redis = RedisManager(RedisOptions(url=redis_url), SystemClock())
    await redis.connect()
    try:
        if kind == "storm":
            await storm(redis, Path(folder), upstream, key)
        else:
            await (live if kind == "live" else inherit)(redis, Path(folder), upstream, key, step)
    finally:
        await redis.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
