"""The pepper that the stored client keys were hashed with, where it is not the one of these settings: a restored store
brings its own, sealed.
"""

from __future__ import annotations

import base64
import logging
from typing import Final

from app.core.redis import RedisManager
from app.core.security import ClientKeyring, KeyRing, SealBroken

log = logging.getLogger(__name__)

CONTEXT: Final = "client key pepper"


async def adopt(redis: RedisManager, ring: KeyRing, clients: ClientKeyring) -> None:
    """Raises RedisUnavailable."""
    try:
        pepper = await stored_pepper(redis, ring)
    except SealBroken:
        detail = "No client key is known until the gateway has the ENCRYPTION_KEYS that the store was sealed with."
        log.error("client pepper unreadable", extra={"detail": detail})  # noqa: TRY400 - no frames of ours
        return
    if pepper is not None:
        clients.use(pepper)


async def stored_pepper(redis: RedisManager, ring: KeyRing) -> bytes | None:
    """None where that of the settings counts. Raises SealBroken, RedisUnavailable."""
    stored = await stored_seal(redis)
    return opened(ring, stored) if stored else None


async def stored_seal(redis: RedisManager) -> str:
    """Empty where there is none. Raises RedisUnavailable."""
    return bytes(await redis.command("GET", redis.keys.client_pepper) or b"").decode("ascii", "replace")


def opened(ring: KeyRing, sealed: str) -> bytes:
    """Raises SealBroken."""
    pepper = base64.b64decode(ring.unseal(sealed, context=CONTEXT).reveal())
    if len(pepper) < 32:
        raise SealBroken
    return pepper


def sealed_pepper(ring: KeyRing, pepper: bytes) -> str:
    return ring.seal(base64.b64encode(pepper).decode(), context=CONTEXT)


async def reseal(redis: RedisManager, ring: KeyRing) -> bool:
    """Whether it was sealed by an older key. Raises SealBroken, RedisUnavailable."""
    stored = await stored_seal(redis)
    sealed = ring.resealed(stored, context=CONTEXT) if stored else stored
    if sealed == stored:
        return False
    await redis.command("SET", redis.keys.client_pepper, sealed)
    return True
