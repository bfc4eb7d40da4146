"""The books of one worker: every call that was let in is closed exactly once, whatever dies.

What is needed to close a call is in the journal before the call goes upstream, and the id under which its cost can be
asked for before its first byte goes to the caller. Decides no limit and sends nothing to Redis itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from app.core.clock import Clock
from app.core.commit_log import CommitLog, LogFull
from app.core.errors import Fault, GatewayError
from app.core.redis import RedisReplyError, RedisUnavailable
from app.core.tasks import TaskSet
from app.models.ledger import CostKind, Entry
from app.models.usage import Usage
from app.services.account import Account
from app.services.limits import Limits
from app.services.settle_records import (
    OPENED,
    Closed,
    Named,
    Sent,
    Unpriced,
    entry_packed,
    packed,
    priced,
    unproven,
    with_usage,
)
from app.services.settlement import Parcel, Shipper
from app.services.settler import Settler
from app.services.usage import tokens_charged

log = logging.getLogger(__name__)

_TIDY_EVERY_S: Final = 10.0
# A call that runs for so many records holds back the whole journal: it is written down once more.
_CARRY_AFTER: Final = 50_000
_DRAIN_S: Final = 5.0


class Books:
    """Made for one journal. `sync`: nothing goes to a caller before what proves it is on disk. `heard` is told of each
    call that is closed.
    """

    def __init__(
        self,
        journal: CommitLog,
        limits: Limits,
        settler: Settler,
        clock: Clock,
        known: Callable[[str], bool],
        *,
        sync: bool = False,
        heard: Callable[[Entry], None] = lambda _entry: None,
    ) -> None:
        self._journal = journal
        self._limits = limits
        self._settler = settler
        self.sync = sync
        self._heard = heard
        self.unwritten = 0
        """How many calls went on though the disk had no room for them."""
        self._number = 0
        self._open: dict[int, Account] = {}
        self._unpriced: dict[int, bytes] = {}
        self._full = self._closing = False
        self._tasks = TaskSet()
        self.shipper = Shipper(journal, limits, clock, known)
        journal.append(OPENED)

    @classmethod
    async def journal_in(cls, folder: Path, clock: Clock) -> CommitLog:
        """A new journal for this worker. Raises LogFull, OSError."""
        return await asyncio.to_thread(CommitLog.create, folder / "journal", clock=clock)

    async def start(self) -> None:
        await self._journal.start_sync(1.0)
        self._tasks.spawn(self._tidy(), "books: tidy the journal")

    async def close(self) -> None:
        """Books what is closed. What is left stays in the journal, and the next start goes on with it."""
        await self._tasks.close()
        booked = await self.shipper.drain(_DRAIN_S)
        self._closing = True
        await self.shipper.close()
        if not booked or self._open:
            log.info("journal is kept", extra={"open": len(self._open), "unbooked": self.shipper.waiting})
            await asyncio.to_thread(self._journal.close)
            return
        # First the journal, then its mark: a journal without one would be booked all over again.
        await asyncio.to_thread(self._journal.remove)
        with contextlib.suppress(RedisUnavailable, RedisReplyError):
            await self._limits.forget_journal(self._journal.id)

    @property
    def open_calls(self) -> int:
        return len(self._open)

    @property
    def reserved_nano(self) -> int:
        """Of the calls under way."""
        return sum(account.nano for account in self._open.values() if account.held)

    # ---- the life of a call

    def open(self) -> Account:
        self._number += 1
        return Account(self._number, self._journal.id)

    def sending(self, account: Account, sent: Sent) -> None:
        """Before each try. Raises GatewayError where the disk is full and the call has reserved something.

        A disk counts as full while there is room left: that is for the calls that are under way.
        """
        sequence = 0 if self._journal.full else self._append(packed(sent))
        self._tell_room(bool(sequence))
        if not sequence:
            if account.held:
                raise journal_full()
            self.unwritten += 1
        elif not account.first_sequence:
            account.first_sequence = sequence
            self._open[account.number] = account
        account.sent = sent

    def named(self, account: Account, generation_id: str) -> None:
        """Before the first byte of the answer goes to the caller. In place of a generation, a job's path."""
        account.generation_id = generation_id
        self._append(packed(Named(account.number, generation_id)))

    async def proven(self) -> None:
        """What was written down is on disk, if that is to be waited for. Raises GatewayError."""
        if self.sync:
            try:
                await self._journal.synced()
            except OSError:
                raise journal_full() from None

    def settle(self, account: Account, entry: Entry, usage: Usage | None, *, billable: bool) -> None:
        """Closes the call, once. `billable`: upstream may have charged for it."""
        if account.closed:
            return
        account.closed = True
        sent = account.sent
        if sent is not None and entry.key_id != sent.key_id:  # the last key asked, whatever came of it
            entry = msgspec.structs.replace(entry, key_id=sent.key_id)
        if usage is not None and usage.cost_nano is not None:
            self._close(account, with_usage(entry, usage, CostKind.REPORTED), usage)
            return
        if usage is not None:
            entry = with_usage(entry, usage)
        if not billable or sent is None:
            self._close(account, entry, usage)
        elif account.generation_id:
            self._look_up(account, entry, sent.key_id)
        else:
            self._close(account, unproven(entry, account.tokens), usage)

    def _look_up(self, account: Account, entry: Entry, key_id: str) -> None:
        """What it has reserved stays until then, but for its place among the running calls."""
        if account.held:
            self._limits.ended(account.hold)
        raw = msgspec.Raw(entry_packed(entry))
        unpriced = packed(Unpriced(account.number, raw, account.held, account.spenders, account.purses))
        self._append(unpriced)
        self._unpriced[account.number] = unpriced

        def found(usage: Usage | None) -> None:
            if not self._closing:  # else the journal's heir asks again
                self._unpriced.pop(account.number, None)
                self._close(account, priced(entry, usage, account.tokens), usage)

        self._settler.ask(key_id, account.generation_id, found)

    def _close(self, account: Account, entry: Entry, usage: Usage | None) -> None:
        doubtful = tokens_charged(usage, *account.tokens) if usage is not None and usage.flags else (0, 0)
        raw = msgspec.Raw(entry_packed(entry))
        closed = Closed(account.number, raw, account.held, account.spenders, *doubtful, account.purses)
        sequence = self._append(packed(closed))
        written = bool(sequence)
        if not written:
            # It goes to Redis from memory, under a number of its own.
            sequence = self._journal.last + 1
            self._journal.advance(sequence)
        self._open.pop(account.number, None)
        if account.held:
            self._limits.closed(account.hold, entry.cost_nano)
        self.shipper.ship(Parcel(sequence, closed, entry), soon=account.held, written=written)
        self._heard(entry)

    def _append(self, record: bytes) -> int:
        """0 where the disk is full."""
        try:
            return self._journal.append(record)
        except LogFull:
            self._tell_room(False)
            return 0

    def _tell_room(self, room: bool) -> None:
        if room is self._full:
            self._full = not room
            if room:
                log.info("journal writes again", extra={"unwritten": self.unwritten})
            else:
                log.error("journal is full", extra={"journal": self._journal.id})

    # ---- the journal's size

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(_TIDY_EVERY_S)
            self._carry()
            with contextlib.suppress(RedisUnavailable, RedisReplyError):
                await self._forget()

    async def _forget(self) -> None:
        booked = await self.shipper.confirm()
        oldest = min((account.first_sequence for account in self._open.values()), default=self._journal.last + 1)
        if (until := min(booked, oldest - 1)) > 0:
            self._journal.forget(until)

    def _carry(self) -> None:
        far = self._journal.last - max(_CARRY_AFTER, 10 * len(self._open))
        for account in self._open.values():
            if account.sent is None or account.first_sequence > far or self._journal.full:
                continue
            if sequence := self._append(packed(account.sent)):
                if account.generation_id:
                    self._append(packed(Named(account.number, account.generation_id)))
                if (unpriced := self._unpriced.get(account.number)) is not None:
                    self._append(unpriced)
                account.first_sequence = sequence


def journal_full() -> GatewayError:
    return GatewayError(
        503,
        "journal_full",
        "The gateway cannot write down what this call will cost.",
        "The disk of the gateway is full: tell the people who run it.",
        fault=Fault.GATEWAY,
        headers=((b"retry-after", b"10"),),
    )
