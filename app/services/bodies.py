"""What was asked and answered, for clients that have it kept: sealed, apart from the ledger, for a short time.

Nothing waits for it, and no call fails for it: what cannot be kept is dropped.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import zlib
from collections import deque
from typing import Final

import msgspec

from app.core.clock import Clock
from app.core.redis import RedisManager, RedisReplyError, RedisUnavailable
from app.core.security import KeyRing, SealBroken, redact_bytes
from app.core.tasks import TaskSet

log = logging.getLogger(__name__)

_LONGEST: Final = 64 * 1024
_MOST_WAITING: Final = 128
_MOST_KEPT: Final = 2000
_LEVEL: Final = 1


class Body(msgspec.Struct, frozen=True, array_like=True):
    """Both without anything that looks like a key. Cut where they were longer than what is kept of one."""

    asked: bytes
    answered: bytes
    asked_cut: bool = False
    answered_cut: bool = False


class Bodies:
    """One for each worker. At most 2,000 of them stand in Redis, each of at most 64 KiB asked and answered."""

    def __init__(self, redis: RedisManager, tasks: TaskSet, clock: Clock, ring: KeyRing, *, kept_h: float) -> None:
        self._redis = redis
        self._tasks = tasks
        self._clock = clock
        self._ring = ring
        self._kept_s = max(1, int(kept_h * 3600))
        self._waiting: deque[tuple[str, Body]] = deque()
        self._writing = False
        self.dropped = 0

    def keep_for(self, hours: float) -> None:
        """What is kept from now on."""
        self._kept_s = max(1, int(hours * 3600))

    def keep(self, request_id: str, asked: bytes, answered: bytes) -> None:
        """Keeps them within moments, unless too many wait already."""
        if len(self._waiting) >= _MOST_WAITING:
            self.dropped += 1
            return
        body = Body(asked[:_LONGEST], answered[:_LONGEST], len(asked) > _LONGEST, len(answered) > _LONGEST)
        self._waiting.append((request_id, body))
        if not self._writing:
            self._writing = True
            self._tasks.spawn(self._write(), "bodies: seal and keep")

    async def read(self, request_id: str) -> Body | None:
        """None where none is kept, or none that opens. Raises RedisUnavailable."""
        sealed = await self._redis.command("GET", self._name(request_id))
        if sealed is None:
            return None
        try:
            return _opened(self._ring, bytes(sealed).decode(), _context(request_id))
        except (SealBroken, msgspec.MsgspecError, zlib.error, binascii.Error, UnicodeDecodeError):
            log.error("kept body unreadable", extra={"request_id": request_id})  # noqa: TRY400 - it may quote
            return None

    async def flush(self) -> None:
        """Writes what waits. Raises RedisUnavailable; what was being written is lost then."""
        while self._waiting:
            request_id, body = self._waiting.popleft()
            sealed = await asyncio.to_thread(_sealed, self._ring, body, _context(request_id))
            await self._put(request_id, sealed)

    async def _put(self, request_id: str, sealed: str) -> None:
        shelf = self._redis.keys.books("bodies")
        _, _, _, oldest = await self._redis.pipeline(
            [
                ("SET", self._name(request_id), sealed, "EX", self._kept_s),
                ("ZADD", shelf, int(self._clock.wall_s() * 1000), request_id),
                ("EXPIRE", shelf, self._kept_s),
                ("ZRANGE", shelf, 0, -_MOST_KEPT - 1),
            ]
        )
        # The shelf also lists what has ended by itself; that makes it drop no more than it must.
        if oldest:
            names = [bytes(name).decode() for name in oldest]
            await self._redis.pipeline([("ZREM", shelf, *names), ("DEL", *map(self._name, names))])

    async def _write(self) -> None:
        try:
            while self._waiting:
                try:
                    await self.flush()
                except (RedisUnavailable, RedisReplyError) as error:
                    self.dropped += 1 + len(self._waiting)
                    self._waiting.clear()
                    log.warning("bodies not kept", extra={"reason": str(error), "dropped": self.dropped})
        finally:
            self._writing = False

    def _name(self, request_id: str) -> str:
        return self._redis.keys.books("body", request_id)


def _context(request_id: str) -> str:
    return f"body:{request_id}"


def _sealed(ring: KeyRing, body: Body, context: str) -> str:
    clean = Body(redact_bytes(body.asked), redact_bytes(body.answered), body.asked_cut, body.answered_cut)
    packed = zlib.compress(msgspec.msgpack.encode(clean), _LEVEL)
    return ring.seal(base64.b64encode(packed).decode(), context=context)


def _opened(ring: KeyRing, sealed: str, context: str) -> Body:
    packed = base64.b64decode(ring.unseal(sealed, context=context).reveal())
    return msgspec.msgpack.decode(zlib.decompress(packed), type=Body)
