"""Brings the closed calls of one journal to Redis, in order, each exactly once, however often it has to be sent.

The journal is the truth until Redis has booked an entry, and is kept for a while after that: if a failover loses the
last bookings, Redis' own mark tells where to begin again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final

from app.core.clock import Clock
from app.core.commit_log import CommitLog
from app.core.redis import RedisUnavailable
from app.core.tasks import TaskSet
from app.models.ledger import Entry
from app.services.cells import deltas
from app.services.limit_script import Batch, Settled
from app.services.limits import Limits
from app.services.settle_records import Closed, entry_of, unpacked
from app.services.spending import sums_of

log = logging.getLogger(__name__)

_BATCH_S: Final = 0.05
_RETRY_S: Final = 0.5
_MOST_AT_ONCE: Final = 500
_MOST_IN_MEMORY: Final = 20_000
_KEPT_S: Final = 60.0


class Parcel:
    """A closed call on its way."""

    __slots__ = ("closed", "entry", "sequence")

    def __init__(self, sequence: int, closed: Closed, entry: Entry) -> None:
        self.sequence = sequence
        self.closed = closed
        self.entry = entry


class Shipper:
    """`known`: whether a model's name is one of the catalogue, and may stand in sums."""

    def __init__(
        self, journal: CommitLog, limits: Limits, clock: Clock, known: Callable[[str], bool], *, booked: int = 0
    ) -> None:
        self._journal = journal
        self._limits = limits
        self._clock = clock
        self._known = known
        self._tasks = TaskSet()
        self._queue: deque[Parcel] = deque()
        self._booked = booked
        self._behind = False  # the journal holds more than the queue
        self._waker = asyncio.Event()
        self._done = asyncio.Event()
        self._done.set()
        self._running = False
        self._kept: deque[tuple[float, int]] = deque()

    @property
    def booked(self) -> int:
        """Everything of the journal up to here is in Redis."""
        return self._booked

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def idle(self) -> bool:
        return not self._queue and not self._behind

    def ship(self, parcel: Parcel, *, soon: bool) -> None:
        """`soon`: others wait for what it has reserved."""
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

    def _run(self) -> None:
        self._done.clear()
        if not self._running:
            self._running = True
            self._tasks.spawn(self._go_on(), "books: ship")

    async def done(self) -> None:
        """Returns when all that there is has been booked."""
        await self._done.wait()

    def forgettable(self) -> int:
        """Up to where the journal may be forgotten, as far as bookings go."""
        now_s = self._clock.monotonic_s()
        done = 0
        while self._kept and self._kept[0][0] <= now_s - _KEPT_S:
            done = self._kept.popleft()[1]
        return done

    async def drain(self, within_s: float) -> bool:
        """Whether everything was booked in this time."""
        self._waker.set()
        try:
            async with asyncio.timeout(within_s):
                await self._done.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        await self._tasks.close()

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
        if not self._waker.is_set() and len(self._queue) < _MOST_AT_ONCE:
            try:
                async with asyncio.timeout(_BATCH_S):
                    await self._waker.wait()
            except TimeoutError:
                pass
        self._waker.clear()

    async def _ship_batch(self) -> bool:
        """False where Redis is away."""
        if self._behind and len(self._queue) < _MOST_AT_ONCE:
            self._read_on()
        parcels = [self._queue[place] for place in range(min(_MOST_AT_ONCE, len(self._queue)))]
        if not parcels:
            return True
        upto = parcels[-1].sequence
        try:
            mark = await self._limits.settle(self._batch(parcels, upto))
        except RedisUnavailable:
            return False
        if mark < self._booked:
            self._begin_again(mark)
            return True
        self._booked = mark
        self._kept.append((self._clock.monotonic_s(), mark))
        while self._queue and self._queue[0].sequence <= mark:
            self._queue.popleft()
        return True

    def _batch(self, parcels: list[Parcel], upto: int) -> Batch:
        entries = [parcel.entry for parcel in parcels]
        return Batch(
            self._journal.id,
            self._booked,
            upto,
            [_settled(parcel) for parcel in parcels if parcel.closed.held],
            sums_of(entries),
            [bytes(parcel.closed.entry) for parcel in parcels],
            deltas(entries, self._known),
            list({name for parcel in parcels if parcel.entry.cost_nano for name in parcel.closed.spenders}),
        )

    def _begin_again(self, mark: int) -> None:
        """Redis has lost bookings, and says from where on."""
        log.warning("bookings were lost", extra={"journal": self._journal.id, "from": mark, "to": self._booked})
        self._booked = mark
        self._queue.clear()
        self._kept.clear()
        self._behind = True

    def _read_on(self) -> None:
        """Fills the queue from the journal, behind what it holds already."""
        after = self._queue[-1].sequence if self._queue else self._booked
        self._behind = False
        for sequence, text in self._journal.read(after):
            if (parcel := parcel_of(sequence, text)) is None:
                continue
            if len(self._queue) >= _MOST_IN_MEMORY // 2:
                self._behind = True
                return
            self._queue.append(parcel)


def parcel_of(sequence: int, text: bytes) -> Parcel | None:
    """None for a record that is not a closed call."""
    closed = unpacked(text)
    if not isinstance(closed, Closed):
        return None
    entry = entry_of(closed)
    if entry is None:
        log.error("journalled entry unreadable", extra={"sequence": sequence})
        return None
    return Parcel(sequence, closed, entry)


def _settled(parcel: Parcel) -> Settled:
    entry = parcel.entry
    return Settled(str(parcel.closed.number), entry.input_tokens, entry.output_tokens, entry.cost_nano)
