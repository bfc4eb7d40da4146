"""What lives as long as the process: made from the settings, started in order, closed in the reverse one. Serves no
request.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from math import inf
from typing import Any, Final

from app.books_parts import BooksParts
from app.core.clock import SystemClock
from app.core.config import Settings, unknown_names
from app.core.dumps import forbid_core_dumps
from app.core.embedded import EmbeddedRedis, EmbeddedRedisError
from app.core.errors import Fault, GatewayError
from app.core.logging import configure
from app.core.metrics import Family
from app.core.redis import RedisManager, RedisUnavailable, redis_options
from app.core.redis_checks import RedisRefused
from app.core.security import Secret, keyrings
from app.core.store_mark import StoreMark
from app.core.tasks import TaskSet
from app.middleware.request_log import ANSWERS, SAMPLE
from app.models.keys import ClientKey
from app.models.limits import Group
from app.panel.context import PanelContext
from app.pool_parts import PoolParts
from app.services.access import PanelAccess
from app.services.answers import Links
from app.services.attempt import Attempts
from app.services.audit_checks import AuditChecks
from app.services.audit_days import AuditDays
from app.services.catalogue import Catalogue
from app.services.fetch import Fetcher
from app.services.gauges import SharedGauges, WorkerGauges
from app.services.health import Health, keys_by_state, redis_ms
from app.services.installation import note_installation
from app.services.judge import Policies
from app.services.key_manager import KeyManager, KeyRefused
from app.services.live_settings import value_of
from app.services.log_store import LogStore
from app.services.metering import Metering
from app.services.metric_push import MetricPush
from app.services.outliers import Outliers
from app.services.owners import Owners
from app.services.pool import Pool
from app.services.proxy import Proxy, Rules
from app.services.relay import Relay
from app.services.rescue import Bounds
from app.services.rotation import RotationManager
from app.services.strain import Strain, StrainWatch
from app.services.switches import Switch
from app.services.vitals import Vitals, memory_most, memory_now
from app.services.watchers import watch_for
from app.transport import Origin, Timeouts, Upstream, tls_context

log = logging.getLogger(__name__)

_GC_THRESHOLDS: Final = (20_000, 10, 10)


class Gateway:
    """The registry of live things, from `start` to `close`."""

    START_ERRORS: Final = (EmbeddedRedisError, RedisUnavailable, RedisRefused)

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = SystemClock()
        self.draining = False
        self._mark = StoreMark(settings.data_dir, redis_options(settings), self.clock)
        self._stack = AsyncExitStack()
        self._ring, self._clients = keyrings(settings)
        self._keys: KeyManager | None = None
        self._redis: RedisManager | None = None
        self._parts: PoolParts | None = None
        self._metering: Metering | None = None
        self.pool = Pool(self.clock, settings.pool_strategy)
        self.outliers = Outliers()
        self.well_formed = self._clients.well_formed

    async def start(self) -> None:
        """Starts everything, or nothing: what was started before a failure is closed again."""
        configure(self.settings.log_level, self.settings.log_format)
        forbid_core_dumps()
        SAMPLE.share = self.settings.log_served_share
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise

    async def _start(self) -> None:
        for sentence in unknown_names():
            log.warning("unknown setting found", extra={"detail": sentence})
        tasks = TaskSet()
        redis = await self._start_redis()
        self._stack.push_async_callback(tasks.close)
        upstream = self._make_upstream()
        self._stack.push_async_callback(upstream.close)
        parts = self._parts = PoolParts(self.settings, self.pool, redis, self.clock)
        await self._start_keys(redis, parts)
        settings, prefix = self.settings, self.settings.upstream.prefix.encode()
        fetcher = Fetcher(upstream, prefix, self.pool, parts.marks, self.clock, max_tries=settings.max_attempts)
        owners = Owners(redis, tasks, self.clock)
        self.catalogue = Catalogue(redis, fetcher.get, self.clock, tasks, settings.catalogue_ttl_s)
        books = self.books = BooksParts(settings, redis, tasks, self.clock)
        await books.start(
            self._stack,
            parts.client,
            self._ring,
            price_list=self._price_list,
            secret_of=self._secret_of,
            groups=self.groups,
        )
        if self._keys is not None:
            books.watch(self._stack, parts.client, self._keys, lambda: parts.facts.every, self.groups)
        self.proxy = Proxy(
            upstream,
            prefix,
            self.pool,
            parts.marks,
            Attempts(upstream, self.clock, hold_s=settings.first_token_wait_s),
            Relay(
                owners,
                books.accounting,
                Links(upstream.origin, prefix),
                heartbeat_s=settings.heartbeat_s or inf,
                job_seen=books.settler.job_seen,
            ),
            owners,
            books.accounting,
            self.clock,
            rescue_rules(settings, Bounds(settings.max_attempts, settings.rescue_deadline_s), settings.retry_share),
            self.outliers,
            self._strain_watch(tasks, books).check,
        )
        self._stack.push_async_callback(_flush, owners)
        self._follow_switches(parts, books)
        await self._start_panel(redis, parts, books, tasks)
        await self._start_metering(parts, books, upstream)
        # What lives as long as the process need not be looked through at every collection, least of all 100,000 keys.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        tasks.spawn(upstream.warm(settings.upstream_warm_connections), "transport: warm connections")
        panel = f"{settings.public_url.rstrip('/') or f'http://localhost:{settings.port}'}/admin"
        log.info("gateway is ready", extra={"panel": panel, "openrouter_keys": len(self.pool)})
        self._say_what_is_next()

    def _strain_watch(self, tasks: TaskSet, books: BooksParts) -> StrainWatch:
        most = self.settings.memory_limit_mb * 2**20 or memory_most()
        strain = Strain(self.settings.overload_lag_s, most // max(1, self.settings.workers))
        watch = StrainWatch(strain, memory_now, lambda: books.books.open_calls, self.clock)
        watch.start(tasks)
        return watch

    async def _start_panel(self, redis: RedisManager, parts: PoolParts, books: BooksParts, tasks: TaskSet) -> None:
        self.vitals = Vitals(redis, tasks, self.clock, self.settings.data_dir)
        self.vitals.start()
        self.logs = LogStore(redis, tasks, self.clock)
        self.logs.start()
        self._stack.callback(self.logs.stop)
        self.access = PanelAccess(self.settings, redis, self._ring, self.clock)
        await self.access.start(self._stack)
        if self._keys is not None and parts.rotation is not None:
            self.audit_checks = AuditChecks(redis, self._keys.audit, self.clock)
            self._stack.push_async_callback(self.audit_checks.close)
            self.panel = self._panel_context(redis, parts, books, self._keys, parts.rotation)
            watch = watch_for(
                self.settings, redis, self.clock, books.alerts, self._keys, parts.facts, parts.marks, parts.renewal,
                self.vitals, self.look,
            )  # fmt: skip
            watch.start()
            self._stack.push_async_callback(watch.close)

    async def _start_metering(self, parts: PoolParts, books: BooksParts, upstream: Upstream) -> None:
        """The metrics, whether anybody asks for them or not."""
        own = WorkerGauges(self.vitals, lambda: upstream.counts, books.books)
        shared = SharedGauges(self.look, lambda: parts.facts.every, self.vitals)
        counts = (books.meter.picture, lambda: [ANSWERS.picture()])
        metering = self._metering = Metering(self.settings.data_dir, counts, own, shared)
        await metering.start()
        self._stack.push_async_callback(metering.close)
        if books.telemetry is not None:
            push = MetricPush(metering.own, books.telemetry)
            push.start()
            self._stack.push_async_callback(push.close)

    async def measured(self) -> list[Family]:
        """All metrics; none before the start."""
        return [] if self._metering is None else await self._metering.told()

    def _follow_switches(self, parts: PoolParts, books: BooksParts) -> None:
        """What people change while the gateway runs holds in every worker within a second."""

        def take() -> None:
            def now(switch: Switch) -> Any:
                return value_of(self.settings, parts.switches.get, switch)

            bounds = Bounds(now(Switch.MAX_ATTEMPTS), now(Switch.RESCUE_DEADLINE))
            self.proxy.follow(rescue_rules(self.settings, bounds, now(Switch.RETRY_SHARE)))
            books.ledger.keep(most=now(Switch.LEDGER_ENTRIES), days=now(Switch.LEDGER_DAYS))
            books.bodies.keep_for(now(Switch.KEEP_BODIES))
            books.alerts.tell_at(now(Switch.ALERT_AT))

        take()
        parts.switches.subscribe(take)

    async def _start_redis(self) -> RedisManager:
        options = redis_options(self.settings)
        if self.settings.embedded_redis:
            embedded = EmbeddedRedis(self.settings.data_dir)
            await asyncio.to_thread(embedded.start)
            self._stack.push_async_callback(asyncio.to_thread, embedded.stop)
        redis = RedisManager(options, self.clock)
        await redis.connect()
        self._stack.push_async_callback(redis.close)
        self._redis = redis
        return redis

    def _make_upstream(self) -> Upstream:
        settings = self.settings
        url = settings.upstream
        context = tls_context(settings.openrouter_ca_file)
        return Upstream(
            Origin(url.scheme, url.host, url.port),
            Timeouts(
                connect_s=settings.connect_timeout_s,
                first_byte_s=settings.first_byte_timeout_s,
                idle_s=settings.idle_timeout_s,
            ),
            max_connections=settings.upstream_connections,
            ssl_context=context if url.scheme == "https" else None,
            proxy=settings.https_proxy or None,
            # A poisoned name server must not lead the keys into the own network.
            public_only=url.host == "openrouter.ai" and not settings.https_proxy,
            clock=self.clock,
        )

    async def _start_keys(self, redis: RedisManager, parts: PoolParts) -> None:
        self._stack.push_async_callback(parts.client.close)
        keys = KeyManager(redis, self._ring, self._clients, self.clock, parts.probe, self._mark, parts.facts)
        await keys.start()
        self._stack.push_async_callback(keys.close)
        self._keys = keys
        keys.subscribe(self._renew_pool)
        self._renew_pool()
        if self._mark.lost is None:
            await note_installation(redis, self.clock)
        await parts.start(self._stack, keys, self._ring)
        text = self.settings.openrouter_api_keys.get_secret_value()
        if text.strip():
            try:
                report = await keys.import_openrouter_keys(text, by="environment")
                log.info("openrouter keys imported", extra=report.counts())
            except KeyRefused as refusal:
                log.error("openrouter keys refused", extra={"detail": str(refusal)})  # noqa: TRY400 - a sentence

    def _renew_pool(self) -> None:
        if self._keys is not None:
            self.pool.replace(self._keys.openrouter_keys.values(), self._keys)

    def _say_what_is_next(self) -> None:
        keys = self._keys
        if keys is None or self._mark.lost is not None:
            return
        if not keys.openrouter_keys:
            log.warning("no openrouter key", extra={"next": "echo $KEY | openrouter-middleware keys add"})
        if not keys.client_keys:
            log.warning("no client key", extra={"next": "openrouter-middleware clients create NAME"})

    def authenticate(self, key: bytes) -> ClientKey | None:
        """The client of a key, from memory. Raises GatewayError while the keys are not loaded or not to be trusted."""
        if self._keys is None:
            raise GatewayError(
                503, "auth_unavailable", "The gateway has not loaded its keys yet.", "Try again.", fault=Fault.GATEWAY
            )
        if self._mark.lost is not None:
            raise GatewayError(
                503,
                "store_reset",
                "The gateway's Redis is not the one that holds its keys, or has lost them.",
                "Ask the people who run the gateway: its log says what to do.",
                fault=Fault.GATEWAY,
                headers=((b"retry-after", b"10"),),
            )
        return self._keys.authenticate(key)

    def current_client(self, client_id: str) -> ClientKey | None:
        """The record of a client as it is now; none while the keys are not to be trusted."""
        if self._keys is None or self._mark.lost is not None:
            return None
        return self._keys.client_keys.get(client_id)

    def groups(self) -> Mapping[str, Group]:
        """Clients' groups as they are now, by id."""
        return {} if self._keys is None else self._keys.groups

    async def _price_list(self) -> bytes:
        return (await self.catalogue.answer(b"/v1/models?output_modalities=all", [])).body

    def _secret_of(self, key_id: str) -> Secret | None:
        """Of the key that answers for what this one has made."""
        heir = self.pool.heir(key_id)
        keys = self._keys
        if keys is None:
            return None
        name = key_id if heir is None else heir.id
        return keys.secret_of(name) if name in keys.openrouter_keys else None

    def _panel_context(
        self, redis: RedisManager, parts: PoolParts, books: BooksParts, keys: KeyManager, rotation: RotationManager
    ) -> PanelContext:
        return PanelContext(
            settings=self.settings,
            clock=self.clock,
            redis=redis,
            ring=self._ring,
            keys=keys,
            pool=self.pool,
            probe=parts.probe,
            marks=parts.marks,
            facts=parts.facts,
            switches=parts.switches,
            rotation=rotation,
            renewal=parts.renewal,
            outliers=self.outliers,
            catalogue=self.catalogue,
            proxy=self.proxy,
            limits=books.limits,
            tally=books.tally,
            insight=books.insight,
            ledger=books.ledger,
            logs=self.logs,
            vitals=self.vitals,
            audit_checks=self.audit_checks,
            audit_days=AuditDays(redis, self.clock),
            last_use=books.last_use,
            bodies=books.bodies,
            alerts=books.alerts,
            reconciliation=books.reconciliation,
            look=self.look,
        )

    async def look(self) -> Health:
        """How everything feels at this moment."""
        keys = self._keys
        records = list(keys.openrouter_keys.values()) if keys else []
        return Health(
            redis_ms=await redis_ms(self._redis) if self._redis else None,
            openrouter_keys=keys_by_state(records, self.pool),
            client_keys=keys.enabled_clients if keys else 0,
            draining=self.draining,
            loaded=keys is not None,
            store_reset=self._mark.lost is not None,
            incident=self._parts is not None and self._parts.incident,
            warnings=self._warnings(),
        )

    def _warnings(self) -> tuple[str, ...]:
        own = (self.pool.warning,) if self.pool.warning else ()
        return (*self._redis.warnings, *own) if self._redis else own

    async def close(self) -> None:
        """Writes what is pending and closes everything, the last started first."""
        self.draining = True
        await self._stack.aclose()
        log.info("gateway has stopped")


def rescue_rules(settings: Settings, bounds: Bounds, retry_share: float) -> Rules:
    """What the operator has set for rescuing calls."""
    return Rules(bounds, Policies(**dict.fromkeys(settings.move_account_on, True)), retry_share)


async def _flush(owners: Owners) -> None:
    try:
        await owners.flush()
    except RedisUnavailable:
        log.warning("pending marks lost", extra={"detail": "Redis did not answer while the gateway was stopping"})
