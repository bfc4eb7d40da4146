"""The public lists of models and providers, kept in Redis for all workers and in memory for this one.

Fresh for a while, then served stale while one worker of all fetches anew. Decides nothing about keys: `fetch` has one.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

from app.core.clock import Clock
from app.core.errors import GatewayError
from app.core.redis import RedisManager, RedisUnavailable
from app.core.tasks import TaskSet
from app.services.catalogue_entry import CatalogueAnswer, Entry, Headers, answer_of, entry_of, from_bytes, to_bytes
from app.services.wire import header

_T = TypeVar("_T")

log = logging.getLogger(__name__)

_STALE_S = 86_400.0
_LARGEST = 16 * 1024 * 1024
# A caller may invent queries and headers without end: such answers live shorter, and so many are kept in an hour.
_RARE_S = 3600.0
_RARE_PER_HOUR = 300
_COMMON_ACCEPT = frozenset({b"", b"*/*", b"application/json"})
_MEMORY_BYTES = 64 * 1024 * 1024
_MEMORY_ENTRIES = 256
_LOCK_S = 30.0
_RETRY_S = 5.0
_POLL_S = 0.05
_POLLS = 100
_INLINE_BYTES = 32_768


class Fetched(Protocol):
    """An answer of upstream, whole."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Headers: ...

    @property
    def body(self) -> bytes: ...


Fetch = Callable[[bytes, list[tuple[bytes, bytes]]], Awaitable[Fetched]]


@dataclass(frozen=True, slots=True)
class _Ask:
    """What changes an answer. `kept_s` is how long an old one may be served."""

    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    digest: str
    common: bool

    @property
    def kept_s(self) -> float:
        return _STALE_S if self.common else _RARE_S


# What a shared fetch came to. An error is carried, not raised: several callers may wait for it, or none.
_Outcome: TypeAlias = Entry | CatalogueAnswer | GatewayError


