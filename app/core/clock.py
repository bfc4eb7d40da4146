"""The one place that reads a clock. Everything else is handed a `Clock`, so that tests turn it by hand."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """`wall_s` dates things (seconds since the epoch, UTC); `monotonic_s` measures spans and never jumps."""

    def wall_s(self) -> float: ...

    def monotonic_s(self) -> float: ...


class SystemClock:
    """The machine's clocks."""

    def wall_s(self) -> float:
        return time.time()  # noqa: TID251 - this is the one place the ban points to

    def monotonic_s(self) -> float:
        return time.monotonic()
