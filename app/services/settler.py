"""Finds out afterwards what calls cost whose answers did not say it: `GET /generation`, with the key that made them.

Upstream writes the record a moment after the call, and of a call that was cut off later still: a 404 is asked again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final
from urllib.parse import quote

from app.core.clock import Clock
from app.core.security import Secret
from app.core.tasks import TaskSet
from app.models.usage import Usage
from app.services.upstream_api import ApiUnreachable, UpstreamClient
from app.services.usage import usage_of_generation

log = logging.getLogger(__name__)

Found = Callable[[Usage | None], None]
"""Is told the usage, or None where it cannot be found out."""

_PAUSES_S: Final = (1.0, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 240.0, 420.0)
_AT_ONCE: Final = 8
_MOST_WAITING: Final = 50_000


class Settler:
    """`secret_of` gives the key that answers for what a key has made, if it is still there."""

    def __init__(self, client: UpstreamClient, clock: Clock, secret_of: Callable[[str], Secret | None]) -> None:
        self._client = client
        self._clock = clock
        self._secret_of = secret_of
        self._tasks = TaskSet()
        self._turns = asyncio.Semaphore(_AT_ONCE)

    @property
    def waiting(self) -> int:
        return len(self._tasks)

    def ask(self, key_id: str, generation_id: str, found: Found) -> None:
        """Calls `found` once, sooner or later; not at all if the process ends before."""
        if len(self._tasks) >= _MOST_WAITING:
            log.error("cost look-up refused", extra={"waiting": len(self._tasks)})
            found(None)
            return
        self._tasks.spawn(self._look_up(key_id, generation_id, found), "books: look up a cost")

    async def close(self) -> None:
        await self._tasks.close()

    async def _look_up(self, key_id: str, generation_id: str, found: Found) -> None:
        usage: Usage | None = None
        for pause_s in _PAUSES_S:
            await asyncio.sleep(pause_s)
            async with self._turns:
                usage = await self._asked(key_id, generation_id)
            if usage is not None and usage.cost_nano is not None:
                break
        else:
            log.warning("cost stays unknown", extra={"key": key_id[:12]})
        found(usage if usage is not None and usage.cost_nano is not None else None)

    async def _asked(self, key_id: str, generation_id: str) -> Usage | None:
        secret = self._secret_of(key_id)
        if secret is None:
            return None
        try:
            answer = await self._client.request("GET", f"/generation?id={quote(generation_id, safe='')}", secret)
        except ApiUnreachable:
            return None
        return usage_of_generation(answer.body) if answer.status == 200 else None
