"""A Redis in which a gateway has served calls, for the tests of commands that read its ledger."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import msgspec

from app.core.redis import RedisManager
from app.core.security import openrouter_key_id
from app.core.tasks import TaskSet
from app.models.ledger import CostKind, Entry, TryMade
from app.services.cells import deltas
from tests.redis_server import RedisServer
from tests.test_cli.conftest import Cli
from tests.test_services.conftest import manager
from tests.test_services.key_workers import openrouter_key
from tests.test_services.ledger_world import USD, add_up, entry, put

KEYS = [openrouter_key(number) for number in (1, 2)]
IDS = [openrouter_key_id(key) for key in KEYS]

__all__ = ["IDS", "TaskSet", "calls", "served", "settled"]


def settled(server: RedisServer, entries: Sequence[Entry]) -> None:
    """What settlements write."""

    async def write(redis: RedisManager) -> None:
        await put(redis, entries)
        await add_up(redis, deltas(entries))

    async def run() -> None:
        async with manager(server) as redis:
            await write(redis)

    asyncio.run(run())


def calls(client_id: str) -> list[Entry]:
    """Three of the last minutes: served, rescued after another key was refused, failed at an unknown cost."""
    now_s = time.time()
    known = msgspec.structs.replace(entry(1), at_s=now_s - 90, client_id=client_id, key_id=IDS[0], tries=())
    tries = (TryMade(IDS[1], "429", 20.0), TryMade(IDS[0], "served", 700.0))
    rescued = msgspec.structs.replace(
        entry(2), at_s=now_s - 60, client_id=client_id, key_id=IDS[0], tries=tries, outcome="rescued", cost_nano=2 * USD
    )
    failed = msgspec.structs.replace(
        entry(3), at_s=now_s - 30, client_id="ck_gone", key_id=IDS[1], tries=(), outcome="failed", status=502,
        model="", model_asked="evil\x1b[2J", cost_kind=CostKind.UNKNOWN, first_token_ms=0.0,
    )  # fmt: skip
    return [known, rescued, failed]


def served(cli: Cli, server: RedisServer) -> Cli:
    """A gateway with two keys, one client, three calls."""
    for number, key in enumerate(KEYS):
        cli.run("keys", "add", "--label", f"key-{number}", stdin=key)
    client = cli.json("clients", "create", "team")["id"]
    settled(server, calls(client))
    return cli
