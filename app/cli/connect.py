"""From a command to the keys of a running gateway: settings, Redis, key manager, and failures as sentences."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from app.cli.output import CommandFailed
from app.core.clock import SystemClock
from app.core.config import Settings, SettingsError, load_settings
from app.core.redis import RedisManager, RedisReplyError, RedisUnavailable, redis_options
from app.core.redis_checks import RedisRefused
from app.core.security import SealBroken, keyrings
from app.services.key_manager import KeyManager, KeyRefused, NoSuchKey
from app.services.key_store import ConflictError
from app.services.upstream_api import KeyProbe

REFUSED: Final = 1
USAGE: Final = 2
NOT_REACHABLE: Final = 3

_Result = TypeVar("_Result")


def with_keys(
    work: Callable[[KeyManager], Awaitable[_Result]], *, probe: bool = False, makes_secrets: bool = False
) -> _Result:
    """Runs the work on the keys as they are now. Raises CommandFailed."""
    settings = usable_settings()

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
    except (RedisUnavailable, RedisReplyError, RedisRefused) as error:
        raise CommandFailed(_unreachable(settings, error), NOT_REACHABLE) from None


def usable_settings() -> Settings:
    try:
        return load_settings()
    except SettingsError as error:
        raise CommandFailed(str(error), USAGE) from None


@asynccontextmanager
async def open_keys(settings: Settings, *, probe: bool) -> AsyncIterator[KeyManager]:
    """The keys in memory, once read and not followed."""
    clock = SystemClock()
    redis = RedisManager(redis_options(settings), clock)
    try:
        # First of all, because the next step would make a session secret where no gateway has ever run.
        await redis.ping()
        ring, clients = keyrings(settings)
        asker = KeyProbe(settings) if probe else None
        try:
            keys = KeyManager(redis, ring, clients, clock, asker)
            await keys.start(follow=False)
            yield keys
        finally:
            if asker is not None:
                await asker.close()
    finally:
        await redis.close()


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
    if isinstance(error, RedisUnavailable) and settings.embedded_redis:
        return (
            f"No gateway runs on DATA_DIR {settings.data_dir.absolute()}: start the gateway with `make run` "
            "(or `openrouter-middleware serve`) first, or set REDIS_URL."
        )
    return f"{error}: check REDIS_URL and REDIS_PASSWORD."


def deed_author() -> str:
    """Who stands in the audit as the author of a deed done here."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError, ImportError):
        return "cli"
