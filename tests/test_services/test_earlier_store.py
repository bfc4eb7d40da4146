"""The earlier middleware's Redis, as its layout says."""

from __future__ import annotations

import pytest

from app.core.clock import SystemClock
from app.core.redis import RedisUnavailable
from app.core.redis_url import RedisUrlError
from app.services.earlier_store import read_earlier
from tests.redis_server import RedisServer

ONE, TWO, THREE = "1" * 64, "2" * 64, "3" * 64


async def test_what_is_there_is_read(redis_server: RedisServer) -> None:
    """Hashes of both kinds of keys and the active ones; what only looks like it is left alone, and nothing changes."""
    call = redis_server.call
    call("HSET", f"clientkey:{ONE}", "user_id", "ana", "odd", "\x00é")
    call("HSET", f"openrouter:{TWO}", "is_active", "True")
    call("SADD", "openrouter:active", TWO, THREE)
    call("SET", f"clientkey:{TWO}", "no hash")
    call("HSET", "clientkey:short", "user_id", "x")
    call("HSET", "log_config", "global_level", "INFO")
    found = await read_earlier(redis_server.url, SystemClock())
    assert found.clients == {ONE: {"user_id": "ana", "odd": "\x00é"}}
    assert found.keys == {TWO: {"is_active": "True"}}
    assert found.active == {TWO, THREE}
    assert call("DBSIZE") == b":6\r\n"


async def test_many_records(redis_server: RedisServer) -> None:
    """More than one step of reading."""
    script = "for n = 1, 1200 do redis.call('HSET', 'clientkey:' .. string.format('%064x', n), 'user_id', n) end"
    redis_server.call("EVAL", script, "0")
    found = await read_earlier(redis_server.url, SystemClock())
    assert sorted(int(record["user_id"]) for record in found.clients.values()) == list(range(1, 1201))


async def test_nothing_there(redis_server: RedisServer) -> None:
    """Empty, or not there at all."""
    found = await read_earlier(redis_server.url, SystemClock())
    assert (found.clients, found.keys, found.active) == ({}, {}, set())
    redis_server.kill()
    with pytest.raises(RedisUnavailable):
        await read_earlier(redis_server.url, SystemClock())
    with pytest.raises(RedisUrlError):
        await read_earlier("http://x", SystemClock())
