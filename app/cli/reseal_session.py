"""A command's session with everything that is sealed. Slow to import: only the command that needs it does."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

from app.cli.output import NOT_REACHABLE, REFUSED, USAGE, CommandFailed
from app.cli.session import NoGatewayError, usable_settings
from app.core.clock import SystemClock
from app.core.config import Settings, SettingsError
from app.core.logging import configure
from app.core.redis import RedisManager, RedisReplyError, RedisUnavailable, redis_options
from app.core.redis_checks import RedisRefused
from app.core.security import keyrings
from app.services.key_manager import KeyManager
from app.services.key_store import ConflictError
from app.services.reseal import Reseal

_Result = TypeVar("_Result")


def run_on_seals(work: Callable[[Reseal], Awaitable[_Result]]) -> tuple[_Result, int]:
    """What came of the work, and the version of the key that seals now. Raises CommandFailed."""
    settings = usable_settings()
    configure("error", "auto", sys.stderr)
    try:
        return asyncio.run(_run(settings, work))
    except SettingsError as error:
        raise CommandFailed(str(error), USAGE) from None
    except ConflictError:
        raise CommandFailed("Somebody else changes the same records all the time: run it again.", REFUSED) from None
    except NoGatewayError:
        raise CommandFailed("The gateway is not running: start it, or set REDIS_URL.", NOT_REACHABLE) from None
    except (RedisUnavailable, RedisReplyError, RedisRefused) as error:
        sentence = f"{error}: is the gateway running, and REDIS_URL right? Run it again to go on."
        raise CommandFailed(sentence, NOT_REACHABLE) from None


async def _run(settings: Settings, work: Callable[[Reseal], Awaitable[_Result]]) -> tuple[_Result, int]:
    clock = SystemClock()
    redis = RedisManager(redis_options(settings), clock)
    try:
        await redis.ping()
        secret = settings.session_secret_key.get_secret_value() or (settings.data_dir / "session-secret").exists()
        if settings.embedded_redis and not secret:
            raise NoGatewayError
        ring, clients = keyrings(settings)
        keys = KeyManager(redis, ring, clients, clock)
        await keys.start(follow=False)
        try:
            return await work(Reseal(redis, keys, ring, clock)), ring.current
        finally:
            await keys.close()
    finally:
        await redis.close()
