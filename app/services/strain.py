"""Whether this worker has more to do than it can: its loop is late for seconds, or its memory is nearly used up. New
calls are then refused at once, so that those under way end well. Knows nothing of what the calls are.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import random
from collections.abc import Callable
from enum import StrEnum
from typing import Final

from app.core.clock import Clock
from app.core.errors import Fault, GatewayError
from app.core.tasks import TaskSet

log = logging.getLogger(__name__)

_LOOK_S: Final = 0.25
_PATIENCE_S: Final = 2.0
"""So long the loop must be late without a break: one long step of work is no overload."""
_FULL: Final = 0.95


class Cause(StrEnum):
    """Why calls are refused. The words stand in the log and in the answer's type."""

    NONE = ""
    LOOP = "loop"
    MEMORY = "memory"


class Strain:
    """Told how late and how full, it says whether to shed. Pure state. Times in seconds, memory in bytes."""

    def __init__(self, lag_s: float, memory_most: int) -> None:
        """`lag_s` 0: lateness does not matter; `memory_most` 0: nobody knows how much there is."""
        self._lag_s = lag_s
        self._memory_most = memory_most
        self._late_since_s: float | None = None
        self.cause = Cause.NONE

    def look(self, now_s: float, late_s: float, memory: int, open_calls: int) -> Cause:
        """Without open calls nothing would be freed by waiting: then it serves whatever comes."""
        if not 0 < self._lag_s <= late_s:
            self._late_since_s = None
        elif self._late_since_s is None:
            self._late_since_s = now_s - late_s
        if not open_calls:
            self.cause = Cause.NONE
        elif self._memory_most and memory >= self._memory_most * _FULL:
            self.cause = Cause.MEMORY
        elif self._late_since_s is not None and now_s - self._late_since_s >= _PATIENCE_S:
            self.cause = Cause.LOOP
        else:
            self.cause = Cause.NONE
        return self.cause


class StrainWatch:
    """Looks four times a second. `memory` and `open_calls` are read each time."""

    def __init__(self, strain: Strain, memory: Callable[[], int], open_calls: Callable[[], int], clock: Clock) -> None:
        self.strain = strain
        self._memory = memory
        self._open_calls = open_calls
        self._clock = clock
        self.refused = 0

    def start(self, tasks: TaskSet) -> None:
        tasks.spawn(self._keep_looking(), "strain: look")

    def check(self) -> None:
        """Raises GatewayError (503) while this worker has too much to do."""
        if self.strain.cause is not Cause.NONE:
            self.refused += 1
            raise overloaded()

    async def _keep_looking(self) -> None:
        while True:
            due_s = self._clock.monotonic_s() + _LOOK_S
            await asyncio.sleep(_LOOK_S)
            now_s = self._clock.monotonic_s()
            before, refused = self.strain.cause, self.refused
            cause = self.strain.look(now_s, now_s - due_s, self._memory(), self._open_calls())
            if cause is Cause.MEMORY:
                _give_back()
            if cause is not before:
                self.refused = 0
                if cause is Cause.NONE:
                    log.warning("overload is over", extra={"cause": before.value, "refused": refused})
                else:
                    log.error("overload refuses calls", extra={"cause": cause.value, "open_calls": self._open_calls()})


def overloaded() -> GatewayError:
    # Of many callers that are refused at once, not all shall come back at once.
    wait_s = random.randint(1, 3)  # noqa: S311 - spreads retries # nosec B311
    return GatewayError(
        503,
        "overloaded",
        "The gateway has more to do than it can.",
        f"Try again in {wait_s} s.",
        fault=Fault.GATEWAY,
        headers=((b"retry-after", b"%d" % wait_s), (b"x-gateway-overloaded", b"1")),
    )


def _give_back() -> None:
    """What was freed goes back to the system: else the process would stay as large as it ever was."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
