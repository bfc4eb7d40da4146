"""When new calls are refused so that those under way end well."""

from __future__ import annotations

import asyncio
import logging

import pytest

from app.core.clock import SystemClock
from app.core.errors import GatewayError
from app.core.tasks import TaskSet
from app.services.strain import Cause, Strain, StrainWatch, overloaded

MB = 2**20


def test_lateness_counts_when_it_lasts() -> None:
    """One long step is none, and a moment in time ends it."""
    strain = Strain(0.5, 0)
    looks = [(1, 0.6), (2, 0.6), (2.9, 0.4), (3.2, 0.1), (9, 3.9)]
    seen = [strain.look(now_s, late_s, 0, 9) for now_s, late_s in looks]
    assert seen == [Cause.NONE, Cause.NONE, Cause.NONE, Cause.NONE, Cause.LOOP]
    assert Strain(0, 0).look(9, 9, 0, 9) is Cause.NONE


@pytest.mark.parametrize(
    ("most", "memory", "open_calls", "cause"),
    [
        (100 * MB, 95 * MB, 1, Cause.MEMORY),
        (100 * MB, 94 * MB, 1, Cause.NONE),
        (100 * MB, 99 * MB, 0, Cause.NONE),
        (0, 99 * MB, 1, Cause.NONE),
    ],
)
def test_memory_counts_while_waiting_frees_some(most: int, memory: int, open_calls: int, cause: Cause) -> None:
    """Else a process that has become large would never serve again."""
    assert Strain(0.5, most).look(1, 0, memory, open_calls) is cause


def test_who_is_refused_is_told_when_to_come_back() -> None:
    """Not all at the same time."""
    errors = [overloaded() for _ in range(60)]
    assert {(error.status, error.error_type) for error in errors} == {(503, "overloaded")}
    assert {dict(error.headers)[b"retry-after"] for error in errors} == {b"1", b"2", b"3"}


async def test_begin_and_end_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """With how many were refused in between; the check is free of cost while nothing is wrong."""
    tasks, memory = TaskSet(), 10
    watch = StrainWatch(Strain(0, 100), lambda: memory, lambda: 1, SystemClock())
    watch.start(tasks)
    watch.check()
    with caplog.at_level(logging.WARNING):
        memory = 99
        async with asyncio.timeout(5):
            while watch.strain.cause is Cause.NONE:
                await asyncio.sleep(0.01)
        for _ in range(3):
            with pytest.raises(GatewayError):
                watch.check()
        memory = 10
        async with asyncio.timeout(5):
            while len(caplog.records) < 2:
                await asyncio.sleep(0.01)
    watch.check()
    await tasks.close()
    first, last = caplog.records
    assert (first.levelno, first.message) == (logging.ERROR, "overload refuses calls")
    assert (last.message, vars(last)["refused"]) == ("overload is over", 3)
