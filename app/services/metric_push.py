"""Sends this worker's metrics to a collector now and then. Exists only where there is one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from app.core.metrics import Family
from app.core.tasks import TaskSet
from app.core.telemetry import Telemetry

_EVERY_S: Final = 60.0


class MetricPush:
    """One for each worker: a collector adds them up by `service.instance.id`."""

    def __init__(
        self, told: Callable[[], Awaitable[list[Family]]], telemetry: Telemetry, *, every_s: float = _EVERY_S
    ) -> None:
        self._told = told
        self._telemetry = telemetry
        self._every_s = every_s
        self._tasks = TaskSet()

    def start(self) -> None:
        self._tasks.spawn(self._keep_sending(), "metrics: send to the collector")

    async def close(self) -> None:
        """With the last figures."""
        await self._tasks.close()
        await self._send()

    async def _keep_sending(self) -> None:
        while True:
            await self._send()
            await asyncio.sleep(self._every_s)

    async def _send(self) -> None:
        await asyncio.to_thread(self._telemetry.send, await self._told())
