"""Whoever is asked tells the sums of all workers, and never less than was told before."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import random
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from app.core.metrics import Counter, Family, Gauge
from app.services.metering import Metering


class Own:
    """What a worker holds."""

    def picture(self) -> list[Family]:
        workers = Gauge("workers", "Words.")
        workers.set(1)
        return [workers.picture()]


class Shared:
    """What all workers see alike."""

    async def picture(self) -> list[Family]:
        keys = Gauge("keys", "Words.")
        keys.set(3)
        return [keys.picture()]


class Worker:
    """A metering with one counter."""

    def __init__(self, folder: Path, *, every_s: float = 3600.0) -> None:
        self.counter = Counter("calls", "Words.")
        self.metering = Metering(
            folder,
            [lambda: [self.counter.picture()]],
            Own(),  # type: ignore[arg-type]
            Shared(),  # type: ignore[arg-type]
            every_s=every_s,
        )

    async def told(self) -> dict[str, float]:
        return numbers(await self.metering.told())

    def die(self) -> None:
        """As by kill -9: nothing is written any more, and the kernel frees the lock."""
        self.metering._folder._unlock()


def numbers(families: Sequence[Family]) -> dict[str, float]:
    return {one.shape.name: cells[0] for one in families for cells in one.rows.values()}


@contextlib.asynccontextmanager
async def working(folder: Path, count: int = 1, *, every_s: float = 3600.0) -> AsyncIterator[list[Worker]]:
    made = [Worker(folder, every_s=every_s) for _ in range(count)]
    for worker in made:
        await worker.metering.start()
    try:
        yield made
    finally:
        for worker in made:
            await worker.metering.close()


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


async def test_everything_is_told_once(tmp_path: Path) -> None:
    """Counts and what workers hold are added up, what all see alike is not."""
    async with working(tmp_path, 2) as (one, two):
        one.counter.add((), 2)
        two.counter.add((), 3)
        await two.told()

        assert await one.told() == {"workers": 2, "keys": 3, "calls": 5}
        assert numbers(await one.metering.own()) == {"workers": 1, "keys": 3, "calls": 2}


async def test_others_learn_without_being_asked(tmp_path: Path) -> None:
    """A picture is written now and then."""
    async with working(tmp_path, 2, every_s=0.01) as (one, two):
        two.counter.add((), 3)
        async with asyncio.timeout(10):
            while (await one.told())["calls"] != 3:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("seed", range(4))
async def test_no_count_is_ever_told_lower(tmp_path: Path, seed: int) -> None:
    """Calls, questions, deaths and restarts in any order, whoever is asked."""
    drawn = random.Random(seed)
    async with working(tmp_path, 2) as workers:
        told = 0.0
        for _ in range(60):
            at = drawn.randrange(2)
            worker = workers[at]
            match drawn.choice(["call", "call", "ask", "ask", "die", "restart"]):
                case "call":
                    worker.counter.add()
                case "ask":
                    found = (await worker.told())["calls"]
                    assert found >= told
                    told = found
                case "die":
                    worker.die()
                    workers[at] = Worker(tmp_path)
                    await workers[at].metering.start()
                case "restart":
                    await worker.metering.close()
                    workers[at] = Worker(tmp_path)
                    await workers[at].metering.start()
        for worker in workers:
            await worker.told()
        assert (await workers[0].told())["calls"] == (await workers[1].told())["calls"] >= told


async def test_many_may_ask_at_once(tmp_path: Path) -> None:
    """An older picture never replaces a newer one."""
    async with working(tmp_path, 2, every_s=0.001) as (one, two):
        told: list[float] = []

        async def ask() -> None:
            one.counter.add()
            told.append((await one.told())["calls"])

        await asyncio.gather(*(ask() for _ in range(30)))
        assert max(told) == (await two.told())["calls"] == 30


async def test_on_a_full_disk_one_worker_tells_of_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It goes on counting, says once that nothing is written, and goes on with what was left before."""
    async with working(tmp_path) as (before,):
        before.counter.add((), 5)
    async with working(tmp_path) as (one,):
        one.counter.add()
        with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
            patch.setattr(Path, "write_bytes", full)
            one.counter.add()
            assert (await one.told())["calls"] == 7
            assert (await one.told())["calls"] == 7
            assert caplog.messages == ["metrics not shared"]
        assert (await one.told())["calls"] == 7


async def test_on_a_full_disk_two_workers_tell_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What they wrote last: else the sum would go down and up, as one or the other is asked."""
    async with working(tmp_path, 2) as (one, two):
        one.counter.add((), 2)
        two.counter.add((), 3)
        await one.told()
        await two.told()
        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_bytes", full)
            one.counter.add((), 100)
            assert (await one.told())["calls"] == (await two.told())["calls"] == 5
        assert (await one.told())["calls"] == (await two.told())["calls"] == 105


async def test_without_a_folder_it_tells_of_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A data folder that cannot be written stops nothing; as soon as it can be, pictures are shared."""
    blocked = tmp_path / "metrics"
    blocked.write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        async with working(tmp_path) as (one,):
            one.counter.add()
            assert await one.told() == {"workers": 1, "keys": 3, "calls": 1}
            blocked.unlink()
            assert (await one.told())["calls"] == 1
            assert blocked.is_dir()
            shutil.rmtree(blocked)
            blocked.write_text("again")
        assert set(caplog.messages) == {"metrics not shared"}
        assert len(caplog.messages) == 2
