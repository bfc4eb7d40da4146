"""Marks shared by workers, over a real Redis."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import AsyncIterator

import pytest

from app.core.clock import SystemClock
from app.core.redis import RedisManager
from app.models.marks import Mark, MarkKind, Scope
from app.services import marks as module
from app.services.marks import FOREVER_S, Marks, outweighs
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager
from tests.test_services.key_workers import until

WALL_S = SystemClock().wall_s()


def mark(
    subject: str = "k", kind: MarkKind = MarkKind.COOL, *, lasts_s: float = 60_000, at_s: float = WALL_S, **other: str
) -> Mark:
    return Mark(
        scope=Scope(other.get("scope", "key")),
        subject=subject,
        kind=kind,
        until_s=WALL_S + lasts_s,
        reason=other.get("reason", "test"),
        at_s=at_s,
    )


@contextlib.asynccontextmanager
async def worker(server: RedisServer, *, follow: bool = True) -> AsyncIterator[Marks]:
    async with manager(server) as redis, on(redis, follow=follow) as marks:
        yield marks


@contextlib.asynccontextmanager
async def on(redis: RedisManager, *, follow: bool = True) -> AsyncIterator[Marks]:
    marks = Marks(redis, SystemClock())
    await marks.start(follow=follow)
    try:
        yield marks
    finally:
        await marks.close()


async def test_workers_share_marks(redis_server: RedisServer) -> None:
    """What one sets and clears the other knows and tells its listeners, and so does a third that starts later."""
    told: list[int] = []
    async with worker(redis_server) as one, worker(redis_server) as two:
        two.subscribe(lambda: told.append(len(two.in_force())))
        one.put([mark("k"), mark("a :free", MarkKind.SPENT, scope="family")])
        assert one.find(Scope.KEY, "k") == mark("k"), "at once where it was set"
        await until(lambda: len(two.in_force()) == 2, within_s=1)
        await until(lambda: told and told[-1] == 2)
        async with worker(redis_server, follow=False) as late:
            assert set(late.in_force()) == set(one.in_force())
        two.clear(Scope.KEY, "k", "test")
        assert two.find(Scope.KEY, "k") is None
        await until(lambda: one.find(Scope.KEY, "k") is None, within_s=1)


@pytest.mark.parametrize(
    ("first", "second", "stays"),
    [
        (mark(), mark(lasts_s=90_000), 2),
        (mark(lasts_s=90_000), mark(), 1),
        (mark(kind=MarkKind.CHECK), mark(lasts_s=90_000), 1),
        (mark(), mark(kind=MarkKind.CHECK, lasts_s=30_000), 2),
        (mark(kind=MarkKind.SPENT), mark(kind=MarkKind.CHECK, lasts_s=90_000), 1),
        (mark(kind=MarkKind.SPENT, lasts_s=90_000), mark(kind=MarkKind.DISABLED, lasts_s=30_000), 2),
    ],
)
async def test_the_graver_mark_stays(redis_server: RedisServer, first: Mark, second: Mark, stays: int) -> None:
    """Then the one that lasts longer; also where two workers set them without knowing of each other."""
    expected = (first, second)[stays - 1]
    assert outweighs(first, second) is (stays == 1)
    async with worker(redis_server, follow=False) as one, worker(redis_server, follow=False) as two:
        one.put([first])
        await one.flush()
        two.put([second])
        await two.flush()
        assert two.in_force() == (expected,), "Redis tells what stands"
        one.put([second])
        assert one.in_force() == (expected,)


async def test_nothing_is_lost_in_an_outage(redis_server: RedisServer) -> None:
    """It counts here meanwhile, and reaches the others afterwards, in order."""
    async with worker(redis_server) as one, worker(redis_server) as two:
        one.put([mark("gone", MarkKind.SPENT)])
        await until(two.in_force)
        redis_server.kill()
        one.put([mark("k"), mark("l")])
        one.clear(Scope.KEY, "gone", "test")
        one.put([mark("gone", lasts_s=30_000)])
        await asyncio.sleep(0.3)
        assert {found.subject for found in one.in_force()} == {"k", "l", "gone"}
        redis_server.start()
        await until(lambda: {found.subject for found in two.in_force()} == {"k", "l", "gone"})
        assert two.find(Scope.KEY, "gone") == mark("gone", lasts_s=30_000), "the clearing came before the new mark"


async def test_what_was_learnt_before_clears_nothing_set_after(redis_server: RedisServer) -> None:
    """A probe that began before the refusal says nothing of it: neither here nor in Redis."""
    async with worker(redis_server) as one, worker(redis_server, follow=False) as deaf:
        one.put([mark(at_s=WALL_S)])
        await one.flush()
        one.clear(Scope.KEY, "k", "probe", before_s=WALL_S - 1)
        deaf.clear(Scope.KEY, "k", "probe", before_s=WALL_S - 1)
        await deaf.flush()
        assert one.in_force()
        assert deaf.in_force(), "Redis tells what stands"
        deaf.clear(Scope.KEY, "k", "probe", before_s=WALL_S)
        await until(lambda: not one.in_force())


async def test_marks_end_by_themselves(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """They stop counting at their end, listeners hear of it, and Redis is swept."""
    monkeypatch.setattr(module, "_SWEEP_EVERY_S", 0.05)
    async with manager(redis_server) as redis, on(redis) as one:
        ended = SystemClock().wall_s() + 0.4
        short = Mark(scope=Scope.KEY, subject="k", kind=MarkKind.COOL, until_s=ended, reason="r", at_s=WALL_S)
        one.put([short, mark("l"), mark("past", lasts_s=-1)])
        told: list[int] = []
        one.subscribe(lambda: told.append(len(one.in_force())))
        await until(lambda: len(one.in_force()) == 1)
        await until(lambda: told and told[-1] == 1)
        while await redis.command("HLEN", redis.keys.marks) != 1:
            await asyncio.sleep(0.01)


async def test_for_ever(redis_server: RedisServer) -> None:
    """An endless mark survives JSON."""
    async with worker(redis_server, follow=False) as one:
        one.put([endless()])
        await one.flush()
        async with worker(redis_server, follow=False) as two:
            assert two.in_force()[0].until_s == FOREVER_S


def endless() -> Mark:
    return Mark(scope=Scope.KEY, subject="k", kind=MarkKind.DISABLED, until_s=math.inf, reason="r", at_s=WALL_S)


async def test_deeds_on_disabled_keys_are_audited(redis_server: RedisServer) -> None:
    """Who disabled and who enabled; what comes and goes with the traffic is not noted."""
    async with manager(redis_server) as redis, on(redis, follow=False) as one:
        one.put([mark("cool"), mark("gone", MarkKind.DISABLED, reason="unknown")])
        one.clear(Scope.KEY, "cool", "probe")
        one.clear(Scope.KEY, "gone", "alice")
        await one.flush()
        one.put([mark("gone", MarkKind.DISABLED, reason="unknown")])
        await one.flush()
        one.clear(Scope.KEY, "gone", "alice")
        await one.flush()
        entries = [
            json.loads(fields[b"entry"]) for _, fields in await redis.command("XRANGE", redis.keys.audit, "-", "+")
        ]
        assert [(entry["id"], entry["deed"]) for entry in entries] == [("gone", "mark"), ("gone", "clear")]
        assert entries[1]["by"] == "alice"


async def test_damaged_marks_are_passed_over(redis_server: RedisServer) -> None:
    """In Redis and on the channel; a new mark replaces them."""
    async with manager(redis_server) as redis, on(redis) as one:
        await redis.command("HSET", redis.keys.marks, "key k", "nonsense", "key l", '{"kind":"cool"}')
        await redis.command("PUBLISH", redis.keys.mark_changes, "+nonsense\n-\n?\n")
        one.put([mark("k")])
        await one.flush()
        async with on(redis, follow=False) as two:
            assert two.in_force() == (mark("k"),)


async def test_many_marks_and_a_late_reload(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than one batch; and what was not heard is found by reading again."""
    monkeypatch.setattr(module, "_SWEEP_EVERY_S", 0.05)
    monkeypatch.setattr(module, "_RELOAD_EVERY_S", 0.05)
    async with manager(redis_server) as redis, on(redis) as one:
        one.put([mark(f"k{number}") for number in range(450)])
        await one.flush()
        assert await redis.command("HLEN", redis.keys.marks) == 450
        await redis.command("DEL", redis.keys.marks)
        await until(lambda: not one.in_force())


async def test_a_waiting_flush_brings_no_cleared_mark_back(redis_server: RedisServer) -> None:
    """Two write at once; what the first has written another worker clears before the second's turn."""
    async with manager(redis_server) as redis, on(redis, follow=False) as one, on(redis, follow=False) as other:

        async def clear_between() -> None:
            async with one._exchange:
                other.clear(Scope.KEY, "k", "test")
                await other.flush()

        one.put([mark("k")])
        await asyncio.gather(one.flush(), clear_between(), one.flush())
        assert await redis.command("HLEN", redis.keys.marks) == 0


async def test_closing_without_redis(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be written is told."""
    async with manager(redis_server) as redis:
        one = Marks(redis, SystemClock())
        await one.start()
        redis_server.kill()
        one.put([mark("k")])
        await one.close()
    assert "pending marks lost" in caplog.text
