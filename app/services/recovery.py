"""Closes the calls of processes that died: their journals are taken over, and what is in them is booked to its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from app.core.clock import Clock
from app.core.commit_log import CommitLog, LogFull
from app.core.redis import RedisReplyError, RedisUnavailable
from app.core.tasks import TaskSet
from app.models.usage import Usage
from app.services.ledger import Ledger
from app.services.ledger_filter import Filter
from app.services.limits import Limits
from app.services.settle_records import Closed, OpenCall, entry_packed, open_calls, packed, priced
from app.services.settlement import Parcel, Shipper
from app.services.settler import Settler
from app.services.signs_of_life import SignsOfLife
from app.services.usage import tokens_charged

log = logging.getLogger(__name__)

_LOOK_EVERY_S: Final = 30.0
_RETRY_S: Final = 1.0
_CONFIRM_EVERY_S: Final = 5.0


class Recovery:
    """Looks for orphans at the start and every half a minute: another process on this folder may die while we live.

    `ledger` proves which calls were booked before their last record was lost, as by a power cut.
    """

    def __init__(
        self,
        folder: Path,
        limits: Limits,
        signs: SignsOfLife,
        settler: Settler,
        clock: Clock,
        known: Callable[[str], bool],
        ledger: Ledger | None = None,
    ) -> None:
        self._folder = folder / "journal"
        self._limits = limits
        self._signs = signs
        self._settler = settler
        self._clock = clock
        self._known = known
        self._ledger = ledger
        self._tasks = TaskSet()
        self._taken: set[_Estate] = set()

    @property
    def waiting(self) -> int:
        """How many journals of others are not yet done with."""
        return len(self._taken)

    def start(self) -> None:
        self._tasks.spawn(self._look_on(), "books: look for orphans")

    async def close(self) -> None:
        """What is not done stays on disk, for the next start."""
        await self._tasks.close()
        for estate in self._taken:
            await estate.close()

    async def _look_on(self) -> None:
        while True:
            try:
                await self._look()
            except OSError as error:
                log.error("journals cannot be read", extra={"errno": error.errno})  # noqa: TRY400 - no frames
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _look(self) -> None:
        orphans = partial(CommitLog.orphans, self._folder, clock=self._clock)
        looking = asyncio.get_running_loop().run_in_executor(None, orphans)
        try:
            found = await asyncio.shield(looking)
        except asyncio.CancelledError:
            for journal in await looking:  # ours by now, whether we want them or not
                journal.close()
            raise
        for journal in found:
            estate = _Estate(journal, self._limits, self._signs, self._settler, self._clock, self._known, self._ledger)
            self._taken.add(estate)
            self._tasks.spawn(self._end(estate), "books: close an orphan")

    async def _end(self, estate: _Estate) -> None:
        while True:
            try:
                await estate.end()
            except (RedisUnavailable, RedisReplyError, LogFull):
                await asyncio.sleep(_RETRY_S)
            else:
                self._taken.discard(estate)
                return


class _Estate:
    """One journal that was left behind."""

    def __init__(
        self,
        journal: CommitLog,
        limits: Limits,
        signs: SignsOfLife,
        settler: Settler,
        clock: Clock,
        known: Callable[[str], bool],
        ledger: Ledger | None,
    ) -> None:
        self._journal = journal
        self._limits = limits
        self._signs = signs
        self._settler = settler
        self._clock = clock
        self._known = known
        self._ledger = ledger
        self._shipper: Shipper | None = None
        self._open: deque[OpenCall] = deque()
        self._asked = 0
        self._answers: deque[tuple[OpenCall, Usage | None]] = deque()
        self._news = asyncio.Event()

    async def end(self) -> None:
        """Returns when all of it is booked, and the journal gone. Can be called again after it has raised
        RedisUnavailable, RedisReplyError or LogFull.
        """
        journal = self._journal
        await self._signs.keep(journal.id)
        if self._shipper is None:
            self._shipper = await self._take_stock()
        shipper = self._shipper
        await self._close_calls(shipper)
        await shipper.done()
        # A Redis that fails over may still lose what it has booked.
        while await shipper.confirm() < shipper.booked or not shipper.idle:  # noqa: ASYNC110 - Redis is asked
            await asyncio.sleep(_CONFIRM_EVERY_S)
        await shipper.close()
        await self._signs.let_go(journal.id)
        # First the journal, then its mark: a journal without one would be booked all over again.
        await asyncio.to_thread(journal.remove)
        with contextlib.suppress(RedisUnavailable, RedisReplyError):
            await self._limits.forget_journal(journal.id)
        log.info("orphaned journal booked", extra={"journal": journal.id})

    async def close(self) -> None:
        if self._shipper is not None:
            await self._shipper.close()
        await asyncio.to_thread(self._journal.close)

    async def _take_stock(self) -> Shipper:
        journal = self._journal
        booked = await self._limits.mark_of(journal.id)
        found = await asyncio.to_thread(self._read)
        known = await self._booked_of(found) if booked else set()
        self._open.extend(call for call in found if call.entry.id not in known)
        if found:
            log.warning("calls were cut off", extra={"journal": journal.id, "calls": len(self._open)})
        journal.advance(booked)
        shipper = Shipper(journal, self._limits, self._clock, self._known, booked=booked)
        # First what is written: entries that follow take their place behind it.
        shipper.catch_up()
        return shipper

    def _read(self) -> list[OpenCall]:
        return open_calls(self._journal.id, (text for _, text in self._journal.read()))

    async def _booked_of(self, calls: list[OpenCall]) -> set[str]:
        """Which of these are in the ledger all the same: their last record was lost after it was booked."""
        if not calls or self._ledger is None:
            return set()
        ids = {call.entry.id for call in calls}
        since = Filter(since_s=min(call.entry.at_s for call in calls))
        return {line.entry.id async for line in self._ledger.lines(since) if line.entry.id in ids}

    async def _close_calls(self, shipper: Shipper) -> None:
        """Calls whose cost can be asked for are, the others are charged what they have reserved."""
        while self._open:
            call = self._open.popleft()
            if call.held:
                self._limits.ended(str(call.number), self._journal.id)
            if call.generation_id:
                self._asked += 1
                self._settler.ask(call.key_id, call.generation_id, partial(self._answered, call))
            else:
                self._answers.append((call, None))
        while self._answers or self._asked:
            while self._answers:
                self._book(shipper, *self._answers[0])
                self._answers.popleft()
            if self._asked:
                await self._news.wait()
                self._news.clear()

    def _answered(self, call: OpenCall, usage: Usage | None) -> None:
        self._asked -= 1
        self._answers.append((call, usage))
        self._news.set()

    def _book(self, shipper: Shipper, call: OpenCall, usage: Usage | None) -> None:
        entry = priced(call.entry, usage, call.tokens)
        doubtful = tokens_charged(usage, *call.tokens) if usage is not None and usage.flags else (0, 0)
        closed = Closed(call.number, msgspec.Raw(entry_packed(entry)), call.held, call.spenders, *doubtful, call.purses)
        sequence = self._journal.append(packed(closed))
        shipper.ship(Parcel(sequence, closed, entry), soon=call.held)
