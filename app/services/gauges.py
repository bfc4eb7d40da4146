"""What this worker holds at the moment, as metrics: calls under way, connections, its journal, how its loop feels; and
what all workers see alike, told by whoever is asked. Reads, and decides nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from itertools import islice
from typing import Final, Protocol, TypeVar

from app import __version__
from app.core.metrics import Family, Gauge, Kind
from app.models.key_facts import KeyFacts
from app.services.health import Health
from app.services.vitals import RedisFacts, Vitals

_NANO: Final = 1e9
_MOST_ACCOUNTS: Final = 50
_LOOKS: Final = 15
"""Of the vitals, one each two seconds: no peak is missed by who asks every half minute."""

_T = TypeVar("_T")


class Waiting(Protocol):
    """Calls that are closed and not booked yet."""

    @property
    def waiting(self) -> int: ...


class OpenBooks(Protocol):
    """The calls under way: how many, what they have reserved, and how many went on unwritten."""

    @property
    def open_calls(self) -> int: ...

    @property
    def reserved_nano(self) -> int: ...

    @property
    def unwritten(self) -> int: ...

    @property
    def shipper(self) -> Waiting: ...


class WorkerGauges:
    """Of this worker alone: they add up over workers, or the highest is told."""

    def __init__(self, vitals: Vitals, connections: Callable[[], Mapping[str, int]], books: OpenBooks) -> None:
        self._vitals = vitals
        self._connections = connections
        self._books = books

    def picture(self) -> list[Family]:
        vitals, books = self._vitals, self._books
        upstream = Gauge("gateway_upstream_connections", "Connections to OpenRouter.", "state")
        for state, count in self._connections().items():
            upstream.set(count, (state,))
        gauges = (
            _single("gateway_workers", "Processes that serve.", 1),
            _single("gateway_open_calls", "Calls under way, streams included.", books.open_calls),
            _single(
                "gateway_reserved_dollars", "Held for calls under way, by limits of money.", books.reserved_nano / _NANO
            ),
            _single("gateway_unbooked_calls", "Closed calls that wait to be booked in Redis.", books.shipper.waiting),
            _single("gateway_unwritten_calls", "Calls that went on though the disk was full.", books.unwritten),
            upstream,
            _single("gateway_resident_memory_bytes", "Memory of all workers.", vitals.memory_bytes),
            _highest(
                "gateway_newest_worker_start_time_seconds",
                "When the worker that is up for the shortest time began, in seconds since 1970.",
                (vitals.began_s,),
            ),
            _highest(
                "gateway_loop_lag_seconds",
                "How late the loop was at most in half a minute; of the slowest worker.",
                (ms / 1000 for ms in _latest(vitals.lag_ms)),
            ),
            _highest(
                "gateway_redis_latency_seconds",
                "How long Redis took to answer at most in half a minute; of the slowest worker.",
                (ms / 1000 for ms in _latest(vitals.redis_ms) if ms is not None),
            ),
        )
        return [one.picture() for one in gauges]


class SharedGauges:
    """What every worker would tell alike."""

    def __init__(
        self,
        look: Callable[[], Awaitable[Health]],
        facts: Callable[[], Mapping[str, KeyFacts]],
        vitals: Vitals,
    ) -> None:
        self._look = look
        self._facts = facts
        self._vitals = vitals

    async def picture(self) -> list[Family]:
        vitals = self._vitals
        health, journals, redis = await asyncio.gather(self._look(), vitals.journals(), vitals.redis_facts())
        journal = _single("gateway_journal_bytes", "On disk for calls that are not booked yet.", journals.size_bytes)
        gauges = (*_of_health(health), *_of_redis(redis), credit_left(self._facts().values()), journal)
        return [one.picture() for one in gauges]


def credit_left(facts: Iterable[KeyFacts]) -> Gauge:
    """Of each account: its balance where a management key tells it, else what its keys may still spend."""
    left = Gauge("gateway_credit_left_dollars", "What OpenRouter lets an account spend still.", "account", "of")
    found: dict[tuple[str, str], int] = {}
    for fact in facts:
        if fact.balance_nano is not None:
            found[fact.account, "balance"] = fact.balance_nano
        elif fact.available_nano is not None:
            place = (fact.account, "limits")
            found[place] = found.get(place, 0) + fact.available_nano
    for place in sorted(found)[:_MOST_ACCOUNTS]:
        left.set(found[place] / _NANO, place)
    return left


def _of_health(health: Health) -> list[Gauge]:
    info = Gauge("gateway_info", "Always 1; the labels tell.", "version")
    info.set(1, (__version__,))
    keys = Gauge("gateway_openrouter_keys", "Keys of OpenRouter by state.", "state")
    for state, count in health.openrouter_keys.items():
        if state != "total":
            keys.set(count, (state,))
    return [
        info,
        _single("gateway_healthy", "Whether calls are served as they should be: what /health says.", health.healthy),
        _single("gateway_redis_up", "Whether Redis answers.", health.redis_ms is not None),
        keys,
        _single("gateway_client_keys", "Client keys that are enabled.", health.client_keys),
        _single("gateway_upstream_incident", "Whether OpenRouter refuses keys that are good.", health.incident),
    ]


def _of_redis(facts: RedisFacts) -> list[Gauge]:
    """Nothing of what it does not say."""
    used = Gauge("gateway_redis_memory_bytes", "What Redis holds in memory.")
    if facts.memory_bytes is not None:
        used.set(facts.memory_bytes)
    most = Gauge("gateway_redis_memory_max_bytes", "What Redis may hold (maxmemory); nothing where it has no bound.")
    if facts.memory_most is not None:
        most.set(facts.memory_most)
    failed = _single("gateway_redis_write_failed", "Whether Redis failed to write to its disk.", facts.write_failed)
    return [used, most, failed]


def _single(name: str, words: str, value: float) -> Gauge:
    gauge = Gauge(name, words)
    gauge.set(float(value))
    return gauge


def _highest(name: str, words: str, values: Iterable[float]) -> Gauge:
    gauge = Gauge(name, words, kind=Kind.MAX)
    if (most := max(values, default=None)) is not None:
        gauge.set(most)
    return gauge


def _latest(series: deque[_T]) -> Iterable[_T]:
    return islice(reversed(series), _LOOKS)
