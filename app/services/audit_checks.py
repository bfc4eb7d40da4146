"""Checks of the whole audit that anybody may ask for: one at a time for all workers, told of while it runs, and the
last one kept. Changes no entry.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import msgspec

from app.core.clock import Clock
from app.core.redis import RedisManager, RedisReplyError, RedisUnavailable
from app.core.tasks import TaskSet
from app.services.audit import Audit
from app.services.audit_chain import ChainCheck

log = logging.getLogger(__name__)

_SILENT_S: Final = 15
"""So long after its last sign a check is over: its worker is gone."""


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """How a check of the audit came out. `number` and `hash` are those of the last link that it saw; `known` is the
    hash of the newest link up to which the chain ever was whole: every later check has to find it.
    """

    at_s: float
    intact: bool
    number: int = 0
    hash: str = ""
    known: str = ""
    entries: int = 0
    open: int = 0
    before: int = 0
    breaks: tuple[str, ...] = ()


class Running(msgspec.Struct, frozen=True):
    """How far the present check is."""

    read: int
    entries: int


_checked: Final = msgspec.json.Decoder(Checked)
_running: Final = msgspec.json.Decoder(Running)
_REPLACED: Final = "the chain does not hold the link up to which it was whole before: it was replaced"


class AuditChecks:
    """One for each worker. Everything raises RedisUnavailable."""

    def __init__(self, redis: RedisManager, audit: Audit, clock: Clock) -> None:
        self._redis = redis
        self._audit = audit
        self._clock = clock
        self._tasks = TaskSet()
        self._progress: asyncio.Task[None] | None = None
        self._last = redis.keys.people("audit-checked")
        self._now = redis.keys.people("audit-checking")

    async def close(self) -> None:
        await self._tasks.close()

    async def last(self) -> Checked | None:
        """The newest that has ended."""
        stored = await self._redis.command("GET", self._last)
        return None if stored is None else _checked.decode(stored)

    async def running(self) -> Running | None:
        stored = await self._redis.command("GET", self._now)
        return None if stored is None else _running.decode(stored)

    async def start(self, patience_s: float = 0.0) -> None:
        """Begins a check, unless one runs; waits a little for its end, because most are quick."""
        entries = int(await self._redis.command("XLEN", self._redis.keys.audit))
        begun = msgspec.json.encode(Running(0, entries))
        if await self._redis.command("SET", self._now, begun, "NX", "EX", _SILENT_S):
            check = self._tasks.spawn(self._check(entries), "audit: check all of it")
            await asyncio.wait([check], timeout=patience_s)

    async def _check(self, entries: int) -> None:
        def progress(read: int) -> None:
            if self._progress is None or self._progress.done():
                sign = msgspec.json.encode(Running(read, max(read, entries)))
                self._progress = self._tasks.spawn(self._sign(sign), "audit: tell of the check")

        try:
            last = await self.last()
            # What was whole before must still be there: else the whole chain could be made anew, and would look whole.
            found = _told(await self._audit.verify(last.known if last else "", progress), self._clock.wall_s())
            await self._redis.command("SET", self._last, msgspec.json.encode(found))
            log.info("audit was checked", extra={"intact": found.intact, "links": found.number})
        except (RedisUnavailable, RedisReplyError) as error:
            log.warning("audit check broken off", extra={"reason": str(error)})
        finally:
            await self._end()

    async def _sign(self, sign: bytes) -> None:
        try:
            await self._redis.command("SET", self._now, sign, "XX", "EX", _SILENT_S)
        except (RedisUnavailable, RedisReplyError):
            log.debug("no sign of the check")

    async def _end(self) -> None:
        if self._progress is not None:
            await asyncio.wait([self._progress])
        try:
            await self._redis.command("DEL", self._now)
        except (RedisUnavailable, RedisReplyError):
            log.debug("no end of the check")


def _told(check: ChainCheck, at_s: float) -> Checked:
    breaks = [str(one) for one in check.breaks]
    if check.known and not check.known_seen:
        breaks.append(_REPLACED)
    return Checked(
        at_s=at_s,
        intact=check.intact,
        number=check.last.number,
        hash=check.last.hash,
        known=check.last.hash if check.intact and check.last.number else check.known,
        entries=check.before + check.links + check.sealed + check.open,
        open=check.open,
        before=check.before,
        breaks=tuple(breaks),
    )
