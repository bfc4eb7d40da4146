"""Long imports of OpenRouter keys: one worker takes the list in, every worker can tell how far it is. Bounded in number
and in time, and what is kept of a list are masks and outcomes, never a key.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from app.core.clock import Clock
from app.core.redis import RedisManager, RedisUnavailable
from app.core.tasks import TaskSet
from app.services.key_import import MOST_LINES, Candidate, ImportLine, ImportOutcome, ImportReport, candidates
from app.services.key_names import KeyRefused

log = logging.getLogger(__name__)

_KEPT_S: Final = 3600
_AT_ONCE: Final = 8
_MOST_RUNS: Final = 4
_SILENT_S: Final = 60.0
"""So long after its last sign of life a run is over, whatever it was doing: its worker is gone."""
_END_TRIES: Final = 30
_END_PAUSE_S: Final = 1.0

Take = Callable[[Candidate, str], Awaitable[ImportLine]]
"""Takes one line in, for this author."""


class _Run(msgspec.Struct, frozen=True, array_like=True):
    total: int
    by: str
    began_s: float


class ImportProgress(msgspec.Struct, frozen=True, kw_only=True):
    """`lines` are those that are done, in the order of the list."""

    id: str
    total: int
    lines: tuple[ImportLine, ...]
    by: str
    began_s: float
    ended: bool
    stalled: bool
    """Nobody goes on with it."""

    @property
    def counts(self) -> dict[str, int]:
        return dict(Counter(line.outcome.value for line in self.lines))

    @property
    def report(self) -> ImportReport:
        return ImportReport(self.lines)


class ImportRuns:
    """The runs of all workers, of which this one does those that were begun here."""

    def __init__(self, redis: RedisManager, clock: Clock, take: Take) -> None:
        self._redis = redis
        self._clock = clock
        self._take = take
        self._tasks = TaskSet()

    async def close(self) -> None:
        await self._tasks.close()

    async def begin(self, text: str, *, by: str) -> str:
        """The run's id. Raises KeyRefused for a list that is empty or too long, and RedisUnavailable."""
        found = list(candidates(text))
        if not found:
            raise KeyRefused("There is no key in this list.")
        if len(found) > MOST_LINES:
            raise KeyRefused(f"This list is longer than {MOST_LINES} keys: import it in parts.")
        if len(self._tasks) >= _MOST_RUNS:
            raise KeyRefused(f"{_MOST_RUNS} imports are under way: wait until one of them has ended.")
        run_id = secrets.token_hex(8)
        run = msgspec.json.encode(_Run(len(found), by, self._clock.wall_s()))
        await self._note(run_id, {"run": run}, {})
        self._tasks.spawn(self._go(run_id, found, by), "keys: import")
        return run_id

    async def look(self, run_id: str) -> ImportProgress | None:
        """None for a run that nobody knows any more. Raises RedisUnavailable."""
        told = await self._redis.command("HGETALL", self._name(run_id))
        found = {bytes(name): bytes(value) for name, value in _pairs(told)}
        if b"run" not in found:
            return None
        run = msgspec.json.decode(found[b"run"], type=_Run)
        ended = b"ended" in found
        silent_s = self._clock.wall_s() - float(found.get(b"beat", b"0"))
        return ImportProgress(
            id=run_id,
            total=run.total,
            lines=tuple(_line(found[place]) for place in sorted(filter(bytes.isdigit, found), key=int)),
            by=run.by,
            began_s=run.began_s,
            ended=ended,
            stalled=not ended and silent_s > _SILENT_S,
        )

    async def _go(self, run_id: str, found: Sequence[Candidate], by: str) -> None:
        waiting: dict[int, ImportLine] = {}
        for place in range(0, len(found), _AT_ONCE):
            some = found[place : place + _AT_ONCE]
            taken = await asyncio.gather(*(self._take(candidate, by) for candidate in some))
            waiting |= dict(enumerate(taken, place))
            with contextlib.suppress(RedisUnavailable):
                await self._note(run_id, {}, waiting)
                waiting = {}
        for _ in range(_END_TRIES):
            try:
                await self._note(run_id, {"ended": b"1"}, waiting)
            except RedisUnavailable:
                await asyncio.sleep(_END_PAUSE_S)
            else:
                break
        log.info("key import ended", extra={"keys": len(found), "by": by})

    async def _note(self, run_id: str, fields: Mapping[str, bytes], lines: Mapping[int, ImportLine]) -> None:
        """By number, so that what is written twice is there once."""
        words: list[Any] = ["beat", repr(self._clock.wall_s())]
        for field, value in fields.items():
            words += [field, value]
        for place, line in lines.items():
            words += [str(place), msgspec.json.encode((line.number, line.masked, line.outcome.value))]
        name = self._name(run_id)
        await self._redis.pipeline([("HSET", name, *words), ("EXPIRE", name, _KEPT_S)])

    def _name(self, run_id: str) -> str:
        return self._redis.keys.people("imports", run_id)


def _pairs(told: Any) -> Iterable[tuple[Any, Any]]:
    """The client library gives a dict or a plain list."""
    return told.items() if isinstance(told, dict) else zip(told[::2], told[1::2], strict=True)


def _line(text: bytes) -> ImportLine:
    number, masked, outcome = msgspec.json.decode(text, type=tuple[int, str, str])
    return ImportLine(number, masked, ImportOutcome(outcome))
