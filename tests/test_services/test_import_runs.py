"""Imports in the background: begun in one worker, told by all, outlasting a Redis that is away."""

from __future__ import annotations

import asyncio

import pytest

from app.core.redis import RedisManager
from app.services.import_runs import ImportProgress
from app.services.key_import import MOST_LINES
from app.services.key_manager import KeyManager
from app.services.key_names import KeyRefused
from app.services.upstream_api import KeyProbe
from tests.key_endpoint import UNKNOWN, facts, running_key_endpoint
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager
from tests.test_services.key_workers import openrouter_key, worker
from tests.test_services.test_key_store import entries

KEYS = [openrouter_key(number) for number in range(30)]


async def ended(keys: KeyManager, run_id: str) -> ImportProgress:
    """The run when it is over."""
    async with asyncio.timeout(20):
        while True:
            progress = await keys.imports.look(run_id)
            assert progress is not None
            if progress.ended:
                return progress
            await asyncio.sleep(0.01)


async def test_every_line_is_told_in_its_order(redis_server: RedisServer) -> None:
    """By another worker too, with masks only; each key is a deed of whoever began."""
    text = "\n".join([*KEYS[:20], KEYS[0], "garbage", KEYS[20]])
    with running_key_endpoint() as endpoint:
        endpoint.replies = {KEYS[1]: facts(is_management_key=True), KEYS[20]: UNKNOWN}
        probe = KeyProbe(endpoint.settings())
        async with worker(redis_server, probe) as one, worker(redis_server) as other, manager(redis_server) as redis:
            run_id = await one.imports.begin(text, by="ana")
            progress = await ended(other, run_id)
            assert (progress.total, progress.by, progress.stalled) == (23, "ana", False)
            assert [line.number for line in progress.lines] == list(range(1, 24))
            assert progress.counts == {"added": 19, "management": 1, "duplicate": 1, "invalid": 1, "refused": 1}
            assert progress.report.lost
            assert len(one.openrouter_keys) == 20
            assert {entry["by"] for entry in await entries(redis)} == {"ana"}
            assert not any(key[13:-4] in repr(progress) for key in KEYS)
            stored = b"".join(map(bytes, await everything(redis)))
            assert not any(key.encode() in stored for key in KEYS)
        await probe.close()


async def everything(redis: RedisManager) -> list[bytes]:
    """All values that an import keeps."""
    names = await redis.command("KEYS", redis.keys.people("imports", "*"))
    assert names
    flat = await redis.command("HGETALL", names[0])
    return list(flat.values()) if isinstance(flat, dict) else list(flat[1::2])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "no key in this list"),
        ("# only a comment", "no key in this list"),
        ("\n".join(map(openrouter_key, range(MOST_LINES + 1))), "import it in parts"),
    ],
)
async def test_what_cannot_be_begun(redis_server: RedisServer, text: str, sentence: str) -> None:
    """Is said at once, and leaves nothing."""
    async with worker(redis_server) as keys:
        with pytest.raises(KeyRefused, match=sentence):
            await keys.imports.begin(text, by="t")
        assert await keys.imports.look("0" * 16) is None


async def test_no_more_than_a_few_at_a_time(redis_server: RedisServer) -> None:
    """The fifth waits for one of the others."""
    async with worker(redis_server) as keys:
        runs = [await keys.imports.begin("\n".join(KEYS), by="t") for _ in range(4)]
        with pytest.raises(KeyRefused, match="under way"):
            await keys.imports.begin(KEYS[0], by="t")
        for run in runs:
            assert (await ended(keys, run)).counts.keys() <= {"added", "known"}
        await asyncio.sleep(0)
        assert (await ended(keys, await keys.imports.begin(KEYS[0], by="t"))).counts == {"known": 1}


async def test_a_run_whose_worker_has_gone(redis_server: RedisServer) -> None:
    """It is told as stalled, not as one that goes on for ever."""
    async with worker(redis_server) as keys, manager(redis_server) as redis:
        run_id = await keys.imports.begin(KEYS[0], by="t")
        await ended(keys, run_id)
        name = redis.keys.people("imports", run_id)
        await redis.command("HDEL", name, "ended")
        assert not (await look(keys, run_id)).stalled
        await redis.command("HSET", name, "beat", "1")
        assert (await look(keys, run_id)).stalled


async def look(keys: KeyManager, run_id: str) -> ImportProgress:
    """The run as it is."""
    progress = await keys.imports.look(run_id)
    assert progress is not None
    return progress
