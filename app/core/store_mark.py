"""Whether the store is still the one that this gateway knows: a random mark in Redis, and beside the gateway, in
DATA_DIR, the mark and the version at which it last met it. Knows nothing of what is stored.

An emptied Redis, another one behind the same address and an old copy all look like a working store. With them revoked
keys would be good again, or good ones unknown.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import secrets
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from app.core.clock import Clock
from app.core.redis import RedisOptions, RedisUnavailable
from app.core.redis_url import parse_redis_url

log = logging.getLogger(__name__)

# A crash may cost Redis its last second (appendfsync everysec): only what is older must still be there.
SETTLED_S: Final = 2.0


class Lost(StrEnum):
    """What is wrong with the store."""

    EMPTIED = "emptied"
    REPLACED = "replaced"
    ROLLED_BACK = "rolled_back"


_WHAT: Final = {
    Lost.EMPTIED: "Redis has lost everything that was stored.",
    Lost.REPLACED: "This is another Redis than the one that held the keys.",
    Lost.ROLLED_BACK: "Redis holds an old copy: changes of keys are gone, revoked ones may be good again.",
}


class StoreReset(RedisUnavailable):
    """The store is not the known one. To every caller that is as if Redis were away: memory serves on, nothing is
    written.
    """

    def __init__(self, lost: Lost) -> None:
        super().__init__("store_reset")
        self.lost = lost
        self.args = (_WHAT[lost],)


class Known(msgspec.Struct, frozen=True):
    """The mark of a store, and a version that it had for so long that it must have it still."""

    mark: str
    version: int


def judge(known: Known | None, mark: str, version: int) -> Lost | None:
    """What a store that bears this mark, or none (""), means to a gateway that knows that one."""
    if known is None or (mark == known.mark and version >= known.version):
        return None
    if not mark:
        return Lost.EMPTIED
    return Lost.REPLACED if mark != known.mark else Lost.ROLLED_BACK


class StoreMark:
    """Met with what each look at the store shows. `keeps` is false for a command: it judges, and writes nothing."""

    def __init__(self, data_dir: Path, options: RedisOptions, clock: Clock, *, keeps: bool = True) -> None:
        self.file = data_dir / f"store-mark-{_place(options)}"
        self.lost: Lost | None = None
        self._clock = clock
        self._keeps = keeps
        self._known = _read(self.file)
        self._young = (-1, 0.0)
        self._cannot_write = False

    @property
    def known(self) -> str:
        """The mark that a change must find; "" while none is known."""
        return self._known.mark if self._known else ""

    async def meet(self, mark: str, version: int, create: Callable[[str], Awaitable[str]]) -> None:
        """Raises StoreReset. A store without a mark gets one through `create`, which gives the mark that it bears."""
        if self._known is None and not mark and self._keeps:
            mark = await create(secrets.token_hex(16))
        lost = judge(self._known, mark, version)
        self._say(lost)
        if lost is not None:
            raise StoreReset(lost)
        if mark:
            await self._remember(mark, version)

    def _say(self, lost: Lost | None) -> None:
        if lost is not None and lost is not self.lost:
            detail = f"{_WHAT[lost]} No call is served until its data is restored."
            accept = f"If this is meant: delete {self.file} and start the gateway again."
            log.error("redis store reset", extra={"what": lost.value, "detail": detail, "next": accept})
        elif lost is None and self.lost is not None:
            log.info("redis store restored")
        self.lost = lost

    async def _remember(self, mark: str, version: int) -> None:
        now_s = self._clock.monotonic_s()
        settled, since_s = self._young
        if version != settled:
            self._young = (version, now_s)
        if self._known is None:
            await self._keep(Known(mark, 0))
        elif version == settled > self._known.version and now_s - since_s >= SETTLED_S:
            await self._keep(Known(mark, version))

    async def _keep(self, known: Known) -> None:
        self._known = known
        if not self._keeps:
            return
        try:
            await asyncio.to_thread(_write, self.file, known)
        except OSError as error:
            if not self._cannot_write:
                self._cannot_write = True
                log.warning("store mark unwritten", extra={"detail": f"DATA_DIR: {error.strerror}"})


def _place(options: RedisOptions) -> str:
    """A name for where the store is, so that settings which lead elsewhere are no alarm. Holds no password."""
    url = parse_redis_url(options.url)
    where = (url.form, sorted(url.nodes), url.path, url.database, url.service, options.prefix)
    return hashlib.sha256(repr(where).encode()).hexdigest()[:16]


def _read(file: Path) -> Known | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Known)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.MsgspecError):
        log.warning("store mark unreadable", extra={"file": str(file)})
        return None


def _write(file: Path, known: Known) -> None:
    """In one move; another worker's later knowledge stays."""
    there = _read(file)
    if there is not None and there.mark == known.mark and there.version >= known.version:
        return
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as output:
            output.write(msgspec.json.encode(known))
            output.flush()
            os.fsync(output.fileno())
        draft.replace(file)
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
