"""The first deed of every audit: that the gateway was installed. Noted once, and never where anything stands."""

from __future__ import annotations

import logging
from typing import Final

import msgspec

from app import __version__
from app.core.clock import Clock
from app.core.redis import RedisManager
from app.services.audit_chain import Deed, Head, link_hash

log = logging.getLogger(__name__)

DEED: Final = "installed"
_NO_RECORD: Final = "-"


async def note_installation(redis: RedisManager, clock: Clock) -> bool:
    """Whether it was noted now. The script takes only a first link, so that of several workers one does it, and of an
    audit that has begun none. Raises RedisUnavailable.
    """
    deed = Deed(
        at=clock.wall_s(), by="gateway", deed=DEED, kind="gateway", id="gateway", name="gateway", after=__version__
    )
    text, keys, before = msgspec.json.encode(deed), redis.keys, Head()
    link = ("", "", before.number + 1, before.hash, link_hash(before, b"", text))
    names = [keys.managed_keys, keys.audit, keys.audit_head]
    outcome, *_ = await redis.script("journal", names, [_NO_RECORD, 0, b"", text, *link])
    if outcome != b"ok":
        return False
    log.info("audit has begun", extra={"version": __version__})
    return True
