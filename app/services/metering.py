"""All metrics of this machine's workers, told alike by whoever is asked: no count is ever told lower than before."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from app.core.metrics import Family, lasting, merged
from app.core.metrics_folder import MetricsFolder, Others
from app.core.tasks import TaskSet
from app.services.gauges import SharedGauges, WorkerGauges

log = logging.getLogger(__name__)

_WRITE_EVERY_S: Final = 5.0
_NOBODY: Final = Others([], [])

Picture = Callable[[], Sequence[Family]]


class Metering:
    """One for each worker. `counts`: what it counts; the gauges are looked at when somebody asks."""

    def __init__(
        self,
        folder: Path,
        counts: Sequence[Picture],
        own: WorkerGauges,
        shared: SharedGauges,
        *,
        every_s: float = _WRITE_EVERY_S,
    ) -> None:
        self._folder = MetricsFolder(folder / "metrics")
        self._counts = counts
        self._own = own
        self._shared = shared
        self._every_s = every_s
        self._tasks = TaskSet()
        self._one_at_a_time = asyncio.Lock()
        self._written: list[Family] = []
        self._failed = False

    async def start(self) -> None:
        """Without a folder that can be written, a worker tells of itself alone."""
        await self._write()
        self._tasks.spawn(self._keep_writing(), "metrics: write the picture")

    async def close(self) -> None:
        await self._tasks.close()
        async with self._one_at_a_time:
            try:
                await asyncio.to_thread(self._folder.leave, self._picture())
            except OSError as error:
                self._complain(error)

    async def told(self) -> list[Family]:
        """Everything, of all workers of this machine."""
        picture = await self._together()
        return [*picture, *await self._shared.picture()]

    async def own(self) -> list[Family]:
        """Of this worker alone, and what all see alike."""
        return [*self._picture(), *await self._shared.picture()]

    async def _together(self) -> list[Family]:
        # Written before it is told: whoever is asked next, or outlives this worker, counts from there.
        wrote = await self._write()
        async with self._one_at_a_time:
            try:
                others = await asyncio.to_thread(self._folder.others)
            except OSError as error:
                self._complain(error)
                others = _NOBODY
        own = self._written
        if not wrote:
            # The others do not know of what came since: neither do we, but that we are alone.
            own = [*self._own.picture(), *lasting(own)] if others.living else self._picture()
        return merged([own, *others.living, others.dead])

    def _picture(self) -> list[Family]:
        return [*self._own.picture(), *(family for one in self._counts for family in one())]

    async def _keep_writing(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            await self._write()

    async def _write(self) -> bool:
        async with self._one_at_a_time:
            picture = self._picture()
            try:
                await asyncio.to_thread(self._folder.write, picture)
            except OSError as error:
                self._complain(error)
                return False
            self._written, self._failed = picture, False
            return True

    def _complain(self, error: OSError) -> None:
        """Once, until it goes again."""
        if not self._failed:
            self._failed = True
            log.warning("metrics not shared", extra={"error": type(error).__name__})
