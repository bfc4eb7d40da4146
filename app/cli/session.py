"""A command's session with the keys of a running gateway. Slow to import, so only `connect` does, when there is work.

It makes nothing but what the command asked for: least of all a session secret where no gateway has ever run.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from app.cli.output import NOT_REACHABLE, REFUSED, USAGE, CommandFailed
from app.core.clock import SystemClock
from app.core.config import Settings, SettingsError, load_settings
from app.core.logging import configure
from app.core.redis import RedisManager, RedisReplyError, RedisUnavailable, redis_options
from app.core.redis_checks import RedisRefused
from app.core.security import SealBroken, keyrings
from app.core.store_mark import StoreMark, StoreReset
from app.services.key_facts import FactStore
from app.services.key_manager import KeyManager, KeyRefused, NoSuchKey
from app.services.key_store import ConflictError
from app.services.upstream_api import KeyProbe

_Result = TypeVar("_Result")
_NOT_RUNNING: Final = (
    "The gateway is not running: start it with `make run` (or `openrouter-middleware serve`), or set REDIS_URL."
)


class NoGatewayError(Exception):
    """DATA_DIR is not one that a gateway has run on."""


def usable_settings() -> Settings:
    """Raises CommandFailed."""
    try:
        return load_settings()
    except SettingsError as error:
        raise CommandFailed(str(error), USAGE) from None


def run_on_keys(work: Callable[[KeyManager], Awaitable[_Result]], *, probe: bool, makes_secrets: bool) -> _Result:
    """Raises CommandFailed."""
    settings = usable_settings()
    configure("warning", "auto", sys.stderr)

    async def run() -> _Result:
        async with open_keys(settings, probe=probe) as keys:
            if makes_secrets:
                _refuse_foreign_secret(keys)
            return await work(keys)

    try:
        return asyncio.run(run())
    except (KeyRefused, NoSuchKey) as refusal:
        raise CommandFailed(str(refusal), REFUSED) from None
    except ConflictError:
        raise CommandFailed("Somebody else changed this key at the same moment: try again.", REFUSED) from None
    except SettingsError as error:
        raise CommandFailed(str(error), USAGE) from None
    except StoreReset as error:
        raise CommandFailed(f"{error} Nothing was changed.", REFUSED) from None
    except (RedisUnavailable, RedisReplyError, RedisRefused, NoGatewayError) as error:
        raise CommandFailed(_unreachable(settings, error), NOT_REACHABLE) from None


@asynccontextmanager
async def open_keys(settings: Settings, *, probe: bool) -> AsyncIterator[KeyManager]:
    """The keys in memory, once read and not followed."""
    clock = SystemClock()
    redis = RedisManager(redis_options(settings), clock)
    try:
        await redis.ping()
        if settings.embedded_redis and not _has_secret(settings):
            raise NoGatewayError
        ring, clients = keyrings(settings)
        asker = KeyProbe(settings) if probe else None
        try:
            mark = StoreMark(settings.data_dir, redis_options(settings), clock, keeps=False)
            keys = KeyManager(redis, ring, clients, clock, asker, mark, FactStore(redis, clock))
            await keys.start(follow=False)
            try:
                yield keys
            finally:
                await keys.close()
        finally:
            if asker is not None:
                await asker.close()
    finally:
        await redis.close()


def _has_secret(settings: Settings) -> bool:
    return bool(settings.session_secret_key.get_secret_value()) or (settings.data_dir / "session-secret").exists()


def _refuse_foreign_secret(keys: KeyManager) -> None:
    """What is made with other secrets than the gateway's would be stored and never work."""
    for key_id in keys.openrouter_keys:
        try:
            keys.secret_of(key_id)
        except SealBroken:
            continue
        return
    if keys.openrouter_keys:
        raise CommandFailed(
            "The secrets here are not the running gateway's: run this with its SESSION_SECRET_KEY, ENCRYPTION_KEYS "
            "and CLIENT_KEY_PEPPER (or its .env and DATA_DIR).",
            REFUSED,
        )


def _unreachable(settings: Settings, error: Exception) -> str:
    if settings.embedded_redis and isinstance(error, RedisUnavailable | NoGatewayError):
        return _NOT_RUNNING
    return f"{error}: check REDIS_URL and REDIS_PASSWORD."
