"""An append-only log of records that outlives its process: segments on disk, one owner, group commit.

One folder per log, named by its id: a `lock` that the owner holds (flock) and numbered segments. Knows nothing of what
the records say. Used from one thread; a second one does the disk work.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from weakref import WeakSet

from app.core.clock import Clock, SystemClock
from app.core.log_disk import LogDisk, unlink
from app.core.log_index import LogIndex
from app.core.log_lock import LOCK, alone, take
from app.core.log_segment import FRAME_BYTES, HEADER_BYTES, SUFFIX, LogFull, Segment, frame, sync_folder
from app.core.tasks import TaskSet

__all__ = ["CommitLog", "LogClosed", "LogFull"]

log = logging.getLogger(__name__)

_SEGMENT_BYTES: Final = 4 * 1024 * 1024
_ID: Final = re.compile(r"[0-9a-f]{16}")
_PATIENCE_S: Final = 1.0  # how long an append may wait for a segment that should have been ready


class LogClosed(RuntimeError):  # noqa: N818 - a condition
    """The log is not open in this process: it was closed or removed, or this is a fork of its owner."""


class CommitLog:
    """Made by `create` or `orphans`. Records are appended, read by whoever passes them on, and in the end forgotten.

    Fork: the child has no log, every use raises LogClosed; the parent's is untouched, and dies with the parent.
    """

    def __init__(self, place: Path, lock: int, segment_bytes: int, index: LogIndex, clock: Clock) -> None:
        self.id: Final = place.name
        self._place = place
        self._lock = lock
        self._index = index
        self._disk = LogDisk(place, segment_bytes, clock, durable=index.last, serial=index.serial)
        self._last = index.last
        self._capacity = segment_bytes - HEADER_BYTES
        self._live: Segment | None = None
        self._write: Callable[[bytes], int]
        self._seed = 0
        # How many bytes go into the live segment before `_make_room` is asked, and how many it then still has to give.
        self._room = self._held_back = 0
        self._round: asyncio.Future[None] | None = None
        self._tasks = TaskSet()
        self._ticking: asyncio.Task[None] | None = None
        self._closed = False
        _open_here.add(self)

    @classmethod
    def create(cls, folder: Path, *, segment_bytes: int = _SEGMENT_BYTES, clock: Clock | None = None) -> CommitLog:
        """A new log with an id of its own. Waits for the disk. Raises LogFull, OSError."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        with alone(folder):
            place = folder / secrets.token_hex(8)
            place.mkdir(mode=0o700)
            lock = take(place)
        if lock is None:
            raise OSError("a new log has an owner already")
        made = cls(place, lock, segment_bytes, LogIndex(place.name), clock or SystemClock())
        try:
            made._roll(None)
            sync_folder(folder)
            sync_folder(folder.parent)
        except OSError:
            made.remove()
            raise
        return made

    @classmethod
    def orphans(
        cls, folder: Path, *, segment_bytes: int = _SEGMENT_BYTES, clock: Clock | None = None
    ) -> list[CommitLog]:
        """The logs that had no owner; now we are it. Reads them through: not for the event loop's thread."""
        if not folder.is_dir():
            return []
        with alone(folder):
            places = sorted(path for path in folder.iterdir() if _ID.fullmatch(path.name) and path.is_dir())
            claimed = [(place, lock) for place in places if (lock := _claim(place)) is not None]
        found = (cls._adopt(place, lock, segment_bytes, clock or SystemClock()) for place, lock in claimed)
        return [orphan for orphan in found if orphan is not None]

    @classmethod
    def _adopt(cls, place: Path, lock: int, segment_bytes: int, clock: Clock) -> CommitLog | None:
        try:
            index = LogIndex.load(place)
        except OSError as error:
            _unusable(place, error)
            os.close(lock)
            return None
        orphan = cls(place, lock, segment_bytes, index, clock)
        if index.kept:
            return orphan
        if index.damaged:
            orphan.close()  # for a person to look at
        else:
            orphan.remove()
        return None

    @property
    def last(self) -> int:
        """The highest sequence number given so far."""
        return self._last

    @property
    def durable(self) -> int:
        """Up to which number a power cut does no harm."""
        return self._disk.durable

    @property
    def full(self) -> bool:
        """Whether the disk had no room for the next segment. Appends go on for what is left of the present one."""
        return self._disk.lack is not None

    def append(self, record: bytes) -> int:
        """Its sequence number. On return it outlives the process. Raises LogFull, and then nothing has changed."""
        size = len(record) + FRAME_BYTES
        if size > self._room:
            self._make_room(size)
        sequence = self._last + 1
        self._write(frame(record, sequence, self._seed))
        self._room -= size
        self._last = sequence
        return sequence

    async def synced(self) -> None:
        """Everything appended so far is on disk. One sync serves all that wait.

        A sync that fails raises OSError to all that wait for it: a power cut may then take what it was to save. It is
        not tried again (the kernel would claim success the second time), but new records go to a new segment.
        """
        target = self._last
        while self._disk.durable < target:
            self._check_open()
            await asyncio.shield(self._round or self._begin_round())

    def read(self, after: int = 0) -> Iterator[tuple[int, bytes]]:
        """What is kept behind this number, in order, up to the last record of now. What is torn or corrupt ends a
        segment, and the log if it is the last one. To go on where the last reading ended needs no search.
        """
        self._check_open()
        return self._index.read(after, self._last)

    def forget(self, until: int) -> None:
        """Everything up to this number may go. Whole segments do, soon after."""
        self._check_open()
        if gone := self._index.drop(until, spare_last=self._live is not None, last=self._last):
            self._disk.delete(gone)

    def advance(self, number: int) -> None:
        """No later record gets this number or a lower one: for an orphan whose lost tail is known elsewhere."""
        if number > self._last:
            self._check_open()
            self._last = number
            self._room = self._held_back = 0  # a segment has no gaps: the next record begins a new one

    async def start_sync(self, every_s: float = 1.0) -> None:
        """From now until `close` nothing stays unsynced for longer than this and the sync's own time."""
        if self._ticking is None:
            self._ticking = self._tasks.spawn(self._keep_synced(every_s), "commit-log-sync")

    def close(self) -> None:
        """Brings everything to disk and gives the log up: an orphan then. Blocks. A second time does nothing."""
        if not self._closed:
            self._end(sync=True)
            os.close(self._lock)

    def remove(self) -> None:
        """Closes it and deletes its files, the oldest first: removal cut short leaves a log that forgot more."""
        self._check_open()
        self._end(sync=False)
        with alone(self._place.parent):
            unlink([*sorted(self._place.glob(f"*{SUFFIX}")), self._place / LOCK])
            with contextlib.suppress(OSError):
                self._place.rmdir()
        os.close(self._lock)

    def _check_open(self) -> None:
        if self._closed:
            raise LogClosed("the log is closed")

    def _make_room(self, size: int) -> None:
        self._check_open()
        if size > self._capacity:
            raise ValueError("record longer than a segment")
        if self._held_back:
            self._room += self._held_back
            self._held_back = 0
            self._disk.prepare()
        if size > self._room:
            self._roll(_PATIENCE_S)
        if size > self._room:  # more than half a segment
            self._make_room(size)

    def _roll(self, patience_s: float | None) -> None:
        """Goes over to a new segment. Raises LogFull, and then nothing has changed."""
        segment = self._disk.take(patience_s)
        try:
            header = segment.begin(self.id, self._last + 1)
        except LogFull:
            segment.discard()
            raise
        if self._live is not None:
            self._disk.seal(self._live)
        self._live, self._write, self._seed = segment, segment.write, header.seed
        self._index.add(segment.path, header)
        self._room = self._capacity // 2
        self._held_back = self._capacity - self._room

    def _begin_round(self) -> asyncio.Future[None]:
        self._round = asyncio.wrap_future(self._disk.sync(self._live, self._last))
        self._round.add_done_callback(self._end_round)
        return self._round

    def _end_round(self, ended: asyncio.Future[None]) -> None:
        self._round = None
        if not ended.cancelled() and isinstance(error := ended.exception(), OSError):
            log.error("journal sync failed", extra={"journal": self.id, "error": error.strerror})
            self._room = self._held_back = 0  # this segment is not to be trusted with more

    async def _keep_synced(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            if self._live is not None and not self._held_back:
                self._disk.prepare()  # after a failure: the disk may have room again
            with contextlib.suppress(OSError):  # told by `_end_round`
                await self.synced()

    def _end(self, *, sync: bool) -> None:
        self._closed = True
        self._room = self._held_back = 0
        if self._ticking is not None:
            self._ticking.cancel()
        self._disk.end(self._live, self._last if sync else None)
        self._live = None

    def _leave_to_parent(self) -> None:
        """In a forked child. An unlock here would be the parent's; a close is not."""
        if not self._closed:
            self._closed = True
            self._room = self._held_back = 0
            self._disk.drop(self._live)
            self._live = None
            os.close(self._lock)


def _claim(place: Path) -> int | None:
    try:
        return take(place)
    except OSError as error:  # one log's trouble is not the others'
        _unusable(place, error)
        return None


def _unusable(place: Path, error: OSError) -> None:
    log.error("journal not usable", extra={"journal": place.name, "error": error.strerror})


_open_here: Final[WeakSet[CommitLog]] = WeakSet()


def _forked() -> None:
    for each in list(_open_here):
        each._leave_to_parent()  # noqa: SLF001 - its own class


os.register_at_fork(after_in_child=_forked)
