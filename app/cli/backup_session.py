"""A command's session with the whole store, for copies of it: before running gateways, or on their private Redis when
none runs. Slow to import: only the commands that need it do.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from app.cli.output import NOT_REACHABLE, REFUSED, USAGE, CommandFailed
from app.cli.session import usable_settings
from app.core.clock import Clock, SystemClock
from app.core.config import Settings, SettingsError
from app.core.embedded import EmbeddedRedis, EmbeddedRedisError
from app.core.logging import configure
from app.core.redis import RedisManager, RedisReplyError, RedisUnavailable, redis_options
from app.core.redis_checks import RedisRefused
from app.core.session_secret import resolve_session_secret
from app.core.store_mark import StoreMark
from app.services.backup_file import BackupBroken
from app.services.store_blocks import StoreBlocks

_Result = TypeVar("_Result")
SECRETS = ("session_secret_key", "encryption_keys", "client_key_pepper")


@dataclass(frozen=True, slots=True)
class CopySession:
    """`running`: how many gateway processes work on this store."""

    settings: Settings
    redis: RedisManager
    clock: Clock
    copy: StoreBlocks
    running: int

    def secrets(self) -> dict[str, str]:
        """What opens the stored keys and knows the client keys: the settings' values, by name."""
        found = {name: getattr(self.settings, name).get_secret_value() for name in SECRETS}
        return found | {"session_secret_key": resolve_session_secret(self.settings).get_secret_value()}

    def mark_file(self) -> Path:
        """Where this machine remembers the store; without it, the next start takes the store as it finds it."""
        return StoreMark(self.settings.data_dir, redis_options(self.settings), self.clock, keeps=False).file


def run_on_copy(work: Callable[[CopySession], Awaitable[_Result]], *, private: bool = False) -> _Result:
    """`private`: nobody else may work on a private Redis meanwhile. Raises CommandFailed."""
    settings = usable_settings()
    configure("error", "auto", sys.stderr)

    async def run() -> _Result:
        async with _opened(settings, private=private) as session:
            return await work(session)

    try:
        return asyncio.run(run())
    except SettingsError as error:
        raise CommandFailed(str(error), USAGE) from None
    except BackupBroken as broken:
        raise CommandFailed(str(broken), REFUSED) from None
    except EmbeddedRedisError as error:
        raise CommandFailed(str(error), NOT_REACHABLE) from None
    except (RedisUnavailable, RedisReplyError, RedisRefused) as error:
        raise CommandFailed(f"{error}: check REDIS_URL and REDIS_PASSWORD.", NOT_REACHABLE) from None
    except OSError as error:
        name = Path(error.filename).name if error.filename else "the file"
        raise CommandFailed(f"{name}: {error.strerror or 'cannot be used'}.", REFUSED) from None


@asynccontextmanager
async def _opened(settings: Settings, *, private: bool) -> AsyncIterator[CopySession]:
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        if settings.embedded_redis and (private or not await _runs(settings, clock)):
            own = EmbeddedRedis(settings.data_dir)
            await asyncio.to_thread(own.start)
            stack.push_async_callback(asyncio.to_thread, own.stop)
        redis = RedisManager(redis_options(settings), clock)
        stack.push_async_callback(redis.close)
        await redis.connect()
        running = int(await redis.command("SCARD", redis.keys.books("workers")))
        copy = StoreBlocks(redis, settings.redis_prefix)
        yield CopySession(settings, redis, clock, copy, running)


async def _runs(settings: Settings, clock: Clock) -> bool:
    """Whether a gateway has its private Redis running."""
    redis = RedisManager(redis_options(settings), clock)
    try:
        await redis.ping()
    except (RedisUnavailable, RedisReplyError):
        return False
    finally:
        await redis.close()
    return True


def passphrase(file: Path | None, *, twice: bool) -> str:
    """From a file, the environment (BACKUP_PASSPHRASE) or the terminal. Raises CommandFailed."""
    import typer

    if file is not None:
        try:
            text = file.read_text("utf-8").strip("\r\n")
        except (OSError, UnicodeDecodeError):
            raise CommandFailed(f"{file.name} cannot be read.", REFUSED) from None
    elif not (text := os.environ.get("BACKUP_PASSPHRASE", "")):
        if not sys.stdin.isatty():
            raise CommandFailed("Give the passphrase in BACKUP_PASSPHRASE or --passphrase-file.", USAGE)
        text = str(typer.prompt("Passphrase", hide_input=True, confirmation_prompt=twice, err=True))
    if twice and len(text) < 12:
        raise CommandFailed("A passphrase of at least 12 characters, please: it opens every key.", USAGE)
    return text
