"""Fills a gateway's Redis with made-up client keys in their stored form, far quicker than a call for each."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

import msgspec

from app.core.clock import SystemClock
from app.core.embedded import socket_url
from app.core.redis import RedisManager, RedisOptions, RedisReplyError, RedisUnavailable
from app.models.keys import ClientKey
from bench.rig import BenchError

AT_ONCE = 2_000


def record(number: int) -> tuple[str, bytes]:
    """One field of the hash: the key's id and `<rev>\\n<json>`."""
    key = ClientKey(
        id=secrets.token_hex(16),
        name=f"crowd {number}",
        digest=secrets.token_hex(32),
        masked="gw_live_…0000",
        created_at=time.time(),
        rev=1,
    )
    return key.id, b"1\n" + msgspec.json.encode(key)


async def fill(data_dir: Path, count: int) -> None:
    """`count` more client keys in the embedded Redis of the gateway that runs on `data_dir`."""
    redis = RedisManager(RedisOptions(url=socket_url(data_dir), timeout_s=5.0), SystemClock())
    try:
        await redis.connect()
        for start in range(0, count, AT_ONCE):
            fields = [part for number in range(start, min(count, start + AT_ONCE)) for part in record(number)]
            await redis.command("HSET", redis.keys.client_keys, *fields)
        await redis.command("INCR", redis.keys.version)
    except (RedisUnavailable, RedisReplyError) as error:
        raise BenchError(str(error)) from error
    finally:
        await redis.close()
