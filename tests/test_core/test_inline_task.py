"""The inline task beside asyncio's own: the same coroutine must see the same things in both."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from app.core.inline_task import InlineTask, Pause, pause


def inline(coroutine: Coroutine[Any, Any, None]) -> InlineTask:
    """Starts it as a callback of the loop would: from outside any task."""
    task = InlineTask(coroutine, asyncio.get_running_loop())
    asyncio.get_running_loop().call_soon(task.start)
    return task


async def ended(task: InlineTask) -> None:
    async with asyncio.timeout(5):
        while not task.done():
            await asyncio.sleep(0)


async def test_it_goes_on_inside_the_callback_that_ends_its_wait() -> None:
    """No turn of the loop lies between the end of the wait and what follows it."""
    seen: list[str] = []
    waits: list[Pause] = []
    loop = asyncio.get_running_loop()

    async def work() -> None:
        for turn in ("first", "second"):
            wait = pause(loop)
            assert isinstance(wait, Pause)
            waits.append(wait)
            await wait
            seen.append(turn)

    task = inline(work())
    await asyncio.sleep(0)

    def end_both() -> None:
        waits[0].set_result(None)
        seen.append("between")
        waits[1].set_result(None)

    loop.call_soon(end_both)
    await asyncio.sleep(0)

    assert seen == ["first", "between", "second"]
    assert task.done()


async def test_elsewhere_a_pause_is_a_future() -> None:
    """The same code runs in asyncio's tasks."""
    loop = asyncio.get_running_loop()
    wait = pause(loop)
    assert isinstance(wait, asyncio.Future)
    loop.call_soon(wait.set_result, None)
    await wait


async def test_a_pause_that_has_ended_does_not_wait() -> None:
    """Whoever comes late goes on at once."""
    done: list[int] = []

    async def work() -> None:
        wait = pause(asyncio.get_running_loop())
        wait.set_result(None)
        await wait
        done.append(1)

    await ended(inline(work()))
    assert done == [1]


async def test_within_another_task_it_goes_on_in_the_next_turn() -> None:
    """Two tasks never run inside each other."""
    waits: list[Any] = []
    seen: list[str] = []

    async def work() -> None:
        waits.append(pause(asyncio.get_running_loop()))
        await waits[0]
        seen.append("inline")

    task = inline(work())
    await asyncio.sleep(0)
    waits[0].set_result(None)
    seen.append("outer")
    await ended(task)

    assert seen == ["outer", "inline"]


async def _future() -> None:
    wait = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(wait.set_result, None)
    await wait


async def _failed_future() -> None:
    wait = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(wait.set_exception, KeyError("x"))
    with contextlib.suppress(KeyError):
        await wait


async def _gathered() -> None:
    assert await asyncio.gather(asyncio.sleep(0, 1), asyncio.sleep(0.001, 2)) == [1, 2]


async def _timed_out() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await asyncio.sleep(10)


async def _timed_out_in_a_pause() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await pause(asyncio.get_running_loop())


async def _timed_waiting() -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), 0.01)


async def _grouped() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(0))
        group.create_task(asyncio.sleep(0.001))


@pytest.mark.parametrize(
    "work", [_future, _failed_future, _gathered, _timed_out, _timed_out_in_a_pause, _timed_waiting, _grouped]
)
async def test_what_works_in_a_task_works_here(work: Callable[[], Awaitable[None]]) -> None:
    """Futures, time limits, gathering and groups, with asyncio's own task as the measure."""
    done: list[str] = []

    async def run(name: str) -> None:
        await work()
        done.append(name)

    await run("asyncio")
    await ended(inline(run("inline")))
    assert done == ["asyncio", "inline"]


async def _in_pause() -> None:
    await pause(asyncio.get_running_loop())


async def _in_future() -> None:
    await asyncio.get_running_loop().create_future()


async def _in_nested_sleep() -> None:
    await asyncio.wait_for(asyncio.sleep(10), 10)


@pytest.mark.parametrize("waiting", [_in_pause, _in_future, _in_nested_sleep])
async def test_cancelling_ends_any_wait(waiting: Callable[[], Awaitable[None]]) -> None:
    """The coroutine gets to clean up, and is over."""
    seen: list[str] = []

    async def work() -> None:
        try:
            await waiting()
        except asyncio.CancelledError:
            seen.append("cancelled")
            await asyncio.sleep(0)
            seen.append("cleaned")
            raise

    task = inline(work())
    await asyncio.sleep(0.001)
    assert task.cancel("enough")
    assert task.cancelling() == 1
    await ended(task)

    assert seen == ["cancelled", "cleaned"]
    assert not task.cancel()


async def test_a_wait_that_ends_as_it_is_cancelled_stays_cancelled() -> None:
    """The end of the wait comes in the same turn: the cancellation is not lost."""
    waits: list[Any] = []
    seen: list[str] = []

    async def work() -> None:
        waits.append(pause(asyncio.get_running_loop()))
        try:
            await waits[0]
        except asyncio.CancelledError:
            seen.append("cancelled")

    task = inline(work())
    await asyncio.sleep(0)
    task.cancel()
    waits[0].set_result(None)
    await ended(task)

    assert seen == ["cancelled"]


@pytest.mark.parametrize("waiting", [_in_pause, _in_future])
async def test_a_coroutine_that_cancels_itself(waiting: Callable[[], Awaitable[None]]) -> None:
    """It is told at its next wait."""
    seen: list[str] = []

    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        try:
            await waiting()
        except asyncio.CancelledError:
            seen.append("cancelled")
            assert task.uncancel() == 0

    await ended(inline(work()))
    assert seen == ["cancelled"]


async def test_what_it_raises_reaches_the_loops_handler() -> None:
    """A failure is never silent."""
    heard: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: heard.append(context))

    async def work() -> None:
        raise ValueError

    await ended(inline(work()))
    loop.set_exception_handler(None)

    assert [type(context["exception"]) for context in heard] == [ValueError]
