"""What the tests of settlement share: calls to be journalled, and what Redis says was booked."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec

from app.core.clock import SystemClock
from app.core.commit_log import CommitLog
from app.core.redis import RedisManager
from app.models.keys import ClientKey
from app.models.ledger import Entry
from app.models.limits import Limit, Span, Unit
from app.services.limit_plan import Plan
from app.services.limits import Limits
from app.services.local_limits import WithoutRedis
from app.services.money import Amounts
from app.services.settle_records import Closed, Sent, entry_id, entry_packed, packed
from app.services.settlement import Parcel
from app.services.signs_of_life import SignsOfLife

CLIENT = ClientKey(
    id="ck_1",
    name="n",
    digest="",
    masked="",
    limits=(
        Limit(unit=Unit.USD, span=Span.TOTAL, size=10**15),
        Limit(unit=Unit.USD, span=Span.DAY, size=10**15, models="openai/*"),
        Limit(unit=Unit.CONCURRENT, span=Span.NOW, size=1000),
        Limit(unit=Unit.TOKENS, span=Span.DAY, size=10**9),
    ),
)
PLAN = Plan(CLIENT, None, None)
MODEL = "openai/gpt-4o-mini"
RESERVED = Amounts(nano=1_000_000, input_tokens=100, output_tokens=50)
_entries = msgspec.msgpack.Decoder(Entry)


class AheadClock(SystemClock):
    """The machine's clock, turned forward by hand."""

    ahead_s = 0.0

    def wall_s(self) -> float:
        return super().wall_s() + self.ahead_s

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.ahead_s


def an_entry(journal: str, number: int, **changes: Any) -> Entry:
    facts: dict[str, Any] = {
        "id": entry_id(journal, number), "request_id": f"req_{number}", "at_s": SystemClock().wall_s(),
        "client_id": "ck_1", "route": "chat", "model_asked": MODEL, "status": 200, "outcome": "served",
    }  # fmt: skip
    return Entry(**{**facts, **changes})


def a_sent(number: int, **changes: Any) -> Sent:
    """A try of a call of the client, with what it has reserved."""
    facts: dict[str, Any] = {
        "number": number, "request_id": f"req_{number}", "at_s": SystemClock().wall_s(), "client_id": "ck_1",
        "group_id": "", "key_id": "k1", "account": "", "route": "chat", "skin": "chat", "model": MODEL,
        "stream": False, "reserved_nano": RESERVED.nano, "input_tokens": RESERVED.input_tokens,
        "output_tokens": RESERVED.output_tokens, "held": True,
    }  # fmt: skip
    return Sent(**{**facts, **changes})


def journalled(log: CommitLog, number: int, *, cost_nano: int = 1, held: bool = False, **changes: Any) -> Parcel:
    """A closed call, written down."""
    entry = an_entry(log.id, number, cost_nano=cost_nano, **changes)
    closed = Closed(number, msgspec.Raw(entry_packed(entry)), held)
    return Parcel(log.append(packed(closed)), closed, entry)


@contextlib.contextmanager
def a_journal(folder: Path) -> Iterator[CommitLog]:
    log = CommitLog.create(folder, segment_bytes=65_536)
    try:
        yield log
    finally:
        log.close()


@contextlib.asynccontextmanager
async def limits_on(redis: RedisManager, journal: str) -> AsyncIterator[Limits]:
    limits = Limits(redis, SystemClock(), journal, WithoutRedis())
    try:
        yield limits
    finally:
        await limits.close()


class Booked:
    """What Redis says."""

    def __init__(self, redis: RedisManager) -> None:
        self._redis = redis

    def _name(self, *parts: str) -> str:
        return self._redis.keys.books(*parts)

    async def entries(self) -> list[Entry]:
        raw = await self._redis.command("XRANGE", self._name("ledger"), "-", "+")
        values = (next(iter(one.values())) if isinstance(one, dict) else one[1] for _, one in raw)
        return [_entries.decode(value) for value in values]

    async def numbers(self) -> list[int]:
        """Of the calls in the ledger, in its order."""
        return [int(entry.id.rpartition("-")[2]) for entry in await self.entries()]

    async def spent(self, subject: str = "g:gateway") -> int:
        return int(await self._redis.command("GET", self._name("spent", subject, "total")) or 0)

    async def reserved(self, *kinds: str) -> dict[str, Any]:
        """All that is still held, reserved or counted as running."""
        names = [
            bytes(name)
            for kind in kinds or ("held", "running", "holds")
            for name in await self._redis.command("KEYS", self._name(kind, "*"))
        ]
        return {name.decode(): await self._redis.command("TYPE", name) for name in names}

    async def running(self) -> int:
        names = await self._redis.command("KEYS", self._name("running", "*"))
        return sum([int(await self._redis.command("GET", name) or 0) for name in names])

    async def marks(self) -> dict[str, int]:
        raw = await self._redis.command("HGETALL", self._name("applied"))
        pairs = raw.items() if isinstance(raw, dict) else zip(raw[::2], raw[1::2], strict=True)
        return {bytes(journal).decode(): int(mark) for journal, mark in pairs}


async def snapshot(redis: RedisManager) -> dict[bytes, bytes]:
    """All that Redis holds."""
    names = [bytes(name) for name in await redis.command("KEYS", "*")]
    return {name: bytes(await redis.command("DUMP", name)) for name in names}


async def go_back(redis: RedisManager, older: dict[bytes, bytes]) -> None:
    """Redis as it was before: what a failover to a replica that lagged behind leaves."""
    await redis.command("FLUSHALL")
    for name, value in older.items():
        await redis.command("RESTORE", name, 0, value)


async def sweep_dead(redis: RedisManager, signs: SignsOfLife) -> None:
    """As if those who gave their last sign had given it long ago."""
    for name in await redis.command("KEYS", redis.keys.books("alive", "*")):
        await redis.command("DEL", name)
    for _ in range(10):
        await signs.sweep()