class Catalogue:
    """Answers GETs of public lists. Raises GatewayError where there is neither an answer nor an older one."""

    def __init__(self, redis: RedisManager, fetch: Fetch, clock: Clock, tasks: TaskSet, ttl_s: float) -> None:
        self._redis = redis
        self._fetch = fetch
        self._clock = clock
        self._tasks = tasks
        self._ttl_s = ttl_s
        self._memory: OrderedDict[str, Entry] = OrderedDict()
        self._memory_bytes = 0
        self._flights: dict[str, asyncio.Task[_Outcome]] = {}
        self._rests: dict[str, float] = {}

    async def answer(self, target: bytes, headers: Headers) -> CatalogueAnswer:
        """`target` is the path below the base's prefix, with its query to the byte."""
        ask = _ask_of(target, headers)
        entry = self._memory.get(ask.digest)
        if entry is None or self._age_s(entry) >= ask.kept_s:
            outcome = await asyncio.shield(self._fly(ask.digest, self._first(ask)))
            if isinstance(outcome, GatewayError):
                raise outcome
            if isinstance(outcome, CatalogueAnswer):
                return outcome
            entry = outcome
        else:
            self._memory.move_to_end(ask.digest)
        if self._age_s(entry) >= self._ttl_s and self._clock.monotonic_s() >= self._rests.get(ask.digest, 0.0):
            self._fly(ask.digest, self._renew(ask, entry))
        return answer_of(entry, headers, self._clock.wall_s())

    def _age_s(self, entry: Entry) -> float:
        # A clock that was set back must not make an entry last for ever.
        return abs(self._clock.wall_s() - entry.fetched_at)

    def _fly(self, digest: str, work: Coroutine[Any, Any, _Outcome]) -> asyncio.Task[_Outcome]:
        """The one task of this worker that is after this entry."""
        flight = self._flights.get(digest)
        if flight is not None:
            work.close()
            return flight
        flight = self._tasks.spawn(work, "catalogue: fetch")
        self._flights[digest] = flight
        flight.add_done_callback(lambda _: self._flights.pop(digest, None))
        return flight

    async def _first(self, ask: _Ask) -> _Outcome:
        """Nothing in memory: what other workers have, else what upstream says."""
        try:
            stored = await self._wait_turn(ask)
        except RedisUnavailable:
            stored = None
        if stored is not None:
            self._keep(ask.digest, stored)
            return stored
        outcome = await self._from_upstream(ask)
        if not isinstance(outcome, Entry):
            with contextlib.suppress(RedisUnavailable):
                await self._redis.command("DEL", self._redis.keys.lock(f"catalogue:{ask.digest}"))
        return outcome

    async def _wait_turn(self, ask: _Ask) -> Entry | None:
        """What another worker stores while it has the lock, or None when it is this one's turn to fetch."""
        for _ in range(_POLLS):
            stored = await self._load(ask)
            if stored is not None or await self._lock(ask):
                return stored
            await asyncio.sleep(_POLL_S)
        return None

    async def _renew(self, ask: _Ask, old: Entry) -> _Outcome:
        """Something old is being served meanwhile, and goes on being served where this fails."""
        # Until the lock's end nobody else tries either: that is the pause after a failure.
        self._rests[ask.digest] = self._clock.monotonic_s() + min(_RETRY_S, self._ttl_s)
        try:
            stored = await self._load(ask)
            if stored is not None and stored.fetched_at > old.fetched_at:
                self._keep(ask.digest, stored)
                old = stored
            if self._age_s(old) < self._ttl_s or not await self._lock(ask):
                return old
        except RedisUnavailable:
            log.debug("catalogue kept locally")
        outcome = await self._from_upstream(ask)
        if isinstance(outcome, Entry):
            return outcome
        log.warning("catalogue refresh failed", extra={"status": outcome.status, "age_s": round(self._age_s(old))})
        return old

    async def _from_upstream(self, ask: _Ask) -> _Outcome:
        try:
            fetched = await self._fetch(ask.target, list(ask.headers))
        except GatewayError as error:
            return error
        if fetched.status != 200 or len(fetched.body) >= _LARGEST:
            return CatalogueAnswer(fetched.status, list(fetched.headers), fetched.body)
        entry = await _off_loop(len(fetched.body), entry_of, fetched.headers, fetched.body, self._clock.wall_s())
        self._keep(ask.digest, entry)
        try:
            await self._store(ask, entry)
        except RedisUnavailable:
            log.debug("catalogue kept locally")
        return entry

    async def _load(self, ask: _Ask) -> Entry | None:
        stored: bytes | None = await self._redis.command("GET", self._redis.keys.catalogue(ask.digest))
        if stored is None:
            return None
        entry = await _off_loop(len(stored) * 8, from_bytes, stored)
        return entry if entry is not None and self._age_s(entry) < ask.kept_s else None

    async def _store(self, ask: _Ask, entry: Entry) -> None:
        if not ask.common:
            hour = self._redis.keys.lock(f"catalogue-rare:{int(self._clock.wall_s() // 3600)}")
            count, _ = await self._redis.pipeline([("INCR", hour), ("EXPIRE", hour, "7200")])
            if int(count) > _RARE_PER_HOUR:
                return
        kept_ms = int(ask.kept_s * 1000)
        await self._redis.command("SET", self._redis.keys.catalogue(ask.digest), to_bytes(entry), "PX", str(kept_ms))

    async def _lock(self, ask: _Ask) -> bool:
        """Whether this worker may fetch. The lock ends by itself, so a worker that dies holds up nobody for long."""
        expiry_ms = int(min(_LOCK_S, self._ttl_s) * 1000)
        name = self._redis.keys.lock(f"catalogue:{ask.digest}")
        return await self._redis.command("SET", name, b"1", "NX", "PX", str(max(expiry_ms, 1))) is not None

    def _keep(self, digest: str, entry: Entry) -> None:
        if (old := self._memory.pop(digest, None)) is not None:
            self._memory_bytes -= old.size
        self._memory[digest] = entry
        self._memory_bytes += entry.size
        while self._memory_bytes > _MEMORY_BYTES or len(self._memory) > _MEMORY_ENTRIES:
            gone, dropped = self._memory.popitem(last=False)
            self._memory_bytes -= dropped.size
            self._rests.pop(gone, None)


def _ask_of(target: bytes, headers: Headers) -> _Ask:
    """The request headers that change the answer are its form and the kind of client it is curated for."""
    agent, accept, version = (header(headers, name) for name in (b"user-agent", b"accept", b"anthropic-version"))
    parts = (target, accept, version, _client_kind(agent))
    framed = b"".join(b"%d:%b" % (len(part), part) for part in parts)
    sent = ((b"user-agent", agent), (b"accept", accept), (b"anthropic-version", version))
    return _Ask(
        target,
        (*(pair for pair in sent if pair[1]), (b"accept-encoding", b"identity")),
        hashlib.sha256(framed).hexdigest(),
        b"?" not in target and not version and accept in _COMMON_ACCEPT,
    )


def _client_kind(agent: bytes) -> bytes:
    agent = agent.lower()
    return b"claude" if b"claude" in agent else b"codex" if b"codex" in agent else b"other"


async def _off_loop(size: int, work: Callable[..., _T], *args: Any) -> _T:
    """Compressing a megabyte takes longer than any other call should wait."""
    return work(*args) if size < _INLINE_BYTES else await asyncio.to_thread(work, *args)
