"""A command's session with the whole store: beside running gateways, or on their private Redis while none runs. Slow to
import: only the commands that need it do.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from app.cli.output import NOT_REACHABLE, REFUSED, USAGE, CommandFailed
from app.cli.secret_input import read_one
from app.cli.session import NoGatewayError, usable_settings
from app.core.clock import Clock, SystemClock
from app.core.config import Settings, SettingsError
from app.core.embedded import EmbeddedRedis, EmbeddedRedisError
from app.core.logging import configure
from app.core.redis import RedisManager, RedisOptions, RedisReplyError, RedisUnavailable, redis_options
from app.core.security import SealBroken, client_pepper, keyrings
from app.core.store_mark import StoreMark
from app.services.backup import Backup, note_deed
from app.services.client_pepper import stored_pepper
from app.services.restore import GatewaysRunError, Restore
from app.services.sealed_file import LEAST_SIGNS, FileRefused

_Result = TypeVar("_Result")
_PATIENCE_S: Final = 15.0
"""A page of large records takes longer than a call may wait."""
_FOREIGN: Final = (
    "The secrets here are not the running gateway's: run this with its SESSION_SECRET_KEY, ENCRYPTION_KEYS and "
    "CLIENT_KEY_PEPPER (or its .env and DATA_DIR)."
)


@dataclass(frozen=True, slots=True)
class StoreSession:
    """What a command may do with all that is stored."""

    settings: Settings
    redis: RedisManager
    clock: Clock

    async def backup(self) -> Backup:
        """Raises CommandFailed, SettingsError, RedisUnavailable."""
        ring, _ = keyrings(self.settings)
        try:
            pepper = await stored_pepper(self.redis, ring) or client_pepper(self.settings)
        except SealBroken:
            raise CommandFailed(_FOREIGN, REFUSED) from None
        return Backup(self.redis, self.settings.redis_prefix, ring, pepper, self.clock)

    def restore(self) -> Restore:
        """Raises SettingsError."""
        ring, _ = keyrings(self.settings)
        return Restore(self.redis, self.settings.redis_prefix, ring, client_pepper(self.settings), self.clock)

    async def note(self, by: str, deed: str, after: str) -> None:
        await note_deed(self.redis, self.clock, by, deed, after)

    @property
    def known_mark(self) -> str:
        """Of the store that gateways on this machine remember."""
        return StoreMark(self.settings.data_dir, redis_options(self.settings), self.clock, keeps=False).known


def run_on_store(work: Callable[[StoreSession], Awaitable[_Result]], *, alone: bool = False) -> _Result:
    """`alone`: a private Redis must have no gateway, and is made where there is none. Raises CommandFailed."""
    settings = usable_settings()
    configure("error", "auto", sys.stderr)

    async def run() -> _Result:
        async with _opened(settings, alone=alone) as session:
            return await work(session)

    try:
        return asyncio.run(run())
    except SettingsError as error:
        raise CommandFailed(str(error), USAGE) from None
    except (FileRefused, EmbeddedRedisError) as refusal:
        raise CommandFailed(str(refusal), REFUSED) from None
    except GatewaysRunError as refusal:
        raise CommandFailed(f"{refusal}: stop them first. Nothing was changed.", REFUSED) from None
    except NoGatewayError:
        raise CommandFailed("No gateway has run on this DATA_DIR: start it first, or set REDIS_URL.", REFUSED) from None
    except (RedisUnavailable, RedisReplyError) as error:
        raise CommandFailed(f"{error}: check REDIS_URL and REDIS_PASSWORD.", NOT_REACHABLE) from None
    except OSError as error:
        raise CommandFailed(f"{error.filename or 'The file'}: {error.strerror or 'cannot be used'}.", REFUSED) from None


@asynccontextmanager
async def _opened(settings: Settings, *, alone: bool) -> AsyncIterator[StoreSession]:
    clock = SystemClock()
    options = redis_options(settings)
    async with AsyncExitStack() as stack:
        if settings.embedded_redis and (alone or not await _answers(options, clock)):
            if not alone and not (settings.data_dir / "lock").exists():
                raise NoGatewayError
            own = EmbeddedRedis(settings.data_dir)
            await asyncio.to_thread(own.start)
            stack.push_async_callback(asyncio.to_thread, own.stop)
            options = redis_options(settings, own.url)
        patient = replace(options, timeout_s=max(options.timeout_s, _PATIENCE_S))
        redis = RedisManager(patient, clock)
        stack.push_async_callback(redis.close)
        await redis.ping()
        yield StoreSession(settings, redis, clock)


async def _answers(options: RedisOptions, clock: Clock) -> bool:
    redis = RedisManager(options, clock)
    try:
        await redis.ping()
    except RedisUnavailable:
        return False
    finally:
        await redis.close()
    return True


def passphrase(file: Path | None, *, new: bool) -> str:
    """From a file, the environment or the terminal. Raises CommandFailed."""
    if file is not None:
        text = read_one(file, "Passphrase (not shown): ").split("\n")[0].strip("\r")
    elif not (text := os.environ.get("BACKUP_PASSPHRASE", "")):
        if not sys.stdin.isatty():
            raise CommandFailed("Set BACKUP_PASSPHRASE, or name a file with --passphrase-file.", USAGE)
        text = read_one(None, "Passphrase (not shown): ")
        if new and read_one(None, "Once more: ") != text:
            raise CommandFailed("These were two different ones.", USAGE)
    if new and len(text) < LEAST_SIGNS:
        raise CommandFailed(f"The passphrase needs at least {LEAST_SIGNS} characters: it opens every key.", USAGE)
    return text
