"""Telling listeners, in floods and without."""

from __future__ import annotations

import asyncio

from app.core.clock import SystemClock
from app.services.listeners import Listeners


async def test_a_flood_is_told_together() -> None:
    """The first change at once, the rest in one."""
    told: list[None] = []
    listeners = Listeners(SystemClock())
    listeners.tell()
    listeners.add(lambda: told.append(None))
    for _ in range(100):
        listeners.tell()
    assert len(told) == 1
    await asyncio.sleep(0.1)
    assert len(told) == 2
    listeners.close()


async def test_nothing_is_told_after_the_end() -> None:
    """What waits is dropped."""
    told: list[None] = []
    listeners = Listeners(SystemClock())
    listeners.add(lambda: told.append(None))
    listeners.tell()
    listeners.tell()
    listeners.close()
    listeners.close()
    await asyncio.sleep(0.1)
    assert len(told) == 1
