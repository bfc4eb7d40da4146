from __future__ import annotations

import time

from app.core.clock import Clock, SystemClock


def test_the_system_clock_reads_both_clocks() -> None:
    """Dates come from the wall clock, spans from the one that never jumps."""
    clock: Clock = SystemClock()

    assert time.time() - 5 < clock.wall_s() < time.time() + 5
    before = time.monotonic()
    assert before <= clock.monotonic_s() <= time.monotonic()
