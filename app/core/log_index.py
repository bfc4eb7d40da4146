"""Which segments a commit log keeps, and its records read back over all of them. Knows neither owner nor writer."""

from __future__ import annotations

import contextlib
import logging
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from app.core.log_segment import HEADER_BYTES, SUFFIX, Damaged, Header, read_header, records, sync_file

log = logging.getLogger(__name__)


class Kept(NamedTuple):
    path: Path
    header: Header


class LogIndex:
    """The segments in order. Numbers rise from one to the next, but need not follow on one another."""

    def __init__(self, log_id: str) -> None:
        self.log_id = log_id
        self.kept: list[Kept] = []
        self.last = 0
        """The last number that `load` found."""
        self.serial = 0
        """The highest serial number of a segment's name."""
        self.damaged: list[str] = []
        self._reached: tuple[Path, int, int] | None = None  # where reading got to: path, next number, its offset

    @classmethod
    def load(cls, place: Path) -> LogIndex:
        """Takes stock of what an earlier owner left."""
        index = cls(place.name)
        for path in sorted(path for path in place.glob(f"*{SUFFIX}") if path.stem.isdecimal()):
            index.serial = max(index.serial, int(path.stem))
            if not index._admit(path):
                index.damaged.append(path.name)
        if index.damaged:
            log.error("journal segment damaged", extra={"journal": index.log_id, "files": index.damaged})
        if index.kept:
            path, header = index.kept[-1]
            index.last = header.first - 1
            for number, _, _ in records(path, header.seed, header.first):
                index.last = number
        return index

    def _admit(self, path: Path) -> bool:
        try:
            header = read_header(path)
        except Damaged:
            return False
        if header is None:
            path.unlink()  # made ahead, and never begun
            return True
        if header.log_id != self.log_id or (self.kept and header.first < self.kept[-1].header.first):
            return False
        sync_file(path)  # an owner that was killed may have left what only the kernel's memory holds
        self.kept.append(Kept(path, header))
        return True

    def add(self, path: Path, header: Header) -> None:
        self.kept.append(Kept(path, header))

    def drop(self, until: int, *, spare_last: bool, last: int) -> list[Path]:
        """Takes out the segments that hold nothing behind this number."""
        gone: list[Path] = []
        while len(self.kept) > spare_last and self._bound(0, last) <= until:
            gone.append(self.kept.pop(0).path)
        return gone

    def read(self, after: int, last: int) -> Iterator[tuple[int, bytes]]:
        """The records behind `after` and up to `last`. To go on where the last reading ended needs no search."""
        while after < last and self.kept:
            index = max(bisect_right(self.kept, after + 1, key=lambda each: each.header.first) - 1, 0)
            kept, bound = self.kept[index], self._bound(index, last)
            with contextlib.suppress(FileNotFoundError):  # forgotten since
                for number, record in self._read_segment(kept, after):
                    if number > last:
                        return
                    after = number
                    yield number, record
            if after < bound < last and kept in self.kept:
                log.warning("journal records missing", extra={"journal": self.log_id, "behind": after, "until": bound})
            after = max(after, bound)

    def _read_segment(self, kept: Kept, after: int) -> Iterator[tuple[int, bytes]]:
        path, header = kept
        sequence, offset = header.first, HEADER_BYTES
        if self._reached and self._reached[0] == path and self._reached[1] <= after + 1:
            _, sequence, offset = self._reached
        for number, record, end in records(path, header.seed, sequence, offset, after=after):
            self._reached = (path, number + 1, end)
            yield number, record

    def _bound(self, index: int, last: int) -> int:
        """The highest number that this segment can hold."""
        return self.kept[index + 1].header.first - 1 if index + 1 < len(self.kept) else last
