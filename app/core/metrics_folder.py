"""What the workers of one machine have counted, shared by files: each writes its own picture now and then, whoever is
asked adds them up. Counts of a worker that has died, however it died, stay counted.

One folder for each worker, with a lock that the kernel frees; beside them what is left of the dead.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from app.core.log_lock import LOCK, alone, take
from app.core.metrics import Family, lasting, merged

log = logging.getLogger(__name__)

_PICTURE: Final = "picture"
_LEFT: Final = "left"
_decode: Final = msgspec.msgpack.Decoder(list[Family]).decode
_encode: Final = msgspec.msgpack.Encoder().encode


class MetricsFolder:
    """One for each worker. All methods wait for the disk, and raise OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._place: Path | None = None
        self._lock: int | None = None

    def join(self) -> None:
        """Takes a place of its own."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with alone(self._folder):
            place = self._folder / secrets.token_hex(8)
            place.mkdir(mode=0o700)
            self._lock = take(place)
        self._place = place

    def write(self, picture: Sequence[Family]) -> None:
        """In place of the one before."""
        if self._place is not None:
            _write(self._place / _PICTURE, picture)

    def leave(self, picture: Sequence[Family]) -> None:
        """Gives back the place; what was counted stays."""
        if self._place is None or self._lock is None:
            return
        with alone(self._folder):
            self._bury(self._place, picture)
            os.close(self._lock)
        self._place = self._lock = None

    def others(self) -> list[Sequence[Family]]:
        """Pictures of the other workers that live, and of all that are dead."""
        found: list[Sequence[Family]] = []
        with alone(self._folder):
            for place in self._folder.iterdir():
                if place == self._place or not (place / LOCK).exists():
                    continue
                picture = _read(place / _PICTURE)
                if (lock := take(place)) is None:
                    found.append(picture)
                else:
                    self._bury(place, picture)
                    os.close(lock)
            found.append(_read(self._folder / _LEFT))
        return found

    def _bury(self, place: Path, picture: Sequence[Family]) -> None:
        left = self._folder / _LEFT
        # Removed first: a death between the two loses counts, the other way round would count them twice.
        shutil.rmtree(place, ignore_errors=True)
        _write(left, merged([_read(left), lasting(picture)]))


def _read(path: Path) -> Sequence[Family]:
    """Nothing where there is none, or of another release."""
    try:
        return _decode(path.read_bytes())
    except FileNotFoundError:
        return []
    except msgspec.MsgspecError:
        log.warning("metrics file unreadable", extra={"file": path.name})
        return []


def _write(path: Path, picture: Sequence[Family]) -> None:
    """Whole or not at all."""
    with _beside(path) as fresh:
        fresh.write_bytes(_encode(picture))
        fresh.replace(path)


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    fresh = path.with_suffix(".new")
    try:
        yield fresh
    finally:
        fresh.unlink(missing_ok=True)
