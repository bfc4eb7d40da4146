"""A command's session with alerts and the comparison of the books. Slow to import, so only `alerts` and `reconcile` do,
at work.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TypeVar

from app.cli.session import run_on_keys, usable_settings
from app.core.clock import Clock, SystemClock
from app.core.config import Settings
from app.core.redis import RedisManager, redis_options
from app.core.tasks import TaskSet
from app.services.alerts import Alerts
from app.services.insight import Insight
from app.services.key_facts import FactStore
from app.services.key_manager import KeyManager
from app.services.ledger import Ledger
from app.services.reconcile import Reconciliation
from app.services.upstream_api import UpstreamClient
from app.services.watchers import alerts_for, reconciliation_for

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class WatchSession:
    """What a command may look at and ask for."""

    settings: Settings
    clock: Clock
    keys: KeyManager
    alerts: Alerts
    reconciliation: Reconciliation


def run_on_watch(work: Callable[[WatchSession], Awaitable[_Result]]) -> _Result:
    """Raises CommandFailed."""
    settings = usable_settings()

    async def run(keys: KeyManager) -> _Result:
        clock, tasks = SystemClock(), TaskSet()
        async with AsyncExitStack() as stack:
            redis = RedisManager(redis_options(settings), clock)
            stack.push_async_callback(redis.close)
            facts, client = FactStore(redis, clock), UpstreamClient(settings)
            stack.push_async_callback(client.close)
            stack.push_async_callback(facts.close)
            await facts.start(follow=False)
            books = (
                Insight(redis, tasks, clock),
                Ledger(redis, tasks, clock, most=settings.ledger_entries, days=settings.ledger_days),
            )
            alerts = alerts_for(settings, redis, clock, keys, lambda: keys.groups)
            compared = reconciliation_for(settings, redis, clock, keys, lambda: facts.every, books, alerts, client)
            return await work(WatchSession(settings, clock, keys, alerts, compared))

    return run_on_keys(run, probe=False, makes_secrets=False)
