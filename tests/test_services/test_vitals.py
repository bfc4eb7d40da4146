"""What a worker says of itself, over a real Redis."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.core.clock import SystemClock
from app.core.commit_log import CommitLog
from app.core.tasks import TaskSet
from app.services.signs_of_life import SignsOfLife
from app.services.vitals import Journals, RedisFacts, Vitals, facts_of, memory_most
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager


async def test_a_worker_looks_at_itself_and_at_redis(redis_server: RedisServer, tmp_path: Path) -> None:
    """One value for each look; a Redis that is away is None and no error."""
    async with manager(redis_server) as redis:
        vitals = Vitals(redis, TaskSet(), SystemClock(), tmp_path)
        await vitals.look()
        await redis.command("SET", "a", "1")
        facts = await vitals.redis_facts()
        redis_server.kill()
        await vitals.look()

        first, second = vitals.redis_ms
        assert first is not None
        assert first > 0
        assert second is None
        assert (await vitals.redis_facts(), await vitals.workers()) == (RedisFacts(), 0)
    assert (facts.keys, facts.appends, facts.write_failed) == (1, True, False)
    assert facts.version[0].isdigit()
    assert facts.memory_bytes is not None
    assert facts.clients is not None
    assert vitals.pid == os.getpid()
    assert 1_000_000 < vitals.memory_bytes < vitals.memory_most


async def test_workers_are_counted_by_their_signs(redis_server: RedisServer, tmp_path: Path) -> None:
    """Each of them gives one."""
    async with manager(redis_server) as redis:
        vitals = Vitals(redis, TaskSet(), SystemClock(), tmp_path)
        signs = [SignsOfLife(redis, journal, lambda _count: None) for journal in ("a", "b")]
        for one in signs:
            await one.start()
        try:
            assert await vitals.workers() == 2
        finally:
            for one in signs:
                await one.close()


async def test_journals_on_disk(redis_server: RedisServer, tmp_path: Path) -> None:
    """As many folders as there are, with what they take up; none where there is no folder."""
    async with manager(redis_server) as redis:
        vitals = Vitals(redis, TaskSet(), SystemClock(), tmp_path)
        assert await vitals.journals() == Journals()
        log = CommitLog.create(tmp_path / "journal")
        try:
            log.append(b"x" * 10_000)
            found = await vitals.journals()
        finally:
            log.remove()
        assert found.folders == 1
        assert found.size_bytes >= 10_000


@pytest.mark.parametrize(
    ("info", "told"),
    [
        ({"aof_enabled": 0, "aof_last_write_status": "err"}, RedisFacts(appends=False, write_failed=True)),
        ({"rdb_last_bgsave_status": "err", "rdb_last_save_time": 7}, RedisFacts(write_failed=True, snapshot_s=7)),
        ({"maxmemory": 0, "used_memory": 5}, RedisFacts(memory_bytes=5)),
        ({"maxmemory": 9, "connected_clients": "2"}, RedisFacts(memory_most=9, clients=2)),
        ({"redis_version": "7.2.4", "valkey_version": "8.1.0"}, RedisFacts(version="8.1.0")),
        ({"used_memory": "many"}, RedisFacts()),
    ],
)
def test_what_redis_says(info: dict[str, object], told: RedisFacts) -> None:
    """What it does not say, or what is no number, is not known."""
    assert facts_of(info, None) == told


def test_the_memory_of_a_container(tmp_path: Path) -> None:
    """The bound that the container has, else what the machine has."""
    bound, none = tmp_path / "bound", tmp_path / "none"
    bound.write_text("1048576\n")
    none.write_text("max\n")
    assert memory_most((str(tmp_path / "missing"), str(bound))) == 1_048_576
    assert memory_most((str(none),)) > 1_048_576
