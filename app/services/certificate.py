"""How many days OpenRouter's certificate, or the one of a proxy in its place, is still good."""

from __future__ import annotations

import asyncio

from app.core.clock import Clock
from app.core.config import Settings
from app.transport import Origin
from app.transport.certificate import good_until

_DAY_S = 86_400


async def certificate_days(settings: Settings, clock: Clock, limit_s: float) -> float | None:
    """None without TLS, through a forward proxy, or where nobody answers."""
    url = settings.upstream
    if url.scheme != "https" or settings.https_proxy:
        return None
    origin = Origin(url.scheme, url.host, url.port)
    until_s = await asyncio.to_thread(good_until, origin, settings.openrouter_ca_file, limit_s)
    return None if until_s is None else (until_s - clock.wall_s()) / _DAY_S
