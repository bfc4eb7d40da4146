"""The marks in force: in every worker's memory, in Redis, and told to all workers within moments. Decides nothing.

One subject bears one mark: the graver one, then the one that lasts longer (lua/marks.lua has the same rule).
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import Final, Protocol

import msgspec

from app.core.clock import Clock
from app.core.redis import RedisManager, RedisReplyError, RedisUnavailable
from app.core.tasks import TaskSet
from app.models.marks import Mark, MarkKind, Scope
from app.services.audit import NO_LINK, Audit, MovedError, Words
from app.services.audit_chain import Deed
from app.services.listeners import Listeners

log = logging.getLogger(__name__)

FOREVER_S: Final = 253_402_300_799.0  # the last second of the year 9999: JSON knows no infinity
_GRAVITY: Final = {MarkKind.COOL: 0, MarkKind.CHECK: 1, MarkKind.SPENT: 2, MarkKind.DISABLED: 3}
_BATCH_S: Final = 0.01
_RETRY_S: Final = 0.5
_MOST_AT_ONCE: Final = 200
_LINK_TRIES: Final = 3  # others wait for the mark: its deed is rather noted without a link
_MOST_PENDING: Final = 50_000
_SWEEP_EVERY_S: Final = 1.0
_RELOAD_EVERY_S: Final = 30.0

_Place = tuple[str, bool]
"""A field, and whether it is cleared."""
_read: Final = msgspec.json.Decoder(Mark).decode


def outweighs(old: Mark, new: Mark) -> bool:
    """Whether the old mark stays when the new one comes."""
    if old.kind is not new.kind:
        return _GRAVITY[old.kind] > _GRAVITY[new.kind]
    return old.until_s >= new.until_s


@dataclass(frozen=True, slots=True)
class _Clear:
    """Takes away what was marked at `before_s` or earlier."""

    scope: Scope
    subject: str
    by: str
    before_s: float
    ends_disabled: bool
    """As far as this worker knows; then it is a deed for the audit."""


class MarkKeeper(Protocol):
    """Who sets marks needs no more than this."""

    def put(self, marks: Iterable[Mark]) -> None: ...


class Marks:
    """`put` and `clear` count at once in this worker; Redis and the others follow, after an outage too."""

    def __init__(self, redis: RedisManager, clock: Clock) -> None:
        self._redis = redis
        self._audit = Audit(redis)
        self._clock = clock
        self._tasks = TaskSet()
        self._listeners = Listeners(clock)
        self._marks: dict[str, Mark] = {}
        # Keyed by what is done as well: a mark that follows a clearing must not hide it.
        self._pending: dict[_Place, Mark | _Clear] = {}
        self._writing = False
        self._exchange = asyncio.Lock()

    async def start(self, *, follow: bool = True) -> None:
        """Reads everything. With `follow` it stays up to date until `close`. Raises RedisUnavailable."""
        await self._reload()
        if follow:
            self._tasks.spawn(self._redis.listen(self._redis.keys.mark_changes, self._heard, self._reload), "marks")
            self._tasks.spawn(self._sweep(), "marks: sweep")

    async def close(self) -> None:
        """Writes what is pending, if Redis lets it."""
        await self._tasks.close()
        self._listeners.close()
        try:
            await self.flush()
        except (RedisUnavailable, RedisReplyError):
            log.warning("pending marks lost", extra={"pending": len(self._pending)})

    def subscribe(self, on_change: Callable[[], None]) -> None:
        """Called after marks were set, cleared, heard of, or have run out."""
        self._listeners.add(on_change)

    def in_force(self) -> tuple[Mark, ...]:
        now_s = self._clock.wall_s()
        return tuple(mark for mark in self._marks.values() if mark.until_s > now_s)

    def find(self, scope: Scope, subject: str) -> Mark | None:
        mark = self._marks.get(_field(scope, subject))
        return mark if mark is not None and mark.until_s > self._clock.wall_s() else None

    def put(self, marks: Iterable[Mark]) -> None:
        """What is outweighed by a mark in force changes nothing."""
        now_s = self._clock.wall_s()
        changed = False
        for mark in marks:
            if not math.isfinite(mark.until_s):
                mark = msgspec.structs.replace(mark, until_s=FOREVER_S)
            field = _field(mark.scope, mark.subject)
            old = self._marks.get(field)
            if mark.until_s <= now_s or (old is not None and old.until_s > now_s and outweighs(old, mark)):
                continue
            self._marks[field] = mark
            self._pend(field, mark)
            changed = True
        if changed:
            self._listeners.tell()

    def clear(self, scope: Scope, subject: str, by: str, before_s: float = FOREVER_S) -> None:
        """Takes the mark away, unless it was set after `before_s`: what was learnt earlier says nothing of it."""
        field = _field(scope, subject)
        old = self._marks.get(field)
        if old is not None and old.at_s > before_s:
            return
        self._marks.pop(field, None)
        self._pending.pop((field, False), None)
        self._pending.pop((field, True), None)
        ends_disabled = old is None or old.kind is MarkKind.DISABLED
        self._pend(field, _Clear(scope, subject, by, before_s, ends_disabled))
        if old is not None:
            self._listeners.tell()

    # ---- to Redis

    def _pend(self, field: str, change: Mark | _Clear) -> None:
        if len(self._pending) < _MOST_PENDING:
            self._pending[field, isinstance(change, _Clear)] = change
        if not self._writing:
            self._writing = True
            self._tasks.spawn(self._write_soon(), "marks: write")

    async def _write_soon(self) -> None:
        waiting = False
        try:
            await asyncio.sleep(_BATCH_S)
            while self._pending:
                try:
                    await self.flush()
                    waiting = False
                except RedisUnavailable:
                    if not waiting:
                        log.warning("marks not shared", extra={"pending": len(self._pending)})
                    waiting = True
                    await asyncio.sleep(_RETRY_S)
        finally:
            self._writing = False

    async def flush(self) -> None:
        """Raises RedisUnavailable, and then everything stays pending."""
        while self._pending:
            async with self._exchange:
                # Chosen in here: what another flush has written meanwhile would overwrite what came after it.
                if not (batch := _together(self._pending)):
                    return
                now_s = self._clock.wall_s()
                words = [_words(at, change, now_s) for (at, _), change in batch]
                deed = words[0][-1] if _is_deed(batch[0][1]) else b""
                told = await self._change([word for each in words for word in each], deed)
                for key, change in batch:
                    if self._pending.get(key) is change:
                        del self._pending[key]
                self._take(told)

    async def _change(self, words: list[str | bytes], deed: bytes = b"") -> bytes:
        async def run(link: Words) -> tuple[bytes, bytes]:
            keys = self._redis.keys
            names = [keys.marks, keys.audit, keys.audit_head]
            arguments = [keys.mark_changes, self._clock.wall_s(), *link, *words]
            outcome, *found = await self._redis.script("marks", names, arguments)
            if outcome == b"moved":
                raise MovedError
            told, *entry_id = found
            return entry_id[0] if entry_id else b"", bytes(told)

        return await self._audit.append(deed, run, _LINK_TRIES) if deed else (await run(NO_LINK))[1]

    # ---- from Redis

    async def _heard(self, payload: bytes) -> None:
        async with self._exchange:
            self._take(payload)

    def _take(self, told: bytes) -> None:
        changed = False
        for line in told.splitlines():
            mark = _mark(line[1:]) if line.startswith(b"+") else None
            field = _field(mark.scope, mark.subject) if mark else line[1:].decode("utf-8", "replace")
            if self._is_pending(field) or self._marks.get(field) == mark:
                continue
            if mark is not None:
                self._marks[field] = mark
            elif line.startswith(b"-"):
                self._marks.pop(field, None)
            changed = True
        if changed:
            self._listeners.tell()

    def _is_pending(self, field: str) -> bool:
        return (field, False) in self._pending or (field, True) in self._pending

    async def _reload(self) -> None:
        async with self._exchange:
            flat = await self._redis.command("HGETALL", self._redis.keys.marks)
            pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
            stored = {bytes(name).decode("utf-8", "replace"): _mark(bytes(text)) for name, text in pairs}
            own = {field: mark for field, mark in self._marks.items() if self._is_pending(field)}
            found = {field: mark for field, mark in stored.items() if mark is not None and not self._is_pending(field)}
            changed = self._marks != found | own
            self._marks = found | own
        if changed:
            self._listeners.tell()

    async def _sweep(self) -> None:
        """What is over is dropped, here and in Redis; and now and then everything is read again."""
        reload_at = self._clock.monotonic_s() + _RELOAD_EVERY_S
        while True:
            await asyncio.sleep(_SWEEP_EVERY_S)
            now_s = self._clock.wall_s()
            over = [field for field, mark in self._marks.items() if mark.until_s <= now_s]
            for field in over:
                del self._marks[field]
            if over:
                self._listeners.tell()
            try:
                if over:
                    await self._change([word for field in over for word in ("sweep", field, "", "")])
                if self._clock.monotonic_s() >= reload_at:
                    reload_at = self._clock.monotonic_s() + _RELOAD_EVERY_S
                    await self._reload()
            except (RedisUnavailable, RedisReplyError):
                continue  # the next worker or the next start sweeps what is left


def _field(scope: Scope, subject: str) -> str:
    return f"{scope.value} {subject}"


def _mark(text: bytes) -> Mark | None:
    try:
        return _read(text)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        log.error("stored mark unreadable")  # noqa: TRY400 - it may quote
        return None


def _together(pending: Mapping[_Place, Mark | _Clear]) -> list[tuple[_Place, Mark | _Clear]]:
    """What the next call of the script writes: a deed goes alone, because it is a link of the audit's chain."""
    first = list(islice(pending.items(), _MOST_AT_ONCE))
    usual = list(takewhile(lambda item: not _is_deed(item[1]), first))
    return usual or first[:1]


