"""Runs coroutines beside the browser's driver, which holds the event loop of the tests' own thread."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def apart(work: Callable[[], Awaitable[T]]) -> T:
    """What it returns, from a thread with a loop of its own."""

    async def run() -> T:
        return await work()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, run()).result()
