"""Tells listeners in one process that something has changed, and in a flood of changes only now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from app.core.clock import Clock

_TELL_EVERY_S: Final = 0.05


class Listeners:
    """The first change is told at once; what follows closely is told together."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._listeners: list[Callable[[], None]] = []
        self._told_at = float("-inf")
        self._waiting: asyncio.TimerHandle | None = None

    def add(self, on_change: Callable[[], None]) -> None:
        self._listeners.append(on_change)

    def tell(self) -> None:
        if self._waiting is not None or not self._listeners:
            return
        wait_s = self._told_at + _TELL_EVERY_S - self._clock.monotonic_s()
        if wait_s <= 0:
            self._tell_now()
        else:
            self._waiting = asyncio.get_running_loop().call_later(wait_s, self._tell_now)

    def _tell_now(self) -> None:
        self._waiting = None
        self._told_at = self._clock.monotonic_s()
        for listener in self._listeners:
            listener()

    def close(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
