"""Who still goes on: real tasks, looked at from outside."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from app.core.tasks import TaskSet
from app.services.beats import Beat, Beats
from tests.test_services.people_world import HandClock


@contextlib.asynccontextmanager
async def looking() -> AsyncIterator[tuple[Beats, HandClock, TaskSet]]:
    clock, tasks = HandClock(1000.0), TaskSet()
    try:
        yield Beats(clock), clock, tasks
    finally:
        await tasks.close()


async def ticking(steps: asyncio.Semaphore) -> None:
    while True:
        await steps.acquire()


async def inner(steps: asyncio.Semaphore) -> None:
    """As the subscriptions wait: inside an iterator of their own."""

    async def each() -> AsyncIterator[None]:
        while True:
            await steps.acquire()
            if steps is None:
                yield None

    async for _ in each():
        await ticking(steps)


async def rest() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_task_beats_as_long_as_it_goes_on() -> None:
    """One that waits for the same thing as before has not gone on, however deep it waits."""
    async with looking() as (beats, clock, tasks):
        steps, never = asyncio.Semaphore(0), asyncio.Semaphore(0)
        tasks.spawn(inner(steps), "work: goes on")
        tasks.spawn(inner(never), "work: hangs")
        await rest()
        for now_s in (1000.0, 1002.0, 1004.0):
            clock.now_s = now_s
            steps.release()
            await rest()
            beats.look()
        assert beats.every == [Beat("work: goes on", 1004.0), Beat("work: hangs", 1000.0)]


async def test_of_several_with_one_name_the_stillest_counts() -> None:
    """Or else one that works would hide one that hangs."""
    async with looking() as (beats, clock, tasks):
        steps, never = asyncio.Semaphore(0), asyncio.Semaphore(0)
        for one in (steps, never):
            tasks.spawn(ticking(one), "work: twice")
        await rest()
        beats.look()
        clock.now_s = 1010.0
        steps.release()
        await rest()
        beats.look()
        assert beats.every == [Beat("work: twice", 1000.0)]


async def test_who_has_failed_stays_until_somebody_does_the_work_again() -> None:
    """Who has ended, or was told to, is gone."""

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("secret words")

    async with looking() as (beats, clock, tasks):
        tasks.spawn(fail(), "work: fails")
        tasks.spawn(asyncio.sleep(0), "work: ends")
        told = tasks.spawn(asyncio.sleep(60), "work: is told to end")
        beats.look()
        clock.now_s = 1005.0
        told.cancel()
        await rest()
        assert beats.every == [Beat("work: fails", 1005.0, failed=True)]
        tasks.spawn(asyncio.sleep(60), "work: fails")
        await rest()
        beats.look()
        assert beats.every == [Beat("work: fails", 1005.0)]


async def test_requests_are_not_looked_at() -> None:
    """Only work that has a name in words."""
    async with looking() as (beats, _, tasks):
        tasks.spawn(asyncio.sleep(60), "Task-7")
        tasks.spawn(asyncio.sleep(60), "starlette.responses.stream")
        await rest()
        beats.look()
        assert beats.every == []
