"""The kept log in Redis: capped, counted, followed; it never holds up who writes."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import AsyncIterator, Iterator

import pytest

from app.core.clock import SystemClock
from app.core.logging import configure
from app.core.redis import RedisManager, RedisOptions
from app.core.tasks import TaskSet
from app.services.log_filter import LogFilter
from app.services.log_store import LogConfig, LogStore
from tests.redis_server import RedisServer

log = logging.getLogger("app.test")


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    configure("debug", "json", io.StringIO())
    yield
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        handler.close()
    root.handlers[:] = before
    root.setLevel(level)


@pytest.fixture
async def store(redis_server: RedisServer) -> AsyncIterator[LogStore]:
    """Started, on an empty Redis."""
    redis = RedisManager(RedisOptions(redis_server.url, timeout_s=5), SystemClock())
    await redis.command("FLUSHALL")
    tasks = TaskSet()
    made = LogStore(redis, tasks, SystemClock())
    made.start()
    await asyncio.sleep(0)
    yield made
    made.stop()
    await tasks.close()
    await redis.close()


async def test_lines_that_matter_are_kept(store: LogStore) -> None:
    """From the level on that is set, free of secrets, with their fields."""
    log.info("nothing special here")
    log.warning("key was refused", extra={"key": "sk-or-v1-" + "a" * 64})
    await store.flush()

    (line,) = (await store.page(LogFilter(module="app.test"))).lines
    assert (line.level, line.event) == ("warning", "key was refused")
    assert "aaaa" not in str(line.fields)


async def test_pages_go_both_ways(store: LogStore) -> None:
    """The newest first, or the oldest."""
    for number in range(5):
        log.warning("line is written", extra={"number": number})
    await store.flush()
    wanted = LogFilter(module="app.test")
    first = await store.page(wanted, size=2)
    second = await store.page(wanted, size=9, before=first.older)

    assert [line.fields["number"] for line in (*first.lines, *second.lines)] == [4, 3, 2, 1, 0]
    assert second.older == ""
    oldest = await store.page(wanted, size=2, oldest_first=True)
    assert [line.fields["number"] for line in oldest.lines] == [0, 1]
    assert await store.find(oldest.lines[0].id) == oldest.lines[0]
    assert await store.delete([oldest.lines[0].id]) == 1
    assert await store.find(oldest.lines[0].id) is None


async def test_lines_are_counted_by_day(store: LogStore) -> None:
    """By level and module; saving the configuration again changes nothing."""
    log.warning("first line here")
    log.error("second line here")
    await store.flush()
    counts = next(iter((await store.stats(1)).values()))
    assert (counts["warning app.test"], counts["error app.test"]) == (1, 1)
    for _ in range(2):
        await store.configure(LogConfig(level="error"))
    log.warning("third line here")
    await store.flush()
    assert len((await store.page(LogFilter(module="app.test"))).lines) == 2


async def test_without_redis_lines_wait(
    store: LogStore, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as there is room for, and the writer never notices."""
    for number in range(3000):
        log.warning("line is written", extra={"number": number})
    for _ in range(10):
        await store.flush()
    found = [line.fields["number"] async for line in store.lines(LogFilter(module="app.test"))]
    assert found == list(range(1000, 3000)), "the oldest were left out"
