"""Finds out afterwards what calls cost whose answers did not say it: `GET /generation`, or the record of the video or
batch that a call began, with the key that made it.

Upstream writes the record a moment after the call, and of a call that was cut off later still: a 404 is asked again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import Final
from urllib.parse import quote

import msgspec

from app.core.clock import Clock
from app.core.security import Secret
from app.core.tasks import TaskSet
from app.models.usage import Usage
from app.services.settle_records import is_job
from app.services.upstream_api import ApiUnreachable, UpstreamClient
from app.services.usage import usage_of_generation, usage_of_job

log = logging.getLogger(__name__)

Found = Callable[[Usage | None], None]
"""Is told the usage, or None where it cannot be found out."""

_PAUSES_S: Final = (1.0, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 240.0, 420.0)
_JOB_FIRST_S: Final = 5.0
_JOB_LONGEST_S: Final = 600.0
_JOB_S: Final = 3 * 86_400.0
"""Batches may take a day; nobody is held to a reservation for longer than this."""
_JOB_MISSING_S: Final = 900.0
_AT_ONCE: Final = 8
_MOST_WAITING: Final = 50_000
_OK, _NOT_FOUND, _GONE = 200, 404, 410


class Word(Enum):
    """What an answer says that names no price: ask again, ask again but not for long, there will be none."""

    LATER = auto()
    MISSING = auto()
    NEVER = auto()


class _Job(msgspec.Struct):
    status: str = ""


_job = msgspec.json.Decoder(_Job)


class Settler:
    """`secret_of` gives the key that answers for what a key has made, if it is still there."""

    def __init__(self, client: UpstreamClient, clock: Clock, secret_of: Callable[[str], Secret | None]) -> None:
        self._client = client
        self._clock = clock
        self._secret_of = secret_of
        self._tasks = TaskSet()
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._jobs: dict[str, asyncio.Future[Usage | Word]] = {}

    @property
    def waiting(self) -> int:
        return len(self._tasks)

    def ask(self, key_id: str, name: str, found: Found) -> None:
        """Calls `found` once, sooner or later; not at all if the process ends before. `name`: a generation's id, or a
        job's path ("/videos/…", "/batches/…").
        """
        if len(self._tasks) >= _MOST_WAITING:
            log.error("cost look-up refused", extra={"waiting": len(self._tasks)})
            found(None)
            return
        self._tasks.spawn(self._find_out(key_id, name, found), "books: look up a cost")

    def job_seen(self, path: str, status: int, body: bytes) -> None:
        """A job's record has passed by on its way to its caller: nothing of it need be asked for any more."""
        waiter = self._jobs.get(path)
        if waiter is not None and not waiter.done() and isinstance(word := job_word(status, body), Usage):
            waiter.set_result(word)

    async def close(self) -> None:
        await self._tasks.close()

    async def _find_out(self, key_id: str, name: str, found: Found) -> None:
        usage = await (self._follow_job(key_id, name) if is_job(name) else self._look_up(key_id, name))
        if usage is None:
            log.warning("cost stays unknown", extra={"key": key_id[:12]})
        found(usage)

    async def _look_up(self, key_id: str, generation_id: str) -> Usage | None:
        path = f"/generation?id={quote(generation_id, safe='')}"
        for pause_s in _PAUSES_S:
            await asyncio.sleep(pause_s)
            status, body = await self._asked(key_id, path)
            usage = usage_of_generation(body) if status == _OK else None
            if usage is not None and usage.cost_nano is not None:
                return usage
        return None

    async def _follow_job(self, key_id: str, path: str) -> Usage | None:
        waiter = self._jobs[path] = asyncio.get_running_loop().create_future()
        missing_s = 0.0
        try:
            for pause_s in job_pauses():
                await asyncio.wait([waiter], timeout=pause_s)
                word = waiter.result() if waiter.done() else job_word(*await self._asked(key_id, quote(path)))
                if isinstance(word, Usage):
                    return word
                missing_s = missing_s + pause_s if word is Word.MISSING else 0.0
                if word is Word.NEVER or missing_s > _JOB_MISSING_S:
                    return None
            return None
        finally:
            waiter.cancel()
            self._jobs.pop(path, None)

    async def _asked(self, key_id: str, path: str) -> tuple[int, bytes]:
        """Status 0 where there was nobody to ask."""
        secret = self._secret_of(key_id)
        if secret is None:
            return 0, b""
        try:
            async with self._turns:
                answer = await self._client.request("GET", path, secret)
        except ApiUnreachable:
            return 0, b""
        return answer.status, answer.body


def job_pauses() -> Iterator[float]:
    """Ever longer ones, until nobody waits any more."""
    pause_s, waited_s = _JOB_FIRST_S, 0.0
    while waited_s < _JOB_S:
        yield pause_s
        waited_s += pause_s
        pause_s = min(pause_s * 1.5, _JOB_LONGEST_S)


def job_word(status: int, body: bytes) -> Usage | Word:
    """What the record of a video or a batch says of its price."""
    if status in (_NOT_FOUND, _GONE):
        return Word.MISSING
    if status != _OK:
        return Word.LATER
    try:
        state = _job.decode(body).status
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Word.LATER
    usage = usage_of_job(body)
    if state in ("failed", "cancelled", "expired"):
        # What was done until then may have its price.
        return usage if usage is not None and usage.cost_nano is not None else Usage(cost_nano=0)
    if state != "completed":
        return Word.LATER
    return usage if usage is not None and usage.cost_nano is not None else Word.NEVER
