"""The whole of the keys: imports, secrecy, size, and a Redis that is away."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
from pathlib import Path

import msgspec
import pytest

from app.core.clock import SystemClock
from app.core.redis import RedisManager, RedisUnavailable
from app.models.keys import ClientKey, KeyKind, KeyState
from app.services.key_import import MOST_LINES
from app.services.key_manager import KeyManager, KeyRefused
from app.services.upstream_api import KeyProbe
from tests.key_endpoint import UNKNOWN, facts, running_key_endpoint
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager
from tests.test_services.key_workers import CLIENTS, RING, openrouter_key, until, worker
from tests.test_services.test_key_store import entries

KEYS = [openrouter_key(number) for number in range(6)]


async def test_an_import_reports_every_line(redis_server: RedisServer) -> None:
    """In the order of the list, with masks; a second import changes nothing."""
    text = "\ufeff# pool\r\n" + "\r\n".join([*KEYS[:3], KEYS[0], "garbage", KEYS[3], KEYS[4]])
    with running_key_endpoint() as endpoint:
        endpoint.replies = {KEYS[1]: facts(is_management_key=True), KEYS[3]: UNKNOWN, KEYS[4]: (500, b"")}
        probe = KeyProbe(endpoint.settings())
        async with worker(redis_server, probe) as keys:
            report = await keys.import_openrouter_keys(text, by="t")
            assert [(line.number, line.outcome.value) for line in report.lines] == [
                (2, "added"), (3, "management"), (4, "added"), (5, "duplicate"), (6, "invalid"), (7, "refused"),
                (8, "added"),
            ]  # fmt: skip
            assert report.lost
            assert keys.find_openrouter(report.lines[-1].masked).kind is KeyKind.UNVERIFIED
            assert not any(key[13:-4] in repr(report) for key in KEYS)
            again = await keys.import_openrouter_keys("\n".join(KEYS[:3]), by="t")
            assert again.counts() == {"known": 3}
            assert endpoint.busiest <= 8
        await probe.close()


async def test_importing_the_same_list_in_two_workers(redis_server: RedisServer) -> None:
    """As several workers do at start: each key is stored once, and each worker has them all."""
    text = ",".join(openrouter_key(number) for number in range(60))
    async with worker(redis_server) as one, worker(redis_server) as two, manager(redis_server) as redis:
        reports = await asyncio.gather(*(keys.import_openrouter_keys(text, by="environment") for keys in (one, two)))
        assert not any(report.lost for report in reports)
        assert sum(report.counts().get("added", 0) for report in reports) == 60
        assert len(one.openrouter_keys) == len(two.openrouter_keys) == 60
        assert len(await entries(redis)) == 60


async def test_too_long_a_list_is_refused_whole(redis_server: RedisServer) -> None:
    """With a sentence, and before anything is stored."""
    async with worker(redis_server) as keys:
        with pytest.raises(KeyRefused, match="import it in parts"):
            await keys.import_openrouter_keys("\n".join(map(openrouter_key, range(MOST_LINES + 1))), by="t")
        assert not keys.openrouter_keys


async def test_an_import_without_redis_says_so_of_each_line(redis_server: RedisServer) -> None:
    """No line is lost in silence."""
    async with worker(redis_server) as keys:
        redis_server.kill()
        report = await keys.import_openrouter_keys("\n".join(KEYS), by="t")
        assert report.counts() == {"failed": 6}
        assert report.lost
        assert not keys.openrouter_keys


async def test_no_redis_no_start(redis_server: RedisServer) -> None:
    """A worker without keys does not pretend to have none."""
    async with manager(redis_server) as redis:
        redis_server.kill()
        keys = KeyManager(redis, RING, CLIENTS, SystemClock())
        with pytest.raises(RedisUnavailable):
            await keys.start()
        await keys.close()


async def test_a_full_redis_refuses_changes_and_keeps_the_rest(redis_server: RedisServer) -> None:
    """Everything known serves on; after there is room again, changes go through."""
    async with worker(redis_server) as keys:
        made = await keys.create_client_key("before", by="t")
        redis_server.call("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(RedisUnavailable):
            await keys.create_client_key("meanwhile", by="t")
        assert keys.authenticate(made.secret.reveal().encode()) == made.record
        redis_server.call("CONFIG", "SET", "maxmemory", "0")
        await keys.create_client_key("after", by="t")
        assert {client.name for client in keys.client_keys.values()} == {"before", "after"}


async def test_nothing_secret_is_stored_or_said(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """Neither in Redis nor in its file nor in the log nor in the audit: not plain, not encoded, not hashed plainly."""
    caplog.set_level(logging.DEBUG)
    async with worker(redis_server) as keys, manager(redis_server) as redis:
        await keys.import_openrouter_keys("\n".join(KEYS), by="t")
        made = await keys.create_client_key("app", by="t")
        await keys.set_openrouter_state(next(iter(keys.openrouter_keys)), KeyState.DISABLED, by="t")
        await keys.delete_openrouter_key(next(iter(keys.openrouter_keys)), by="t")
        await keys.set_client_state("app", KeyState.REVOKED, by="t")
        everything = await _all_values(redis) + _files(redis_server.folder) + caplog.text.encode()
    secret = made.secret.reveal()
    for plain in (*KEYS, secret):
        assert plain[13:-4].encode() not in everything
        assert base64.b64encode(plain.encode())[4:-4] not in everything
        assert plain.encode().hex().encode() not in everything
    assert hashlib.sha256(secret.encode()).hexdigest().encode() not in everything
    assert made.record.id.encode() in everything


async def _all_values(redis: RedisManager) -> bytes:
    found = b""
    for name in await redis.command("KEYS", "*"):
        kind = bytes(await redis.command("TYPE", name))
        read = {b"hash": ("HGETALL", name), b"string": ("GET", name), b"stream": ("XRANGE", name, "-", "+")}[kind]
        found += repr(await redis.command(*read)).encode()
    assert found
    return found


def _files(folder: Path) -> bytes:
    found = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert found
    return found


async def test_five_thousand_clients(redis_server: RedisServer) -> None:
    """All are loaded, and all are known."""
    secrets = [CLIENTS.mint().reveal() for _ in range(5000)]
    records = [
        ClientKey(
            id=f"ck_{number}", name="n", digest=CLIENTS.digest(secret.encode()).hex(), masked=CLIENTS.mask(secret)
        )
        for number, secret in enumerate(secrets)
    ]
    async with manager(redis_server) as redis:
        flat = [part for one in records for part in (one.id, b"1\n" + msgspec.json.encode(one))]
        await redis.command("HSET", redis.keys.client_keys, *flat)
    async with worker(redis_server) as keys:
        assert len(keys.client_keys) == 5000
        for number in range(0, 5000, 500):
            found = keys.authenticate(secrets[number].encode())
            assert found is not None
            assert found.id == f"ck_{number}"


async def test_listeners_see_what_was_imported(redis_server: RedisServer) -> None:
    """At the end of an import at the latest, in the worker that did it."""
    async with worker(redis_server) as keys:
        seen: list[int] = []
        keys.subscribe(lambda: seen.append(len(keys.openrouter_keys)))
        await keys.import_openrouter_keys("\n".join(KEYS), by="t")
        assert seen[-1] == 6
        await keys.delete_openrouter_key(next(iter(keys.openrouter_keys)), by="t")
        await until(lambda: seen[-1] == 5)
