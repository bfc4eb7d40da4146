"""Closes the calls of processes that died: their journals are taken over, and what is in them is booked to its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from app.core.clock import Clock
from app.core.commit_log import CommitLog, LogFull
from app.core.redis import RedisReplyError, RedisUnavailable
from app.core.tasks import TaskSet
from app.models.ledger import CostKind, Entry
from app.models.usage import Usage
from app.services.books import with_usage
from app.services.limits import Limits
from app.services.settle_records import Closed, Named, Sent, cut_off, entry_packed, packed, unpacked, unproven
from app.services.settlement import Parcel, Shipper
from app.services.settler import Settler
from app.services.signs_of_life import SignsOfLife

log = logging.getLogger(__name__)

_LOOK_EVERY_S: Final = 30.0
_RETRY_S: Final = 1.0


class Recovery:
    """Looks for orphans at the start and every half a minute: another process on this folder may die while we live."""

    def __init__(
        self,
        folder: Path,
        limits: Limits,
        signs: SignsOfLife,
        settler: Settler,
        clock: Clock,
        known: Callable[[str], bool],
    ) -> None:
        self._folder = folder / "journal"
        self._limits = limits
        self._signs = signs
        self._settler = settler
        self._clock = clock
        self._known = known
        self._tasks = TaskSet()
        self._taken: set[_Estate] = set()

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
                for journal in await asyncio.to_thread(CommitLog.orphans, self._folder, clock=self._clock):
                    estate = _Estate(journal, self._limits, self._signs, self._settler, self._clock, self._known)
                    self._taken.add(estate)
                    self._tasks.spawn(self._end(estate), "books: close an orphan")
            except OSError as error:
                log.error("journals cannot be read", extra={"errno": error.errno})  # noqa: TRY400 - no frames
            await asyncio.sleep(_LOOK_EVERY_S)

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
    ) -> None:
        self._journal = journal
        self._limits = limits
        self._signs = signs
        self._settler = settler
        self._clock = clock
        self._known = known
        self._shipper: Shipper | None = None
        self._asked = 0
        self._answered = asyncio.Event()

    async def end(self) -> None:
        """Returns when all of it is booked, and the journal gone. Raises RedisUnavailable, and can be called again."""
        journal = self._journal
        await self._signs.keep(journal.id)
        shipper = self._shipper
        if shipper is None:
            booked = await self._limits.mark_of(journal.id)
            journal.advance(booked)
            shipper = self._shipper = Shipper(journal, self._limits, self._clock, self._known, booked=booked)
            # First what is written: entries that follow take their place behind it.
            shipper.catch_up()
            self._close_open_calls(shipper)
        await self._answered.wait()
        await shipper.done()
        await shipper.close()
        await self._limits.forget_journal(journal.id)
        self._signs.let_go(journal.id)
        await asyncio.to_thread(journal.remove)
        log.info("journal of a dead worker booked", extra={"journal": journal.id})

    async def close(self) -> None:
        if self._shipper is not None:
            await self._shipper.close()
        await asyncio.to_thread(self._journal.close)

    def _close_open_calls(self, shipper: Shipper) -> None:
        sent: dict[int, Sent] = {}
        names: dict[int, str] = {}
        for _, text in self._journal.read():
            record = unpacked(text)
            if isinstance(record, Sent):
                sent[record.number] = record
            elif isinstance(record, Named):
                names[record.number] = record.generation_id
            elif isinstance(record, Closed):
                sent.pop(record.number, None)
        if sent:
            log.warning("calls were cut off", extra={"journal": self._journal.id, "calls": len(sent)})
        for record in sent.values():
            self._close_call(shipper, record, names.get(record.number, ""))
        self._note_answers()

    def _note_answers(self) -> None:
        if not self._asked:
            self._answered.set()

    def _close_call(self, shipper: Shipper, sent: Sent, generation_id: str) -> None:
        entry = cut_off(self._journal.id, sent, generation_id)
        if sent.held:
            self._limits.ended(str(sent.number), self._journal.id)
        if not generation_id:
            self._book(shipper, sent, unproven(entry, (sent.input_tokens, sent.output_tokens)))
            return
        self._asked += 1

        def found(usage: Usage | None) -> None:
            self._asked -= 1
            if usage is None:
                self._book(shipper, sent, unproven(entry, (sent.input_tokens, sent.output_tokens)))
            else:
                looked_up = msgspec.structs.replace(with_usage(entry, usage), cost_kind=CostKind.LOOKED_UP)
                self._book(shipper, sent, looked_up)
            self._note_answers()

        self._settler.ask(sent.key_id, generation_id, found)

    def _book(self, shipper: Shipper, sent: Sent, entry: Entry) -> None:
        closed = Closed(sent.number, msgspec.Raw(entry_packed(entry)), sent.held, sent.spenders)
        sequence = self._journal.append(packed(closed))
        shipper.ship(Parcel(sequence, closed, entry), soon=sent.held)
