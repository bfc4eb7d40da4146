"""Background tasks that can neither vanish nor fail in silence. Knows nothing of what they do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger(__name__)

_PATIENCE_S = 0.5


class TaskSet:
    """Holds a strong reference to each task until it ends, logs what it raised, and cancels the rest on close."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # The type alone: a third party's message may quote a secret.
            log.error("background task failed", extra={"task": task.get_name(), "error": type(error).__name__})

    async def close(self) -> None:
        """Cancels what still runs and waits until it has let go.

        More than once if need be: a library may swallow a cancellation that falls into its own time-outs.
        """
        while tasks := tuple(self._tasks):
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=_PATIENCE_S)

    def __len__(self) -> int:
        return len(self._tasks)