def _is_deed(change: Mark | _Clear) -> bool:
    return change.ends_disabled if isinstance(change, _Clear) else change.kind is MarkKind.DISABLED


def _words(field: str, change: Mark | _Clear, now_s: float) -> tuple[str, str, str | bytes, bytes]:
    """Only what concerns a disabled key is a deed for the audit: the rest comes and goes with the traffic."""
    if isinstance(change, _Clear):
        deed = _deed(change.subject, change.by, "clear", MarkKind.DISABLED, "", now_s)
        return ("clear", field, repr(change.before_s), deed)
    deed = b""
    if change.kind is MarkKind.DISABLED:
        deed = _deed(change.subject, change.by, "mark", "", f"{change.kind.value}: {change.reason}", change.at_s)
    return ("put", field, msgspec.json.encode(change), deed)


def _deed(subject: str, by: str, what: str, before: str, after: str, at_s: float) -> bytes:
    name = f"{subject[:12]}…" if len(subject) > 12 else subject
    return msgspec.json.encode(
        Deed(at=at_s, by=by, deed=what, kind="mark", id=subject, name=name, before=before, after=after)
    )


async def clear_mark(redis: RedisManager, clock: Clock, scope: Scope, subject: str, by: str) -> None:
    """Takes one mark away for somebody who has no `Marks` of his own. Raises RedisUnavailable."""
    marks = Marks(redis, clock)
    marks.clear(scope, subject, by)
    try:
        await marks.flush()
    finally:
        await marks.close()
