"""Which tasks run in the background of this worker, and when each of them last went on. Reads, and touches none.

A task goes on when it waits for something else than before: one that hangs waits for the same thing for ever.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from app.core.clock import Clock

_MOST: Final = 200


@dataclass(frozen=True, slots=True)
class Beat:
    """One task. `at_s`: when it last went on. `failed`: it has ended with an error, and nobody does its work."""

    name: str
    at_s: float
    failed: bool = False


class Beats:
    """`look` is to be called every few seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._running: dict[asyncio.Task[Any], tuple[object, float]] = {}
        self._failed: dict[str, float] = {}

    def look(self) -> None:
        now_s = self._clock.wall_s()
        for task in asyncio.all_tasks():
            if " " not in task.get_name():
                continue  # a request's: the work of the gateway itself is named in words
            waits_for, known = _waits_for(task), self._running.get(task)
            if known is None:
                if len(self._running) >= _MOST:
                    continue
                task.add_done_callback(partial(self._ended, name=task.get_name()))
            if known is None or known[0] is not waits_for or waits_for is None:
                # What it waits for is held, so that nothing new can come to lie in its place.
                self._running[task] = (waits_for, now_s)

    def _ended(self, task: asyncio.Task[Any], *, name: str) -> None:
        self._running.pop(task, None)
        if not task.cancelled() and task.exception() is not None and len(self._failed) < _MOST:
            self._failed[name] = self._clock.wall_s()

    @property
    def every(self) -> list[Beat]:
        """By name, failed ones first. Of several with one name, the one that has rested longest."""
        running: dict[str, float] = {}
        for task, (_, at_s) in self._running.items():
            name = task.get_name()
            running[name] = min(at_s, running.get(name, at_s))
        failed = [Beat(name, at_s, failed=True) for name, at_s in sorted(self._failed.items()) if name not in running]
        return failed + [Beat(name, at_s) for name, at_s in sorted(running.items())]


def _waits_for(task: asyncio.Task[Any]) -> object:
    """The future that a task waits for; None while it does not wait, or where this Python does not tell."""
    return getattr(task, "_fut_waiter", None)
