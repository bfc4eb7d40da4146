"""The live parts of money and limits: made and started in order, closed in the reverse one. Serves no request."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack

from app.core.clock import Clock
from app.core.config import Settings
from app.core.redis import RedisManager
from app.core.security import KeyRing, Secret
from app.core.tasks import TaskSet
from app.models.key_facts import KeyFacts
from app.models.ledger import Entry
from app.models.limits import Group
from app.services.accounting import Accounting
from app.services.bodies import Bodies
from app.services.books import Books
from app.services.call_meter import CallMeter
from app.services.insight import Insight
from app.services.key_manager import KeyManager
from app.services.last_use import LastUse
from app.services.ledger import Ledger
from app.services.limits import Limits
from app.services.local_limits import WithoutRedis
from app.services.prices import Prices
from app.services.recovery import Recovery
from app.services.settler import Settler
from app.services.signs_of_life import SignsOfLife
from app.services.tally import Tally
from app.services.tracing import Tracing, telemetry
from app.services.upstream_api import UpstreamClient
from app.services.watchers import alerts_for, reconciliation_for

log = logging.getLogger(__name__)

Fetch = Callable[[], Awaitable[bytes]]


class BooksParts:
    """`accounting` and the others exist from `start` on."""

    def __init__(self, settings: Settings, redis: RedisManager, tasks: TaskSet, clock: Clock) -> None:
        self._settings = settings
        self._redis = redis
        self._tasks = tasks
        self._clock = clock
        self.tally = Tally(redis, clock)
        self.insight = Insight(redis, tasks, clock)
        self.last_use = LastUse(redis, tasks, clock)
        self.ledger = Ledger(redis, tasks, clock, most=settings.ledger_entries, days=settings.ledger_days)

    async def start(
        self,
        stack: AsyncExitStack,
        client: UpstreamClient,
        ring: KeyRing,
        *,
        price_list: Fetch,
        secret_of: Callable[[str], Secret | None],
        groups: Callable[[], Mapping[str, Group]],
    ) -> None:
        """Raises RedisUnavailable, LogFull, OSError."""
        settings, redis, clock = self._settings, self._redis, self._clock
        prices = self.prices = Prices(price_list, self._tasks, clock)
        meter = self.meter = CallMeter(prices.known, groups)
        tracing = self._start_tracing(stack)
        journal = await Books.journal_in(settings.data_dir, clock)
        without = WithoutRedis(settings.without_redis_rates, settings.without_redis_budgets)
        entries, patience_s = settings.ledger_entries, 4 * settings.redis_timeout_s
        limits = Limits(redis, clock, journal.id, without, ledger_entries=entries, patience_s=patience_s)
        self.limits = limits
        stack.push_async_callback(limits.close)
        signs = SignsOfLife(redis, journal.id, limits.share_among)
        stack.push_async_callback(signs.close)
        settler = self.settler = Settler(client, clock, secret_of)
        stack.push_async_callback(settler.close)
        books = self.books = Books(
            journal,
            limits,
            settler,
            clock,
            prices.known,
            sync=settings.journal_sync == "always",
            heard=meter.take if tracing is None else both(meter.take, tracing.take),
        )
        stack.push_async_callback(books.close)
        recovery = Recovery(settings.data_dir, limits, signs, settler, clock, prices.known, self.ledger)
        stack.push_async_callback(recovery.close)
        await signs.start()
        await books.start()
        await prices.start()
        recovery.start()
        self.insight.start()
        self.ledger.start()
        self.last_use.start()
        self.bodies = Bodies(redis, self._tasks, clock, ring, kept_h=settings.keep_bodies_h)
        opened = None if tracing is None else tracing.opened
        self.accounting = Accounting(books, limits, prices, clock, groups, self.bodies, self.last_use.note, opened)

    def _start_tracing(self, stack: AsyncExitStack) -> Tracing | None:
        settings, url = self._settings, self._settings.upstream
        collector = telemetry(settings.otel_exporter_otlp_endpoint, settings.otel_service_name, self._clock)
        self.telemetry = collector
        if collector is None:
            return None
        tracing = Tracing(collector, url.host, url.port)
        stack.push_async_callback(tracing.close)
        return tracing

    def watch(
        self,
        stack: AsyncExitStack,
        client: UpstreamClient,
        keys: KeyManager,
        facts: Callable[[], Mapping[str, KeyFacts]],
        groups: Callable[[], Mapping[str, Group]],
    ) -> None:
        """Starts what looks at the books and tells people."""
        settings, redis, clock = self._settings, self._redis, self._clock
        alerts = self.alerts = alerts_for(settings, redis, clock, keys, groups)
        books = (self.insight, self.ledger)
        compared = self.reconciliation = reconciliation_for(settings, redis, clock, keys, facts, books, alerts, client)
        for part in (alerts, compared):
            stack.push_async_callback(part.close)
            part.start()


def both(first: Callable[[Entry], None], then: Callable[[Entry], None]) -> Callable[[Entry], None]:
    def take(entry: Entry) -> None:
        first(entry)
        then(entry)

    return take
