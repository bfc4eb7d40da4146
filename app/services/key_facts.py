"""What probes have learnt of all OpenRouter keys: in Redis and in every worker's memory. Judges nothing.

Only the elected worker writes, and only while nobody was elected after it; but for the first facts of a new key.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from app.core.clock import Clock
from app.core.redis import RedisManager
from app.core.tasks import TaskSet
from app.models.key_facts import KeyFacts
from app.services.forecast import Sample
from app.services.listeners import Listeners

log = logging.getLogger(__name__)

PROBES: Final = "probes"  # the work that the elected worker does, in the names of its lease and fence
_SAMPLES: Final = 36
_SAMPLE_EVERY_S: Final = 60.0

_read: Final = msgspec.json.Decoder(KeyFacts).decode


class FactStore:
    """`get` and `every` answer from memory."""

    def __init__(self, redis: RedisManager, clock: Clock) -> None:
        self._redis = redis
        self._tasks = TaskSet()
        self._listeners = Listeners(clock)
        self._on_news: list[Callable[[KeyFacts], None]] = []
        self._facts: dict[str, KeyFacts] = {}
        self._samples: dict[str, deque[Sample]] = {}
        self._reading = asyncio.Lock()

    async def start(self, *, follow: bool = True) -> None:
        """Reads everything. With `follow` it stays up to date until `close`. Raises RedisUnavailable."""
        await self._reload()
        if follow:
            self._tasks.spawn(self._redis.listen(self._redis.keys.fact_changes, self._heard, self._reload), "key facts")

    async def close(self) -> None:
        await self._tasks.close()
        self._listeners.close()

    def subscribe(self, on_change: Callable[[], None]) -> None:
        """Called after facts have changed, in a flood of changes now and then."""
        self._listeners.add(on_change)

    def on_news(self, hear: Callable[[KeyFacts], None]) -> None:
        """Called with each fact that is newer than the one before it: a probe has succeeded somewhere."""
        self._on_news.append(hear)

    def get(self, key_id: str) -> KeyFacts | None:
        return self._facts.get(key_id)

    @property
    def every(self) -> Mapping[str, KeyFacts]:
        return self._facts

    def account_of(self, key_id: str) -> str:
        """Nothing where nobody knows it."""
        facts = self._facts.get(key_id)
        return facts.account if facts else ""

    def samples(self, key_id: str) -> tuple[Sample, ...]:
        """What the key had spent at earlier probes, the oldest first; since this worker started."""
        return tuple(self._samples.get(key_id, ()))

    async def put(self, facts: KeyFacts, token: int) -> bool:
        """False where somebody was elected after the holder of this fencing token. Raises RedisUnavailable."""
        return await self._store(facts.id, msgspec.json.encode(facts), token) and self._learn(facts)

    async def note(self, facts: KeyFacts) -> None:
        """What was learnt of a key when it was added, if nothing is known of it yet. It counts as never probed: who is
        elected looks at it all the same. Raises RedisUnavailable.
        """
        facts = msgspec.structs.replace(facts, probed_at=0.0)
        keys = self._redis.keys
        text = msgspec.json.encode(facts)
        if await self._redis.command("HSETNX", keys.key_facts, facts.id, text):
            await self._redis.command("PUBLISH", keys.fact_changes, b"+" + text)
            self._learn(facts)

    async def forget(self, key_id: str, token: int) -> bool:
        """The same for a key that is gone."""
        if not await self._store(key_id, b"", token):
            return False
        self._forget(key_id)
        return True

    async def _store(self, key_id: str, text: bytes, token: int) -> bool:
        keys = self._redis.keys
        arguments = [token, keys.fact_changes, key_id, text]
        return bool(await self._redis.script("facts", [keys.fence(PROBES), keys.key_facts], arguments))

    def _learn(self, facts: KeyFacts) -> bool:
        old = self._facts.get(facts.id)
        if old is not None and old.probed_at >= facts.probed_at:
            return True
        self._facts[facts.id] = facts
        if facts.probed_at:
            self._sample(facts)
            for hear in self._on_news:
                hear(facts)
        self._listeners.tell()
        return True

    def _sample(self, facts: KeyFacts) -> None:
        samples = self._samples.setdefault(facts.id, deque(maxlen=_SAMPLES))
        if samples and facts.usage_nano < samples[-1].usage_nano:
            samples.clear()
        if not samples or facts.probed_at - samples[-1].at_s >= _SAMPLE_EVERY_S:
            samples.append(Sample(facts.probed_at, facts.usage_nano))

    def _forget(self, key_id: str) -> None:
        self._samples.pop(key_id, None)
        if self._facts.pop(key_id, None) is not None:
            self._listeners.tell()

    async def _heard(self, payload: bytes) -> None:
        async with self._reading:
            if payload.startswith(b"-"):
                self._forget(payload[1:].decode("utf-8", "replace"))
            elif (facts := _facts(payload[1:])) is not None:
                self._learn(facts)

    async def _reload(self) -> None:
        async with self._reading:
            flat = await self._redis.command("HGETALL", self._redis.keys.key_facts)
            texts = flat.values() if isinstance(flat, dict) else flat[1::2]
            found = [facts for text in texts if (facts := _facts(bytes(text))) is not None]
            for gone in self._facts.keys() - {facts.id for facts in found}:
                self._forget(gone)
            for facts in found:
                self._learn(facts)


def _facts(text: bytes) -> KeyFacts | None:
    try:
        return _read(text)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        log.error("stored facts unreadable")  # noqa: TRY400 - it may quote
        return None
