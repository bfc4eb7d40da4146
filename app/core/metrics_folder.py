"""What the workers of one machine have counted, shared by files: each writes its own picture now and then, whoever is
asked adds them up. Counts of a worker that has died, however it died, stay counted, and none counts twice.

One folder for each worker, with a lock that the kernel frees; beside them what is left of the dead.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from app.core.log_lock import LOCK, alone, take
from app.core.metrics import Family, lasting, summed

log = logging.getLogger(__name__)

_PICTURE: Final = "picture"
_LEFT: Final = "left"
_PLACE: Final = re.compile("[0-9a-f]{16}")

_T = TypeVar("_T")


class Left(msgspec.Struct, frozen=True):
    """What the dead have counted, and the folders of those that are part of it already: removing one may fail."""

    families: list[Family] = []
    buried: list[str] = []


class Others(msgspec.Struct, frozen=True):
    """What everybody else has counted."""

    living: list[Sequence[Family]]
    dead: Sequence[Family]


_NOTHING_LEFT: Final = Left()
_encode: Final = msgspec.msgpack.Encoder().encode
_picture: Final = msgspec.msgpack.Decoder(list[Family])
_left: Final = msgspec.msgpack.Decoder(Left)


class MetricsFolder:
    """One for each worker. All methods wait for the disk, and raise OSError; one at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._place: Path | None = None
        self._lock: int | None = None

    def write(self, picture: Sequence[Family]) -> None:
        """In place of the one before."""
        _write(self._own() / _PICTURE, _encode(picture))

    def others(self) -> Others:
        """The other workers that live, and all that are dead."""
        living: list[Sequence[Family]] = []
        with self._alone(), contextlib.ExitStack() as locks:
            left = self._left()
            dead: dict[Path, Sequence[Family]] = {}
            for place in self._places():
                if place == self._place or place.name in left.buried:
                    continue
                lock = _taken(place)
                if lock is not None:
                    locks.callback(os.close, lock)
                picture = _read(place / _PICTURE, _picture, [])  # after the lock: nobody writes it any more
                if lock is None:
                    living.append(picture)
                else:
                    dead[place] = picture
            return Others(living, self._bury(left, dead))

    def leave(self, picture: Sequence[Family]) -> None:
        """Gives back the place; what was counted stays."""
        if self._place is None:
            return
        place, self._place = self._place, None
        try:
            with self._alone():
                self._bury(self._left(), {place: picture})
        finally:
            self._unlock()

    def _own(self) -> Path:
        """A place of its own; another one where somebody has removed it."""
        if self._place is None or not (self._place / LOCK).exists():
            self._unlock()
            with self._alone():
                place = self._folder / secrets.token_hex(8)
                place.mkdir(mode=0o700)
                self._lock = take(place)
            self._place = place
        return self._place

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with alone(self._folder):
            yield

    def _places(self) -> list[Path]:
        return [place for place in self._folder.iterdir() if _PLACE.fullmatch(place.name) and place.is_dir()]

    def _left(self) -> Left:
        return _read(self._folder / _LEFT, _left, _NOTHING_LEFT)

    def _bury(self, left: Left, dead: dict[Path, Sequence[Family]]) -> Sequence[Family]:
        """All that the dead have counted, in one file. Where it cannot be written they stay as they are."""
        families = summed([left.families, *map(lasting, dead.values())]) if dead else left.families
        stay = [name for name in left.buried if (self._folder / name).exists()]
        if dead:
            try:
                _write(self._folder / _LEFT, _encode(Left(families, [*stay, *(place.name for place in dead)])))
            except OSError as error:
                log.warning("metrics not kept", extra={"error": type(error).__name__})
                return families
        for place in (*dead, *(self._folder / name for name in stay)):
            shutil.rmtree(place, ignore_errors=True)
        return families


def _taken(place: Path) -> int | None:
    """Its lock, if nobody lives there."""
    try:
        return take(place)
    except OSError:
        return None  # a folder of somebody else


def _read(path: Path, decoder: msgspec.msgpack.Decoder[_T], nothing: _T) -> _T:
    """Nothing where there is none, or one that is torn, of another release or of somebody else."""
    try:
        return decoder.decode(path.read_bytes())
    except FileNotFoundError:
        pass
    except (OSError, msgspec.MsgspecError) as error:
        log.warning("metrics file unreadable", extra={"file": path.name, "error": type(error).__name__})
    return nothing


def _write(path: Path, raw: bytes) -> None:
    """Whole or not at all."""
    fresh = path.with_suffix(".new")
    try:
        fresh.write_bytes(raw)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
