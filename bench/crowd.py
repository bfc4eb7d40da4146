"""Fills a gateway's Redis with made-up client keys in their stored form, far quicker than a call for each."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

import msgspec

from app.core.embedded import socket_url
from app.core.keyspace import Keyspace
from app.core.redis import RedisManager, RedisOptions
from app.models.keys import ClientKey

PREFIX = "ormw"
AT_ONCE = 5_000


def made_up() -> ClientKey:
    return ClientKey(
        id=secrets.token_hex(8),
        name=f"crowd {secrets.token_hex(4)}",
        digest=secrets.token_hex(32),
        masked="gw_live_…0000",
        created_at=time.time(),
        rev=1,
    )


async def fill(data_dir: Path, count: int) -> None:
    """`count` more client keys in the embedded Redis of the gateway that runs on `data_dir`."""
