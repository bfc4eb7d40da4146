"""Costs are added up exactly, also over a Redis that was away."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.core.clock import SystemClock
from app.core.redis import RedisUnavailable
from app.core.tasks import TaskSet
from app.models.usage import Spent
from app.services.tally import Tally, periods
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager


class Clock(SystemClock):
    """A wall clock that is set by hand."""

    def __init__(self, wall_s: float) -> None:
        self.at = wall_s

    def wall_s(self) -> float:
        return self.at


@pytest.mark.parametrize(
    ("wall_s", "names"),
    [
        (0.0, ("d:1970-01-01", "w:1969-12-29", "m:1970-01")),
        (1_795_391_999.0, ("d:2026-11-22", "w:2026-11-16", "m:2026-11")),
        (1_795_392_000.0, ("d:2026-11-23", "w:2026-11-23", "m:2026-11")),
    ],
)
def test_periods_begin_at_midnight_utc(wall_s: float, names: tuple[str, str, str]) -> None:
    """Days, weeks from Monday and months, as OpenRouter's budgets reset."""
    assert names == periods(wall_s)


async def test_sums_are_exact_across_workers(redis_server: RedisServer) -> None:
    """Two workers' costs end in one sum; unwritten ones count for the worker that has them."""
    async with manager(redis_server) as redis:
        tasks, clock = TaskSet(), Clock(1_795_392_000.0)
        one, two = Tally(redis, tasks, clock), Tally(redis, tasks, clock)
        for _ in range(50):
            one.add("c", 3)
            two.add("c", 4)
        one.add("c", -5)
        assert (await one.spent("c")).total_nano >= 150

        await one.flush()
        await two.flush()

        assert Spent(350, 350, 350, 350) == await one.spent("c")
        clock.at += 86_400
        assert Spent(350, 0, 350, 350) == await two.spent("c")
        await tasks.close()


async def test_nothing_is_lost_while_redis_is_away(redis_server: RedisServer, tmp_path: Path) -> None:
    """What cannot be written is kept and written later, once."""
    async with manager(redis_server) as redis:
        tasks = TaskSet()
        tally = Tally(redis, tasks, Clock(1_795_392_000.0))
        redis_server.kill()
        tally.add("c", 7)
        with pytest.raises(RedisUnavailable):
            await tally.flush()
        tally.add("c", 1)

        redis_server.start()
        for _ in range(100):
            if not len(tasks):
                break
            await asyncio.sleep(0.1)

        assert Spent(8, 8, 8, 8) == await tally.spent("c")
        await tasks.close()
