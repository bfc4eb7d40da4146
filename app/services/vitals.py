"""How this worker feels, second by second: how late its loop is, how fast Redis answers, what it holds. No judge."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.core.clock import Clock
from app.core.redis import RedisManager, RedisReplyError, RedisUnavailable
from app.core.tasks import TaskSet
from app.services.beats import Beats

_EVERY_S: Final = 2.0
_STEPS: Final = 8
"""The loop is looked at so often in between: the worst of it counts."""
_KEPT: Final = 90
_PAGE: Final = resource.getpagesize()
_BLOCK: Final = 512
_MEMORY_FILES: Final = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisFacts:
    """What Redis says of itself. None and "" where it does not answer, or does not say."""

    version: str = ""
    memory_bytes: int | None = None
    memory_most: int | None = None
    appends: bool | None = None
    """Whether it keeps an append-only file."""
    snapshot_s: float | None = None
    """When it last wrote all of it to disk."""
    write_failed: bool = False
    """Its last attempt to write to disk failed."""
    clients: int | None = None
    keys: int | None = None


@dataclass(frozen=True, slots=True)
class Journals:
    """What is on disk of calls that are not booked yet: one folder for each worker that lives or has left some."""

    folders: int = 0
    size_bytes: int = 0


class Vitals:
    """One for each worker. The series are the newest last, one value every two seconds; None: no answer."""

    def __init__(self, redis: RedisManager, tasks: TaskSet, clock: Clock, folder: Path) -> None:
        self._redis = redis
        self._tasks = tasks
        self._clock = clock
        self._folder = folder
        self.began_s = clock.wall_s()
        self.lag_ms: deque[float] = deque(maxlen=_KEPT)
        self.redis_ms: deque[float | None] = deque(maxlen=_KEPT)
        self.beats = Beats(clock)

    def start(self) -> None:
        self._tasks.spawn(self._keep_looking(), "vitals: look")

    @property
    def memory_bytes(self) -> int:
        """Resident, of this process."""
        return memory_now()

    @property
    def memory_most(self) -> int:
        """What this container or machine has; 0 where nobody says."""
        return memory_most()

    @property
    def pid(self) -> int:
        return os.getpid()

    async def redis_facts(self) -> RedisFacts:
        try:
            info, size = await self._redis.pipeline([("INFO",), ("DBSIZE",)])
        except (RedisUnavailable, RedisReplyError):
            return RedisFacts()
        return facts_of(info, size) if isinstance(info, dict) else RedisFacts()

    async def workers(self) -> int:
        """How many live, by the signs that each gives; 0 while nobody knows."""
        try:
            return int(await self._redis.command("SCARD", self._redis.keys.books("workers")))
        except (RedisUnavailable, RedisReplyError):
            return 0

    async def journals(self) -> Journals:
        return await asyncio.to_thread(_journals, self._folder / "journal")

    async def look(self) -> None:
        """One value for each series."""
        self.beats.look()
        try:
            self.redis_ms.append(await self._redis.ping() * 1000)
        except (RedisUnavailable, RedisReplyError):
            self.redis_ms.append(None)

    async def _keep_looking(self) -> None:
        while True:
            late_s = 0.0
            for _ in range(_STEPS):
                due_s = self._clock.monotonic_s() + _EVERY_S / _STEPS
                await asyncio.sleep(_EVERY_S / _STEPS)
                late_s = max(late_s, self._clock.monotonic_s() - due_s)
            self.lag_ms.append(late_s * 1000)
            await self.look()


def facts_of(info: Mapping[str, Any], keys: Any) -> RedisFacts:
    appends = _whole(info.get("aof_enabled"))
    states = (info.get("aof_last_write_status", "ok"), info.get("rdb_last_bgsave_status", "ok"))
    return RedisFacts(
        version=str(info.get("valkey_version") or info.get("redis_version", "")),
        memory_bytes=_whole(info.get("used_memory")),
        memory_most=_whole(info.get("maxmemory")) or None,
        appends=None if appends is None else bool(appends),
        snapshot_s=_whole(info.get("rdb_last_save_time")),
        write_failed=any(str(state) != "ok" for state in states),
        clients=_whole(info.get("connected_clients")),
        keys=_whole(keys),
    )


def memory_now() -> int:
    """Resident bytes of this process; where the system does not tell them, the most that it ever had."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def memory_most(files: tuple[str, ...] = _MEMORY_FILES) -> int:
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in files:
        try:
            return min(whole, int(Path(name).read_text("ascii")))
        except (OSError, ValueError):
            continue  # `max`, or another kind of system
    return max(0, whole)


def _journals(folder: Path) -> Journals:
    folders = size = 0
    try:
        for place in folder.iterdir():
            if place.is_dir():
                folders += 1
                size += sum(file.stat().st_blocks * _BLOCK for file in place.iterdir())
    except OSError:
        pass  # a folder that goes while it is read is one that holds nothing more
    return Journals(folders, size)


def _whole(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None
