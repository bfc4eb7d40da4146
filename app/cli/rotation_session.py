"""A command's session with the renewals of a running gateway. Slow to import, so only `rotation` does, at work."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from app.cli.output import NOT_REACHABLE, REFUSED, USAGE, CommandFailed, note
from app.cli.session import NoGatewayError, usable_settings
from app.core.clock import SystemClock
from app.core.config import Settings, SettingsError
from app.core.logging import configure
from app.core.redis import RedisManager, RedisReplyError, RedisUnavailable, redis_options
from app.core.redis_checks import RedisRefused
from app.core.security import SealBroken, keyrings
from app.models.renewal import Entry, Step
from app.services.drain_watch import DrainWatch
from app.services.key_manager import KeyManager, KeyRefused, NoSuchKey
from app.services.key_store import ConflictError
from app.services.management_api import ManagementApi, ManagementRefused
from app.services.renewal import Renewal, RenewalRefused
from app.services.upstream_api import ApiUnreachable, KeyProbe, UpstreamClient

_Result = TypeVar("_Result")
_LOOK_S: Final = 0.3
_RESTS: Final = frozenset({Step.QUARANTINE, Step.DELETE})


def run_on_renewals(work: Callable[[Renewal, KeyManager], Awaitable[_Result]]) -> _Result:
    """Raises CommandFailed."""
    settings = usable_settings()
    configure("error", "auto", sys.stderr)

    async def run() -> _Result:
        async with _opened(settings) as (renewal, keys):
            return await work(renewal, keys)

    try:
        return asyncio.run(run())
    except (RenewalRefused, KeyRefused, NoSuchKey) as refusal:
        raise CommandFailed(str(refusal), REFUSED) from None
    except ConflictError:
        raise CommandFailed("Somebody else works on this key at the same moment: try again.", REFUSED) from None
    except SealBroken:
        raise CommandFailed(
            "The secrets here are not the running gateway's: use its .env and DATA_DIR.", REFUSED
        ) from None
    except SettingsError as error:
        raise CommandFailed(str(error), USAGE) from None
    except ManagementRefused as refusal:
        raise CommandFailed(f"OpenRouter refused the management key's call ({refusal}).", REFUSED) from None
    except ApiUnreachable as failure:
        raise CommandFailed(f"OpenRouter cannot be reached ({failure}).", NOT_REACHABLE) from None
    except NoGatewayError:
        raise CommandFailed("The gateway is not running: start it, or set REDIS_URL.", NOT_REACHABLE) from None
    except (RedisUnavailable, RedisReplyError, RedisRefused) as error:
        raise CommandFailed(f"{error}: is the gateway running, and REDIS_URL right?", NOT_REACHABLE) from None


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[tuple[Renewal, KeyManager]]:
    clock = SystemClock()
    redis = RedisManager(redis_options(settings), clock)
    client = UpstreamClient(settings)
    try:
        await redis.ping()
        secret = settings.session_secret_key.get_secret_value() or (settings.data_dir / "session-secret").exists()
        if settings.embedded_redis and not secret:
            raise NoGatewayError
        ring, clients = keyrings(settings)
        probe = KeyProbe(settings, client)
        keys = KeyManager(redis, ring, clients, clock, probe)
        # Others may act on the same keys meanwhile, and a renewal takes its time.
        await keys.start(follow=True)
        try:
            drains = DrainWatch(redis, clock)
            yield Renewal(settings, redis, keys, ManagementApi(client), probe, drains, ring, clock), keys
        finally:
            await keys.close()
    finally:
        await client.close()
        await redis.close()


async def follow(renewal: Renewal, entry: Entry) -> Entry:
    """Goes on with an entry, or watches a worker do it, until it is closed or only waits for its quarantine."""
    step, problem = entry.step, ""
    while True:
        now = await renewal.advance(entry.id) or entry
        if now.step is not step or now.problem != problem:
            note(f"{now.step.value}{f': {now.problem}' if now.problem else ''}")
            step, problem = now.step, now.problem
        if not now.is_open or now.step in _RESTS:
            return now
        await asyncio.sleep(_LOOK_S)
