"""Reads what an earlier middleware kept in Redis: hashes of its keys, and what was set of them. Changes nothing there.

`clientkey:{sha256}` and `openrouter:{sha256}` are hashes, `openrouter:active` a set. No secret can be read back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from app.core.clock import Clock
from app.core.redis import RedisManager, RedisOptions
from app.services.import_earlier import Earlier

_CLIENT: Final = "clientkey:"
_OPENROUTER: Final = "openrouter:"
_ACTIVE: Final = "openrouter:active"
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_STEP: Final = 500
_TIMEOUT_S: Final = 5.0


async def read_earlier(url: str, clock: Clock) -> Earlier:
    """Raises RedisUnavailable, RedisReplyError, RedisUrlError."""
    redis = RedisManager(RedisOptions(url=url, pool_size=2, timeout_s=_TIMEOUT_S), clock)
    try:
        found = Earlier()
        found.clients = await _hashes(redis, _CLIENT)
        found.keys = await _hashes(redis, _OPENROUTER)
        if await redis.command("TYPE", _ACTIVE) == b"set":
            found.active = {_text(member) for member in await redis.command("SMEMBERS", _ACTIVE)}
        return found
    finally:
        await redis.close()


async def _hashes(redis: RedisManager, prefix: str) -> dict[str, dict[str, str]]:
    names: dict[str, None] = {}
    cursor = b"0"
    while True:
        cursor, found = await redis.command("SCAN", cursor, "MATCH", f"{prefix}*", "COUNT", _STEP)
        texts = (_text(name) for name in found)
        names |= dict.fromkeys(name for name in texts if _HASH.fullmatch(name.removeprefix(prefix)))
        if int(cursor) == 0:
            break
    ordered = sorted(names)
    records: dict[str, dict[str, str]] = {}
    for start in range(0, len(ordered), _STEP):
        part = ordered[start : start + _STEP]
        kinds = await redis.pipeline([("TYPE", name) for name in part])
        part = [name for name, kind in zip(part, kinds, strict=True) if kind == b"hash"]
        for name, record in zip(part, await redis.pipeline([("HGETALL", name) for name in part]), strict=True):
            records[name.removeprefix(prefix)] = {_text(one): _text(value) for one, value in _pairs(record)}
    return records


def _pairs(record: Any) -> Iterable[tuple[bytes, bytes]]:
    return record.items() if isinstance(record, dict) else zip(record[::2], record[1::2], strict=True)


def _text(raw: object) -> str:
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)
