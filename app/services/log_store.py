"""The gateway's own log as people read it in the panel: the lines of all workers that matter, capped, in Redis.

It takes lines that are free of secrets and never holds up who writes them: what finds no room is left out.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import AsyncIterator, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from app.core.clock import Clock
from app.core.logging import keep_lines
from app.core.redis import RedisManager, RedisReplyError, RedisUnavailable
from app.core.tasks import TaskSet
from app.services.log_filter import LogFilter, LogLine, line_of

log = logging.getLogger(__name__)

_BATCH_S: Final = 0.5
_CONFIG_S: Final = 5.0
_MOST_WAITING: Final = 2000
_AT_ONCE: Final = 500
_MOST_READ: Final = 100_000
_STATS_KEPT_S: Final = 90 * 86_400
_FIELD: Final = b"line"


class LogConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Which lines are kept, how many and how long."""

    level: str = "warning"
    most: int = 20_000
    days: int = 14


class LogPage(msgspec.Struct, frozen=True):
    """`older` is the place to go on from; empty where there is nothing older."""

    lines: tuple[LogLine, ...]
    older: str = ""


class LogStore:
    """One for each worker."""

    def __init__(self, redis: RedisManager, tasks: TaskSet, clock: Clock) -> None:
        self._redis = redis
        self._tasks = tasks
        self._clock = clock
        self._name = redis.keys.books("log")
        self._waiting: deque[bytes] = deque(maxlen=_MOST_WAITING)
        self.config = LogConfig()

    def start(self) -> None:
        keep_lines(self.config.level, self._waiting.append)
        self._tasks.spawn(self._keep_writing(), "log: keep lines")
        self._tasks.spawn(self._keep_asking(), "log: configuration")

    def stop(self) -> None:
        keep_lines(self.config.level, None)

    # ---- writing

    async def flush(self) -> None:
        """Raises RedisUnavailable; what was not written is tried again, as far as there is room."""
        lines = [self._waiting.popleft() for _ in range(min(len(self._waiting), _AT_ONCE))]
        if not lines:
            return
        counts = Counter(_kind(line) for raw in lines if (line := line_of("", raw)) is not None)
        daily = self._daily(self._today())
        commands: list[tuple[Any, ...]] = [
            ("XADD", self._name, "MAXLEN", "~", self.config.most, "*", _FIELD, line) for line in lines
        ]
        commands += [("HINCRBY", daily, kind, count) for kind, count in counts.items()]
        commands.append(("EXPIRE", daily, _STATS_KEPT_S))
        try:
            await self._redis.pipeline(commands)
        except RedisUnavailable:
            self._waiting.extendleft(reversed(lines))
            raise

    async def _keep_writing(self) -> None:
        while True:
            await asyncio.sleep(_BATCH_S)
            try:
                while self._waiting:
                    await self.flush()
            except (RedisUnavailable, RedisReplyError):
                continue  # a line about it would wait behind these

    # ---- configuration

    async def configure(self, config: LogConfig) -> None:
        """For all workers, within seconds. Raises RedisUnavailable."""
        await self._redis.command("SET", self._redis.keys.books("log", "config"), msgspec.json.encode(config))
        self._take(config)

    def _take(self, config: LogConfig) -> None:
        if config != self.config:
            self.config = config
            keep_lines(config.level, self._waiting.append)

    async def _keep_asking(self) -> None:
        while True:
            try:
                stored = await self._redis.command("GET", self._redis.keys.books("log", "config"))
                self._take(msgspec.json.decode(stored, type=LogConfig) if stored else LogConfig())
            except (RedisUnavailable, RedisReplyError, msgspec.MsgspecError):
                pass
            await asyncio.sleep(_CONFIG_S)

    # ---- reading

    async def page(
        self, wanted: LogFilter, *, before: str = "", size: int = 100, oldest_first: bool = False
    ) -> LogPage:
        """The lines that fit, the newest first. Raises RedisUnavailable."""
        found: list[LogLine] = []
        async for line in self._lines(wanted, before, oldest_first=oldest_first):
            found.append(line)
            if len(found) == size:
                return LogPage(tuple(found), line.id)
        return LogPage(tuple(found))

    async def lines(self, wanted: LogFilter) -> AsyncIterator[LogLine]:
        """All that fit, the oldest first. Raises RedisUnavailable."""
        async for line in self._lines(wanted, "", oldest_first=True):
            yield line

    async def _lines(self, wanted: LogFilter, after: str, *, oldest_first: bool) -> AsyncIterator[LogLine]:
        low = "-" if wanted.since_s is None else str(int(wanted.since_s * 1000))
        high = "+" if wanted.until_s is None else str(int(wanted.until_s * 1000))
        read = 0
        while read < _MOST_READ:
            if oldest_first:
                raw = await self._redis.command(
                    "XRANGE", self._name, f"({after}" if after else low, high, "COUNT", _AT_ONCE
                )
            else:
                raw = await self._redis.command(
                    "XREVRANGE", self._name, f"({after}" if after else high, low, "COUNT", _AT_ONCE
                )
            for place, fields in raw:
                after = bytes(place).decode()
                line = line_of(after, _raw(fields))
                if line is not None and wanted.fits(line):
                    yield line
            read += len(raw)
            if len(raw) < _AT_ONCE:
                return

    async def find(self, place: str) -> LogLine | None:
        """Raises RedisUnavailable."""
        raw = await self._redis.command("XRANGE", self._name, place, place)
        return line_of(place, _raw(raw[0][1])) if raw else None

    async def follow(self, wanted: LogFilter) -> AsyncIterator[LogLine]:
        """What comes in from now on. Never ends, and outlasts a Redis that is away for a while."""
        last = ""
        while True:
            try:
                if not last:
                    newest = await self._redis.command("XREVRANGE", self._name, "+", "-", "COUNT", 1)
                    last = bytes(newest[0][0]).decode() if newest else "0-0"
                raw = await self._redis.command("XRANGE", self._name, f"({last}", "+", "COUNT", _AT_ONCE)
            except RedisUnavailable:
                raw = []
            for place, fields in raw:
                last = bytes(place).decode()
                line = line_of(last, _raw(fields))
                if line is not None and wanted.fits(line):
                    yield line
            if len(raw) < _AT_ONCE:
                await asyncio.sleep(_BATCH_S)

    async def delete(self, places: Collection[str]) -> int:
        """How many there were. Raises RedisUnavailable."""
        return int(await self._redis.command("XDEL", self._name, *places)) if places else 0

    async def forget_old(self) -> int:
        """What is older than it is to be kept. Raises RedisUnavailable."""
        oldest_ms = int((self._clock.wall_s() - self.config.days * 86_400) * 1000)
        return int(await self._redis.command("XTRIM", self._name, "MINID", max(0, oldest_ms)))

    async def stats(self, days: int) -> dict[str, dict[str, int]]:
        """Lines of each day by `level module`, today first. Raises RedisUnavailable."""
        dates = [self._today() - timedelta(days=back) for back in range(days)]
        found = await self._redis.pipeline([("HGETALL", self._daily(date)) for date in dates])
        return {
            str(date.date()): {bytes(kind).decode(): int(count) for kind, count in _pairs(counts)}
            for date, counts in zip(dates, found, strict=True)
        }

    def _today(self) -> datetime:
        return datetime.fromtimestamp(self._clock.wall_s(), UTC)

    def _daily(self, day: datetime) -> str:
        return self._redis.keys.books("log", "daily", str(day.date()))


def _kind(line: LogLine) -> str:
    return f"{line.level} {line.module}"


def _raw(fields: Any) -> bytes:
    return bytes(next(iter(fields.values())) if isinstance(fields, Mapping) else fields[1])


def _pairs(found: Any) -> Any:
    return found.items() if isinstance(found, Mapping) else zip(found[::2], found[1::2], strict=True)
