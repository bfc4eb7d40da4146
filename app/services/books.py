"""The books of one worker: every call that was let in is closed exactly once, whatever dies.

What is needed to close a call is in the journal before the call goes upstream, and the id under which its cost can be
asked for before its first byte goes to the caller. Decides no limit and sends nothing to Redis itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from app.core.clock import Clock
from app.core.commit_log import CommitLog, LogFull
from app.core.errors import Fault, GatewayError
from app.core.tasks import TaskSet
from app.models.ledger import CostKind, Entry
from app.models.usage import Usage
from app.services.account import Account
from app.services.limits import Limits
from app.services.settle_records import Closed, Named, Sent, entry_packed, packed, unproven
from app.services.settlement import Parcel, Shipper
from app.services.settler import Settler

log = logging.getLogger(__name__)

_TIDY_EVERY_S: Final = 10.0
# A call that runs for so many records holds back the whole journal: it is written down once more.
_CARRY_AFTER: Final = 50_000
_DRAIN_S: Final = 5.0


class Books:
    """Made for one journal. `sync`: nothing goes to a caller before what proves it is on disk."""

    def __init__(
        self,
        journal: CommitLog,
        limits: Limits,
        settler: Settler,
        clock: Clock,
        known: Callable[[str], bool],
        *,
        sync: bool = False,
    ) -> None:
        self._journal = journal
        self._limits = limits
        self._settler = settler
        self._clock = clock
        self.sync = sync
        self._number = 0
        self._open: dict[int, Account] = {}
        self._full = False
        self._tasks = TaskSet()
        self.shipper = Shipper(journal, limits, clock, known)

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
        await self.shipper.close()
        if booked and not self._open:
            await asyncio.to_thread(self._journal.remove)
        else:
            log.info("journal is kept", extra={"open": len(self._open), "unbooked": self.shipper.waiting})
            await asyncio.to_thread(self._journal.close)

    @property
    def open_calls(self) -> int:
        return len(self._open)

    # ---- the life of a call

    def open(self) -> Account:
        self._number += 1
        return Account(self._number, self._journal.id)

    def sending(self, account: Account, sent: Sent) -> None:
        """Before each try. Raises GatewayError where the disk is full and the call has reserved something."""
        account.sent = sent
        sequence = self._append(packed(sent), must=account.held)
        if not account.first_sequence:
            account.first_sequence = sequence
            self._open[account.number] = account

    def named(self, account: Account, generation_id: str) -> None:
        """Before the first byte of the answer goes to the caller. In place of a generation, a job's path."""
        account.generation_id = generation_id
        self._append(packed(Named(account.number, generation_id)), must=False)

    async def proven(self) -> None:
        """What was written down is on disk, if that is to be waited for."""
        if self.sync:
            await self._journal.synced()

    def settle(self, account: Account, entry: Entry, usage: Usage | None, *, billable: bool) -> None:
        """Closes the call, once. The entry holds what `usage` says; `billable`: upstream may have charged for it."""
        if account.closed:
            return
        account.closed = True
        if (usage is not None and usage.cost_nano is not None) or not billable or account.sent is None:
            self._close(account, entry)
        elif account.generation_id:
            if account.held:
                self._limits.ended(account.hold)
            self._settler.ask(entry.key_id, account.generation_id, lambda found: self._found(account, entry, found))
        else:
            self._close(account, unproven(entry, account.tokens))

    def _found(self, account: Account, entry: Entry, usage: Usage | None) -> None:
        if usage is None:
            self._close(account, unproven(entry, account.tokens))
        else:
            self._close(account, msgspec.structs.replace(with_usage(entry, usage), cost_kind=CostKind.LOOKED_UP))

    def _close(self, account: Account, entry: Entry) -> None:
        closed = Closed(account.number, msgspec.Raw(entry_packed(entry)), account.held, account.spenders)
        sequence = self._append(packed(closed), must=False)
        if not sequence:
            # Nothing can be written: it goes to Redis from memory, under a number of its own.
            sequence = self._journal.last + 1
            self._journal.advance(sequence)
        self._open.pop(account.number, None)
        self.shipper.ship(Parcel(sequence, closed, entry), soon=account.held)

    def _append(self, record: bytes, *, must: bool) -> int:
        """0 where the disk is full."""
        try:
            sequence = self._journal.append(record)
        except LogFull as error:
            if not self._full:
                self._full = True
                log.error("journal is full", extra={"errno": error.errno})  # noqa: TRY400 - no frames of ours
            if must:
                raise journal_full() from None
            return 0
        if self._full:
            self._full = False
            log.info("journal writes again")
        return sequence

    # ---- the journal's size

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(_TIDY_EVERY_S)
            self._carry()
            oldest = min((account.first_sequence for account in self._open.values()), default=self._journal.last + 1)
            until = min(self.shipper.forgettable(), oldest - 1)
            if until > 0:
                self._journal.forget(until)

    def _carry(self) -> None:
        for account in self._open.values():
            if account.sent is not None and self._journal.last - account.first_sequence > _CARRY_AFTER:
                sequence = self._append(packed(account.sent), must=False)
                if account.generation_id:
                    self._append(packed(Named(account.number, account.generation_id)), must=False)
                account.first_sequence = sequence or account.first_sequence


def with_usage(entry: Entry, usage: Usage) -> Entry:
    return msgspec.structs.replace(
        entry,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        audio_tokens=usage.audio_tokens,
        image_tokens=usage.image_tokens,
        cost_nano=usage.cost_nano or 0,
        upstream_nano=usage.upstream_nano,
        flags=(*entry.flags, *usage.flags),
    )


def journal_full() -> GatewayError:
    return GatewayError(
        503,
        "journal_full",
        "The gateway cannot write down what this call will cost.",
        "The disk of the gateway is full: tell the people who run it.",
        fault=Fault.GATEWAY,
        headers=((b"retry-after", b"10"),),
    )
