"""Who made which object upstream: files, batches, videos, containers, generations. Only its maker may ask for it, with
the key that made it.

Marks are written in batches off the request path; an object that a caller can ask for at once is marked before it is
told of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from dataclasses import dataclass

from app.core.clock import Clock
from app.core.redis import RedisManager, RedisUnavailable
from app.core.tasks import TaskSet

log = logging.getLogger(__name__)

_DAY_S = 86_400
_KEPT_S = {"file": 400 * _DAY_S, "batch": 60 * _DAY_S, "video": 60 * _DAY_S, "container": 60 * _DAY_S}
# A container's id can hold a session id, which any caller may choose: what is not yet written proves nothing.
_CHOSEN_BY_CALLERS = frozenset({"container"})
_BATCH_S = 0.02
_RETRY_S = 1.0
_MOST_PENDING = 100_000
_MOST_AT_ONCE = 1000
_GENERATION_HOURS = 48


@dataclass(frozen=True, slots=True)
class Owner:
    """The client key that made an object and the OpenRouter key it was made with."""

    client_id: str
    key_id: str


class Owners:
    """The book of marks: what is not written yet is answered from memory, the rest from Redis."""

    def __init__(self, redis: RedisManager, tasks: TaskSet, clock: Clock) -> None:
        self._redis = redis
        self._tasks = tasks
        self._clock = clock
        self._pending: dict[tuple[str, str], Owner] = {}
        self._writing = False

    def mark(self, kind: str, object_id: str, owner: Owner) -> None:
        """Notes the owner; it reaches Redis within moments."""
        if len(self._pending) < _MOST_PENDING:
            self._pending[kind, object_id] = owner
        if not self._writing:
            self._writing = True
            self._tasks.spawn(self._write_soon(), "owners: write marks")

    async def mark_now(self, kind: str, object_id: str, owner: Owner) -> None:
        """Notes the owner before the caller hears of the object; falls back to `mark` while Redis is away."""
        try:
            await self._redis.pipeline([self._command(kind, object_id, owner)])
        except RedisUnavailable:
            self.mark(kind, object_id, owner)

    async def find(self, kind: str, object_id: str) -> Owner | None:
        """The owner, or None where nobody is known. Raises RedisUnavailable where that cannot be told."""
        pending = self._pending.get((kind, object_id))
        if pending is not None and kind not in _CHOSEN_BY_CALLERS:
            return pending
        if not object_id or len(object_id) > 512:
            return None
        if kind == "generation":
            value = await self._find_generation(object_id)
        else:
            value = await self._redis.command("GET", self._redis.keys.owner(kind, object_id))
        if value is None:
            return pending
        client_id, _, key_id = bytes(value).decode().partition(" ")
        return Owner(client_id, key_id)

    async def owned_by(self, client_id: str, kind: str, object_ids: Collection[str]) -> set[str]:
        """Which of these objects the client made."""
        found = await asyncio.gather(*(self.find(kind, object_id) for object_id in object_ids))
        owners = zip(object_ids, found, strict=True)
        return {object_id for object_id, owner in owners if owner is not None and owner.client_id == client_id}

    async def _find_generation(self, object_id: str) -> bytes | None:
        hours = range(self._hour(), self._hour() - _GENERATION_HOURS, -1)
        asked = [("HGET", self._redis.keys.generations(hour), object_id) for hour in hours]
        return next((bytes(value) for value in await self._redis.pipeline(asked) if value is not None), None)

    def _hour(self) -> int:
        return int(self._clock.wall_s() // 3600)

    async def flush(self) -> None:
        """Writes what is pending, as far as Redis lets it."""
        while self._pending:
            batch = list(self._pending.items())[:_MOST_AT_ONCE]
            await self._redis.pipeline(self._commands(batch))
            for mark, _ in batch:
                self._pending.pop(mark, None)

    def _commands(self, batch: list[tuple[tuple[str, str], Owner]]) -> list[tuple[str, ...]]:
        """Generations are many, one for each call: an hour's share one hash, so that a batch of them is one command."""
        commands: list[tuple[str, ...]] = []
        fields: list[str] = []
        for (kind, name), owner in batch:
            if kind == "generation":
                fields += (name, f"{owner.client_id} {owner.key_id}")
            else:
                commands.append(self._command(kind, name, owner))
        if fields:
            name = self._redis.keys.generations(self._hour())
            commands += [("HSET", name, *fields), ("EXPIRE", name, str(3600 * (_GENERATION_HOURS + 1)))]
        return commands

    async def _write_soon(self) -> None:
        try:
            await asyncio.sleep(_BATCH_S)
            while self._pending:
                try:
                    await self.flush()
                except RedisUnavailable:
                    log.warning("owner marks waiting", extra={"pending": len(self._pending)})
                    await asyncio.sleep(_RETRY_S)
        finally:
            self._writing = False

    def _command(self, kind: str, object_id: str, owner: Owner) -> tuple[str, ...]:
        value = f"{owner.client_id} {owner.key_id}"
        # NX: the first to make an object owns it, whoever names it later.
        return ("SET", self._redis.keys.owner(kind, object_id), value, "NX", "EX", str(_KEPT_S[kind]))
