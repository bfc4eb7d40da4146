"""The disk work of one commit log, on a thread of its own: the next segment made ahead, syncs, deletions.

Its jobs run in the order in which they were handed over. Knows nothing of records and sequences but a number to report.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

from app.core.clock import Clock
from app.core.log_segment import SUFFIX, LogFull, Segment

log = logging.getLogger(__name__)

_RETRY_S: Final = 0.25  # how often a full disk is asked again


class LogDisk:
    """What is not said to run on the thread is called by the log's owner."""

    def __init__(self, place: Path, segment_bytes: int, clock: Clock, *, durable: int, serial: int) -> None:
        self.durable = durable
        """Up to which number everything is known to be on disk."""
        self.lack: OSError | None = None
        """Why there is no next segment, since the last attempt to make one."""
        self._serial = serial
        self._place = place
        self._segment_bytes = segment_bytes
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="commit-log")
        self._next: Future[Segment] | None = None
        self._tried_at_s = 0.0
        self._sealed: list[Segment] = []  # full, open, and not yet handed to the thread
        self._failed: OSError | None = None  # a sync that failed, and that nobody was told of

    def prepare(self) -> None:
        """Has the next segment made, unless it is, or that failed only just now."""
        now_s = self._clock.monotonic_s()
        failed = self._next is not None and self._next.done() and self._next.exception() is not None
        if self._next is None or (failed and now_s - self._tried_at_s >= _RETRY_S):
            self._tried_at_s = now_s
            self._serial += 1
            self._next = self._thread.submit(self._make, self._take_sealed(), f"{self._serial:010d}{SUFFIX}")

    def take(self, patience_s: float | None) -> Segment:
        """The next segment. Raises LogFull. Once the disk was full or too slow nobody waits for it any more: it is
        asked again beside them.
        """
        known = self.lack
        self.prepare()
        if self._next is None or (known is not None and not self._next.done()):
            raise _full(known)
        try:
            segment = self._next.result(patience_s)
        except OSError as error:
            if self._next.done():
                raise _full(error) from None
            log.error("journal disk slow", extra={"journal": self._place.name})  # noqa: TRY400
            self.lack = OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
            raise _full(self.lack) from None
        self._next = self.lack = None
        return segment

    def seal(self, segment: Segment) -> None:
        """It is written no more; its last sync and its end are left to the thread."""
        self._sealed.append(segment)

    def sync(self, live: Segment | None, number: int) -> Future[None]:
        """A sync of all that was written so far, up to this number. It raises OSError if some of it may be lost."""
        return self._thread.submit(self._sync, self._take_sealed(), live, number)

    def delete(self, paths: list[Path]) -> None:
        self._thread.submit(unlink, paths)

    def end(self, live: Segment | None, number: int | None) -> None:
        """Waits for the thread, closes all segments, and before that syncs them if there is a number to report."""
        self._thread.shutdown(wait=True)
        if self._next is not None and self._next.exception() is None:
            self._next.result().discard()
        try:
            if number is not None:
                self._sync(self._take_sealed(), live, number)
        except OSError as error:
            log.error("journal sync failed", extra={"journal": self._place.name, "error": error.strerror})  # noqa: TRY400
        finally:
            self.drop(live)

    def drop(self, live: Segment | None) -> None:
        """Closes what is open, and waits for nothing. In a forked child the thread does not exist."""
        for segment in (*self._take_sealed(), *([live] if live else ())):
            segment.close()

    def _take_sealed(self) -> list[Segment]:
        sealed, self._sealed = self._sealed, []
        return sealed

    # On the thread

    def _make(self, sealed: list[Segment], name: str) -> Segment:
        # What is full goes to disk first: a slow disk meets a log that waits, not one that piles up open segments.
        self._failed = _retire(sealed) or self._failed
        try:
            segment = Segment.make(self._place / name, self._segment_bytes)
        except OSError as error:
            if self.lack is None:
                log.error("journal disk full", extra={"journal": self._place.name, "error": error.strerror})  # noqa: TRY400
            self.lack = error
            raise
        if self.lack is not None:
            log.info("journal disk free", extra={"journal": self._place.name})
        self.lack = None
        return segment

    def _sync(self, sealed: list[Segment], live: Segment | None, number: int) -> None:
        failed = _retire(sealed) or self._failed
        self._failed = None
        if live is not None:
            live.sync()
        if failed is not None:
            raise failed
        self.durable = max(self.durable, number)


def _retire(sealed: list[Segment]) -> OSError | None:
    failed = None
    for segment in sealed:
        try:
            segment.sync()
        except OSError as error:
            failed = error
        segment.close()
    return failed


def unlink(paths: Iterable[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _full(why: OSError | None) -> LogFull:
    number = why.errno if why and why.errno else errno.ENOSPC
    return LogFull(number, os.strerror(number))
