"""What this worker holds at the moment, as metrics: calls under way, connections, its journal, how its loop feels; and
what all workers see alike, told by whoever is asked. Reads, and decides nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

from app import __version__
from app.core.metrics import Family, Gauge, Kind
from app.models.key_facts import KeyFacts
from app.services.health import Health
from app.services.vitals import Vitals

_NANO: Final = 1e9
_MOST_ACCOUNTS: Final = 50


class OpenBooks(Protocol):
    """The calls under way: how many, what they have reserved, and how many went on unwritten."""

    @property
    def open_calls(self) -> int: ...

    @property
    def reserved_nano(self) -> int: ...

    @property
    def unwritten(self) -> int: ...


class WorkerGauges:
    """Of this worker alone: they add up over workers, or the highest is told."""

    def __init__(self, vitals: Vitals, connections: Callable[[], Mapping[str, int]], books: OpenBooks) -> None:
        self._vitals = vitals
        self._connections = connections
        self._books = books
        self._workers = Gauge("gateway_workers", "Processes that serve.")
        self._open = Gauge("gateway_open_calls", "Calls under way, streams included.")
        self._reserved = Gauge("gateway_reserved_dollars", "Held for calls under way, by limits of money.")
        self._upstream = Gauge("gateway_upstream_connections", "Connections to OpenRouter.", "state")
        self._memory = Gauge("gateway_resident_memory_bytes", "Memory of all workers.")
        self._lag = Gauge("gateway_loop_lag_seconds", "How late the loop is; of the slowest worker.", kind=Kind.MAX)
        self._redis = Gauge(
            "gateway_redis_latency_seconds", "How long Redis takes to answer; of the slowest worker.", kind=Kind.MAX
        )
        self._lost = Gauge("gateway_unwritten_calls", "Calls that went on though the disk was full.")

    def picture(self) -> list[Family]:
        vitals = self._vitals
        self._workers.set(1)
        self._open.set(self._books.open_calls)
        self._reserved.set(self._books.reserved_nano / _NANO)
        for state, count in self._connections().items():
            self._upstream.set(count, (state,))
        self._memory.set(vitals.memory_bytes)
        self._lost.set(self._books.unwritten)
        if vitals.lag_ms:
            self._lag.set(vitals.lag_ms[-1] / 1000)
        if vitals.redis_ms and (ms := vitals.redis_ms[-1]) is not None:
            self._redis.set(ms / 1000)
        else:
            self._redis.clear()
        every = (
            self._workers, self._open, self._reserved, self._upstream, self._memory, self._lag, self._redis, self._lost,
        )  # fmt: skip
        return [one.picture() for one in every]


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
        health, journals = await asyncio.gather(self._look(), self._vitals.journals())
        return [one.picture() for one in (*_of_health(health), self._credit(), _journal(journals.size_bytes))]

    def _credit(self) -> Gauge:
        left = Gauge("gateway_credit_left_dollars", "What OpenRouter lets an account spend still.", "account", "of")
        by_account: dict[str, int] = {}
        for fact in self._facts().values():
            if fact.balance_nano is not None:
                left.set(fact.balance_nano / _NANO, (fact.account, "balance"))
            elif (nano := fact.available_nano) is not None:
                by_account[fact.account] = by_account.get(fact.account, 0) + nano
        for account in sorted(by_account)[:_MOST_ACCOUNTS]:
            left.set(by_account[account] / _NANO, (account, "limits"))
        return left


def _of_health(health: Health) -> list[Gauge]:
    info = Gauge("gateway_info", "Always 1; the labels tell.", "version")
    info.set(1, (__version__,))
    up = Gauge("gateway_redis_up", "Whether Redis answers.")
    up.set(float(health.redis_ms is not None))
    keys = Gauge("gateway_openrouter_keys", "Keys of OpenRouter by state.", "state")
    for state, count in health.openrouter_keys.items():
        if state != "total":
            keys.set(count, (state,))
    clients = Gauge("gateway_client_keys", "Client keys that are enabled.")
    clients.set(health.client_keys)
    incident = Gauge("gateway_upstream_incident", "Whether OpenRouter refuses keys that are good.")
    incident.set(float(health.incident))
    return [info, up, keys, clients, incident]


def _journal(size_bytes: int) -> Gauge:
    journal = Gauge("gateway_journal_bytes", "On disk for calls that are not booked yet.")
    journal.set(size_bytes)
    return journal
