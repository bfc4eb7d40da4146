"""Brings the closed calls of one journal to Redis, in order, each exactly once, however often it has to be sent.

The journal is the truth until Redis has booked an entry, and is kept for a while after that: if a failover loses the
last bookings, Redis' own mark tells where to begin again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterator
from heapq import merge
from typing import Final

from app.core.clock import Clock
from app.core.commit_log import CommitLog
from app.core.redis import RedisUnavailable
from app.core.tasks import TaskSet
from app.models.ledger import Entry
from app.services.cells import deltas
from app.services.limit_script import Batch, Settled
from app.services.limits import Limits
from app.services.settle_records import Closed, closed_in, entry_of
from app.services.spending import purse_notes, purse_sums, sums_of

log = logging.getLogger(__name__)

_BATCH_S: Final = 0.05
_RETRY_S: Final = 0.5
_MOST_AT_ONCE: Final = 500
_MOST_IN_MEMORY: Final = 20_000
_KEPT_S: Final = 60.0
# Redis' first mark of a journal. No call has this number, so the batch that sets it can come late or twice: all others
# move on from a mark that is there, and none of them does anything once the mark is gone with the journal.
_FIRST_MARK: Final = 1


class Parcel:
    """A closed call on its way."""

    __slots__ = ("closed", "entry", "sequence")

    def __init__(self, sequence: int, closed: Closed, entry: Entry) -> None:
        self.sequence = sequence
        self.closed = closed
        self.entry = entry


class Shipper:
    """`known`: whether a model's name is one of the catalogue, and may stand in sums. `booked`: Redis' mark."""

    def __init__(
        self, journal: CommitLog, limits: Limits, clock: Clock, known: Callable[[str], bool], *, booked: int = 0
    ) -> None:
        self._journal = journal
        self._limits = limits
        self._clock = clock
        self._known = known
        self._tasks = TaskSet()
        self._queue: deque[Parcel] = deque()
        self._unwritten: deque[Parcel] = deque(maxlen=_MOST_IN_MEMORY)
        self._booked = booked
        self._behind = False  # the journal holds more than the queue
        self._waker = asyncio.Event()
        self._done = asyncio.Event()
        self._done.set()
        self._running = False
        # When which mark was reached, and the last of those that were reached long ago.
        self._reached: deque[tuple[float, int]] = deque()
        self._old = 0
        if booked:
            self._note(booked)

    @property
    def booked(self) -> int:
        """Everything of the journal up to here is in Redis."""
        return self._booked

    @property
    def waiting(self) -> int:
        """How many closed calls are known to wait; the journal may hold more."""
        return len(self._queue)

    @property
    def idle(self) -> bool:
        return not self._queue and not self._behind

    def ship(self, parcel: Parcel, *, soon: bool, written: bool = True) -> None:
        """`soon`: others wait for what it has reserved. `written`: the journal holds it."""
        if not written:
            self._unwritten.append(parcel)
        if self._behind or len(self._queue) >= _MOST_IN_MEMORY:
            self._behind = True
        else:
            self._queue.append(parcel)
        if soon:
            self._waker.set()
        self._run()

    def catch_up(self) -> None:
        """Ships what the journal holds already."""
        self._behind = True
        self._run()

    async def done(self) -> None:
        """Returns when all that there is has been booked."""
        await self._done.wait()

    async def drain(self, within_s: float) -> bool:
        """Whether everything was booked in this time."""
        self._waker.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._done.wait()
        return self._done.is_set()

    async def confirm(self) -> int:
        """Up to where the journal may be forgotten: it was booked a while ago, and Redis says so still. What Redis has
        lost is sent again. Raises RedisUnavailable, RedisReplyError.
        """
        before = self._booked
        mark = await self._limits.mark_of(self._journal.id)
        if mark < before and mark < self._booked:
            self._begin_again(mark)
        if not self.idle:
            self._run()
        until_s = self._clock.monotonic_s() - _KEPT_S
        while self._reached and self._reached[0][0] <= until_s:
            self._old = self._reached.popleft()[1]
        while self._unwritten and self._unwritten[0].sequence <= self._old:
            self._unwritten.popleft()
        return min(self._old, mark)

    async def close(self) -> None:
        await self._tasks.close()

    # ---- one batch after the other

    def _run(self) -> None:
        self._done.clear()
        if not self._running:
            self._running = True
            self._tasks.spawn(self._go_on(), "books: ship")

    async def _go_on(self) -> None:
        try:
            while not self.idle:
                await self._pause()
                if not await self._ship_batch():
                    await asyncio.sleep(_RETRY_S)
            self._done.set()
        finally:
            self._running = False

    async def _pause(self) -> None:
        """A batch gathers, unless somebody waits for it or it is full."""
        if not self._waker.is_set() and not self._behind and len(self._queue) < _MOST_AT_ONCE:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_BATCH_S):
                    await self._waker.wait()
        self._waker.clear()

    async def _ship_batch(self) -> bool:
        """False where Redis is away."""
        if self._behind and len(self._queue) < _MOST_AT_ONCE:
            self._read_on()
        parcels = [self._queue[place] for place in range(min(_MOST_AT_ONCE, len(self._queue)))]
        if not parcels:
            return True
        try:
            mark = await self._limits.settle(self._batch(parcels))
        except RedisUnavailable:
            return False
        if mark < self._booked:
            self._begin_again(mark)
            return True
        self._booked = mark
        self._note(mark)
        while self._queue and self._queue[0].sequence <= mark:
            self._queue.popleft()
        return True

    def _batch(self, parcels: list[Parcel]) -> Batch:
        if not self._booked and parcels[0].sequence > _FIRST_MARK:
            return Batch(self._journal.id, 0, _FIRST_MARK)
        entries = [parcel.entry for parcel in parcels]
        spent = [(parcel.entry, parcel.closed.purses) for parcel in parcels]
        return Batch(
            self._journal.id,
            self._booked,
            parcels[-1].sequence,
            [_settled(parcel) for parcel in parcels if parcel.closed.held],
            sums_of(entries) + purse_sums(spent),
            [bytes(parcel.closed.entry) for parcel in parcels],
            deltas(entries, self._known) + purse_notes(spent),
            list({name for parcel in parcels if parcel.entry.cost_nano for name in parcel.closed.spenders}),
        )

    def _note(self, mark: int) -> None:
        """One note a second is enough."""
        now_s = self._clock.monotonic_s()
        if self._reached and now_s - self._reached[-1][0] < 1.0:
            now_s = self._reached.pop()[0]
        self._reached.append((now_s, mark))

    def _begin_again(self, mark: int) -> None:
        """Redis has lost bookings, and says from where on."""
        log.warning("bookings were lost", extra={"journal": self._journal.id, "from": mark, "to": self._booked})
        self._booked = mark
        self._queue.clear()
        self._reached.clear()
        self._behind = True

    def _read_on(self) -> None:
        """Fills the queue from the journal, behind what it holds already, and no further than a batch needs."""
        after = self._queue[-1].sequence if self._queue else self._booked
        self._behind = False
        parcels = self._journalled(after)
        if self._unwritten:
            unwritten = [parcel for parcel in self._unwritten if parcel.sequence > after]
            parcels = merge(parcels, unwritten, key=lambda parcel: parcel.sequence)
        for parcel in parcels:
            if len(self._queue) >= _MOST_AT_ONCE:
                self._behind = True
                return
            self._queue.append(parcel)

    def _journalled(self, after: int) -> Iterator[Parcel]:
        for sequence, text in self._journal.read(after):
            if (closed := closed_in(text)) is None:
                continue
            if (entry := entry_of(closed)) is None:
                log.error("journalled entry unreadable", extra={"journal": self._journal.id, "sequence": sequence})
                continue
            yield Parcel(sequence, closed, entry)


def _settled(parcel: Parcel) -> Settled:
    closed, entry = parcel.closed, parcel.entry
    return Settled(
        str(closed.number),
        max(entry.input_tokens, closed.input_tokens),
        max(entry.output_tokens, closed.output_tokens),
        entry.cost_nano,
    )
