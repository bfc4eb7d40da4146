"""All metrics of this machine's workers: this one's at this moment, the others' as they wrote them a moment ago."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from app.core.metrics import Family, merged
from app.core.metrics_folder import MetricsFolder
from app.core.tasks import TaskSet
from app.services.gauges import SharedGauges, WorkerGauges

log = logging.getLogger(__name__)

_WRITE_EVERY_S: Final = 5.0

Picture = Callable[[], Sequence[Family]]


class Metering:
    """One for each worker. `counts`: what it counts; the gauges are looked at when somebody asks."""

    def __init__(self, folder: Path, counts: Sequence[Picture], own: WorkerGauges, shared: SharedGauges) -> None:
        self._folder = MetricsFolder(folder / "metrics")
        self._counts = counts
        self._own = own
        self._shared = shared
        self._tasks = TaskSet()
        self._failed = False

    async def start(self) -> None:
        """Without a folder that can be written, a worker tells of itself alone."""
        try:
            await asyncio.to_thread(self._folder.join)
        except OSError as error:
            self._complain(error)
        self._tasks.spawn(self._keep_writing(), "metrics: write the picture")

    async def close(self) -> None:
        await self._tasks.close()
        try:
            await asyncio.to_thread(self._folder.leave, self._picture())
        except OSError as error:
            self._complain(error)

    async def told(self) -> list[Family]:
        """Everything, of all workers of this machine."""
        own = self._picture()
        try:
            others = await asyncio.to_thread(self._folder.others)
        except OSError as error:
            self._complain(error)
            others = []
        return [*merged([own, *others]), *await self._shared.picture()]

    def _picture(self) -> list[Family]:
        return [*self._own.picture(), *(family for one in self._counts for family in one())]

    async def _keep_writing(self) -> None:
        while True:
            await asyncio.sleep(_WRITE_EVERY_S)
            try:
                await asyncio.to_thread(self._folder.write, self._picture())
                self._failed = False
            except OSError as error:
                self._complain(error)

    def _complain(self, error: OSError) -> None:
        if not self._failed:
            self._failed = True
            log.warning("metrics not shared", extra={"error": type(error).__name__})
