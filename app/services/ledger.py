"""The single calls of the last days, newest first, as settlements have put them into a stream. It never writes one.

A page is found by the stream's own ids, so that calls which come in meanwhile neither repeat nor hide any.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

from app.core.clock import Clock
from app.core.redis import RedisManager, RedisReplyError, RedisUnavailable
from app.core.tasks import TaskSet
from app.models.ledger import CostKind, Entry
from app.services.ledger_filter import Filter, Line, Sieve

log = logging.getLogger(__name__)

STREAM: Final = ("ledger",)
FIELD: Final = "entry"
CORRECTED: Final = ("reconcile", "corrected")
"""What calls really cost that were charged without proof, by the id of the entry. Written by `Reconciliation`."""
_AT_ONCE: Final = 500
_MOST_READ: Final = 20_000
"""Entries looked at for one page: a filter that fits nothing must not read the whole ledger in one go."""
_LATE_S: Final = 3 * 86_400
"""A call is settled after it was admitted, those of videos and batches by days: their entries stand further up."""
_EARLY_S: Final = 60
_TRIM_PAUSE_S: Final = 10.0
_FOLLOW_PAUSE_S: Final = 0.5
_DAY_MS: Final = 86_400_000
_packed: Final = msgspec.msgpack.Decoder(Entry).decode
_plain: Final = msgspec.json.Decoder(Entry).decode


class Page(msgspec.Struct, frozen=True):
    """`older` is the place to go on from, empty where there is nothing older. `complete` is False where the search
    stopped before the page was full.
    """

    lines: tuple[Line, ...]
    older: str = ""
    complete: bool = True


class Histogram(msgspec.Struct, frozen=True):
    """Counts by outcome for each bar of time. `complete` is False where older entries were not looked at."""

    since_s: float
    bar_s: float
    counts: tuple[dict[str, int], ...]
    complete: bool = True


class Extent(msgspec.Struct, frozen=True):
    """How much the ledger holds."""

    entries: int
    size_bytes: int
    oldest_s: float | None


class Ledger:
    """One for each worker. `most` entries of the last `days` days are kept."""

    def __init__(self, redis: RedisManager, tasks: TaskSet, clock: Clock, *, most: int, days: int) -> None:
        self._redis = redis
        self._tasks = tasks
        self._clock = clock
        self._most = most
        self._days = days
        self._name = redis.keys.books(*STREAM)

    def keep(self, *, most: int, days: int) -> None:
        """From the next trimming on."""
        self._most, self._days = most, days

    def start(self) -> None:
        self._tasks.spawn(self._keep_trimming(), "ledger: forget the oldest")

    async def page(self, wanted: Filter, *, before: str = "", size: int = 50, most_read: int = _MOST_READ) -> Page:
        """The newest entries that fit, older than the place `before`. Raises RedisUnavailable."""
        sieve = Sieve(wanted)
        newest = f"({before}" if before else _latest(wanted)
        lines: list[Line] = []
        read = 0
        while True:
            asked = min(_AT_ONCE, max(size, 50)) if not wanted.narrows else _AT_ONCE
            raw = await self._redis.command("XREVRANGE", self._name, newest, _earliest(wanted), "COUNT", asked)
            read += len(raw)
            for place, fields in raw:
                line = _line(place, fields, sieve)
                if line is not None:
                    lines.append(line)
                    if len(lines) == size:
                        return Page(await self._corrected(lines), line.place)
            if len(raw) < asked:
                return Page(await self._corrected(lines))
            last = bytes(raw[-1][0]).decode()
            if read >= most_read:
                return Page(await self._corrected(lines), last, complete=False)
            newest = f"({last}"

    async def find(self, name: str) -> Line | None:
        """By the id of the entry, the request or the generation. Raises RedisUnavailable."""
        page = await self.page(Filter(name=name), size=1, most_read=self._most * 2)
        return page.lines[0] if page.lines else None

    async def lines(self, wanted: Filter) -> AsyncIterator[Line]:
        """All that fit, the oldest first. Raises RedisUnavailable."""
        sieve = Sieve(wanted)
        oldest = _earliest(wanted)
        while True:
            raw = await self._redis.command("XRANGE", self._name, oldest, "+", "COUNT", _AT_ONCE)
            found = [line for place, fields in raw if (line := _line(place, fields, sieve)) is not None]
            for line in await self._corrected(found):
                yield line
            if len(raw) < _AT_ONCE:
                return
            oldest = f"({bytes(raw[-1][0]).decode()}"

    async def histogram(self, wanted: Filter, *, bars: int = 60, most_read: int = _MOST_READ) -> Histogram:
        """How the entries that fit are spread over the filter's period, by outcome. For filters that sums do not know;
        for those that they do, `Insight` is cheaper and exact over any period. Raises RedisUnavailable.
        """
        now_s = self._clock.wall_s()
        until_s = now_s if wanted.until_s is None else min(wanted.until_s, now_s)
        since_s = until_s - self._days * _DAY_MS / 1000 if wanted.since_s is None else wanted.since_s
        within = msgspec.structs.replace(wanted, since_s=since_s, until_s=until_s)
        bar_s = max(1.0, until_s - since_s) / bars
        counts: list[dict[str, int]] = [{} for _ in range(bars)]
        before, read, complete = "", 0, False
        while read < most_read and not complete:
            page = await self.page(within, before=before, size=_AT_ONCE, most_read=_AT_ONCE)
            for line in page.lines:
                bar = counts[min(bars - 1, int((line.entry.at_s - since_s) / bar_s))]
                bar[line.entry.outcome] = bar.get(line.entry.outcome, 0) + 1
            before, complete = page.older, not page.older
            read += _AT_ONCE
        return Histogram(since_s, bar_s, tuple(counts), complete)

    async def _corrected(self, lines: list[Line]) -> tuple[Line, ...]:
        """With what was found out since. Only what was charged without proof is ever corrected."""
        doubtful = [place for place, line in enumerate(lines) if line.entry.cost_kind is CostKind.UNKNOWN]
        if doubtful:
            ids = [lines[place].entry.id for place in doubtful]
            costs = await self._redis.command("HMGET", self._redis.keys.books(*CORRECTED), *ids)
            for place, cost in zip(doubtful, costs, strict=True):
                if cost is not None:
                    lines[place] = Line(lines[place].place, lines[place].entry, int(cost))
        return tuple(lines)

    async def follow(self, wanted: Filter, *, after: str = "") -> AsyncIterator[Line]:
        """What comes in from now on, or after a place. Never ends, and outlasts a Redis that is away for a while."""
        sieve = Sieve(wanted)
        oldest = after or await self.newest()
        while True:
            try:
                raw = await self._redis.command("XRANGE", self._name, f"({oldest}", "+", "COUNT", _AT_ONCE)
            except RedisUnavailable:
                raw = []
            for place, fields in raw:
                oldest = bytes(place).decode()
                line = _line(place, fields, sieve)
                if line is not None:
                    yield line
            if len(raw) < _AT_ONCE:
                await asyncio.sleep(_FOLLOW_PAUSE_S)

    async def newest(self) -> str:
        """The place of the newest entry."""
        raw = await self._redis.command("XREVRANGE", self._name, "+", "-", "COUNT", 1)
        return bytes(raw[0][0]).decode() if raw else "0-0"

    async def extent(self) -> Extent:
        count, size, oldest = await self._redis.pipeline(
            [
                ("XLEN", self._name),
                ("MEMORY", "USAGE", self._name),
                ("XRANGE", self._name, "-", "+", "COUNT", 1),
            ]
        )
        oldest_s = int(bytes(oldest[0][0]).split(b"-")[0]) / 1000 if oldest else None
        return Extent(int(count), int(size or 0), oldest_s)

    async def trim(self) -> int:
        """Forgets what is too old or too much; how many entries that were. Raises RedisUnavailable."""
        too_old = max(0, int(self._clock.wall_s() * 1000) - self._days * _DAY_MS)
        gone = 0
        while True:
            # Whole nodes of the stream only, and some at a time: exact trimming would hold Redis up.
            removed = await self._redis.pipeline(
                [
                    ("XTRIM", self._name, "MAXLEN", "~", self._most, "LIMIT", 10_000),
                    ("XTRIM", self._name, "MINID", "~", too_old, "LIMIT", 10_000),
                ]
            )
            gone += sum(map(int, removed))
            if not any(map(int, removed)):
                return gone

    async def _keep_trimming(self) -> None:
        while True:
            await asyncio.sleep(_TRIM_PAUSE_S)
            try:
                await self.trim()
            except (RedisUnavailable, RedisReplyError) as error:
                log.warning("ledger trimming waits", extra={"reason": str(error)})


def _line(place: bytes, fields: Any, sieve: Sieve) -> Line | None:
    """None where the entry does not fit, or cannot be read."""
    raw = next(iter(fields.values())) if isinstance(fields, dict) else fields[1]
    if not sieve.may_hold(raw):
        return None
    try:
        entry = _plain(raw) if raw[:1] == b"[" else _packed(raw)
    except msgspec.MsgspecError:
        log.error("ledger entry unreadable", extra={"place": bytes(place).decode()})  # noqa: TRY400 - it may quote
        return None
    return Line(bytes(place).decode(), entry) if sieve.holds(entry) else None


def _latest(wanted: Filter) -> str:
    return "+" if wanted.until_s is None else str(int((wanted.until_s + _LATE_S) * 1000))


def _earliest(wanted: Filter) -> str:
    return "-" if wanted.since_s is None else str(max(0, int((wanted.since_s - _EARLY_S) * 1000)))
