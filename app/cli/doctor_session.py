"""Gathers what the doctor looks at: settings, machine, Redis, keys, OpenRouter. Everything is asked; nothing that fails
ends it. Slow to import: only `doctor` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import shutil
import stat
import sys
from contextlib import AsyncExitStack
from email.utils import parsedate_to_datetime
from typing import Any, Final

from app.cli.session import NoGatewayError, open_keys, usable_settings
from app.core.clock import SystemClock
from app.core.config import Settings, SettingsError, unknown_names
from app.core.logging import configure
from app.core.redis import RedisManager, RedisReplyError, RedisUnavailable, redis_options
from app.core.redis_checks import RedisRefused
from app.core.security import SealBroken, Secret
from app.core.store_mark import StoreReset
from app.models.keys import KeyKind, KeyState
from app.services.certificate import certificate_days
from app.services.doctor import Facts
from app.services.key_facts import FactStore
from app.services.key_manager import KeyManager
from app.services.key_picture import Standing, key_pictures
from app.services.marks import Marks
from app.services.upstream_api import ApiUnreachable, UpstreamClient
from app.services.watchers import receivers_for

_PATIENCE_S: Final = 10.0
# Models are told to anybody: no key is spent, and none is shown.
_NOBODY: Final = Secret("nobody")


def gather() -> Facts:
    """Raises CommandFailed where not even the settings can be read."""
    settings = usable_settings()
    configure("critical", "auto", sys.stderr)
    return asyncio.run(_gather(settings))


async def _gather(settings: Settings) -> Facts:
    facts = _of_settings(settings)
    redis, upstream = await asyncio.gather(_of_redis(settings), _of_upstream(settings))
    keys: dict[str, Any] = {}
    if not redis.get("redis_problem"):
        keys = await _of_keys(settings)
    return Facts(**(facts | redis | upstream | keys))


def _of_settings(settings: Settings) -> dict[str, Any]:
    url, folder = settings.upstream, settings.data_dir
    facts: dict[str, Any] = {
        "unknown_settings": unknown_names(),
        "embedded": settings.embedded_redis,
        "session_secret": settings.session_secret_key.get_secret_value(),
        "ring_set": bool(settings.encryption_keys.get_secret_value()),
        "plain_http": url.host if url.scheme == "http" else "",
        "debug": settings.debug,
        "folder": str(folder),
        "allow_evicting": settings.allow_evicting_redis,
        "open_files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "receivers": len(receivers_for(settings, SystemClock())),
        "upstream": url.host,
    }
    try:
        facts["folder_mode"] = stat.S_IMODE(folder.stat().st_mode)
        facts["free_bytes"] = shutil.disk_usage(folder).free
    except FileNotFoundError:
        facts["folder_problem"] = "it is not there: no gateway has run on it"
    except OSError as error:
        facts["folder_problem"] = error.strerror or "it cannot be read"
    return facts


async def _of_redis(settings: Settings) -> dict[str, Any]:
    clock = SystemClock()
    redis = RedisManager(redis_options(settings), clock)
    try:
        seconds = min([await redis.ping() for _ in range(5)])
        info, now = await redis.pipeline([("INFO",), ("TIME",)])
        workers = await redis.command("SCARD", redis.keys.books("workers"))
        return {
            "redis_ms": seconds * 1000,
            "redis_info": info if isinstance(info, dict) else {},
            "redis_skew_s": int(now[0]) + int(now[1]) / 1e6 - clock.wall_s(),
            "workers": int(workers),
        }
    except (RedisUnavailable, RedisReplyError) as error:
        return {"redis_problem": getattr(error, "reason", "refused")}
    finally:
        await redis.close()


async def _of_keys(settings: Settings) -> dict[str, Any]:
    try:
        async with open_keys(settings, probe=False) as keys, AsyncExitStack() as stack:
            unsealed = [record.masked for record in keys.openrouter_keys.values() if not _opens(keys, record.id)]
            return {"unsealed": unsealed, "keys": await _counts(settings, keys, stack), "clients": keys.enabled_clients}
    except StoreReset as error:
        return {"keys_problem": str(error)}
    except (RedisUnavailable, RedisReplyError, RedisRefused, SettingsError) as error:
        return {"keys_problem": f"The keys cannot be read: {error}"}
    except NoGatewayError:
        return {"keys_problem": "No gateway has run on this DATA_DIR."}


def _opens(keys: KeyManager, key_id: str) -> bool:
    try:
        keys.secret_of(key_id)
    except SealBroken:
        return False
    return True


async def _counts(settings: Settings, keys: KeyManager, stack: AsyncExitStack) -> dict[str, int]:
    """As /health counts them: by what each is good for at this moment."""
    clock = SystemClock()
    redis = RedisManager(redis_options(settings), clock)
    stack.push_async_callback(redis.close)
    marks, facts = Marks(redis, clock), FactStore(redis, clock)
    for part in (marks, facts):
        stack.push_async_callback(part.close)
        await part.start(follow=False)
    pictures = key_pictures(keys.openrouter_keys.values(), facts.every, marks.in_force(), facts.samples, clock.wall_s())
    counts = {"total": len(pictures), "ready": 0, "resting": 0, "disabled": 0, "management": 0}
    for picture in pictures:
        counts[_word(picture.state, picture.kind, picture.standing)] += 1
    return counts


def _word(state: KeyState, kind: KeyKind, standing: Standing) -> str:
    if state is not KeyState.ENABLED:
        return "disabled"
    if kind is KeyKind.MANAGEMENT:
        return "management"
    return "ready" if standing in (Standing.READY, Standing.PARTLY) else "resting"


async def _of_upstream(settings: Settings) -> dict[str, Any]:
    clock, client = SystemClock(), UpstreamClient(settings)
    try:
        async with asyncio.timeout(_PATIENCE_S):
            answer = await client.request("GET", "/models", _NOBODY)
    except ApiUnreachable as error:
        return {"upstream_problem": str(error)}
    except TimeoutError:
        return {"upstream_problem": f"no answer within {_PATIENCE_S:g} s"}
    finally:
        await client.close()
    found: dict[str, Any] = {"upstream_status": answer.status}
    if date := answer.headers.get("date"):
        with contextlib.suppress(ValueError):
            found["upstream_skew_s"] = round(clock.wall_s() - parsedate_to_datetime(date).timestamp(), 1)
    found["certificate_days"] = await certificate_days(settings, clock, _PATIENCE_S)
    return found
