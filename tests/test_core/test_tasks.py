from __future__ import annotations

import asyncio
import gc
import logging

import pytest

from app.core.tasks import TaskSet


async def test_a_task_is_held_until_it_ends() -> None:
    """Garbage collection does not take a task that nobody else refers to."""
    tasks = TaskSet()
    begin, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await begin.wait()
        ended.set()

    tasks.spawn(work(), "work")
    await asyncio.sleep(0)
    gc.collect()
    assert len(tasks) == 1
    begin.set()
    await asyncio.wait_for(ended.wait(), 5)
    await asyncio.sleep(0)

    assert len(tasks) == 0


async def test_a_failure_is_logged_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    """The task's name and the error's type are told; the message may quote a secret and is not."""
    tasks = TaskSet()

    async def work() -> None:
        raise ValueError("CANARY")

    task = tasks.spawn(work(), "importer")
    await asyncio.wait([task])
    await asyncio.sleep(0)

    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert (record.__dict__["task"], record.__dict__["error"]) == ("importer", "ValueError")
    assert "CANARY" not in str(record.__dict__)


async def test_close_cancels_and_waits(caplog: pytest.LogCaptureFixture) -> None:
    """After close every task has let go of what it held, and a cancellation is no failure."""
    tasks = TaskSet()
    let_go = []

    async def work(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            let_go.append(number)

    for number in range(3):
        tasks.spawn(work(number), f"work {number}")
    await asyncio.sleep(0)
    await tasks.close()

    assert sorted(let_go) == [0, 1, 2]
    assert len(tasks) == 0
    assert not caplog.records


async def test_close_of_nothing() -> None:
    """An empty set closes at once."""
    await TaskSet().close()
