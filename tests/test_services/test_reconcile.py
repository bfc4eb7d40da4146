"""The gateway's books beside a simulated OpenRouter's: today and yesterday, corrected and told."""

from __future__ import annotations

import contextlib
import json
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime

import msgspec
import pytest

from app.core.clock import SystemClock
from app.core.config import Settings
from app.core.redis import RedisManager
from app.core.security import Secret, openrouter_key_id
from app.core.tasks import TaskSet
from app.models.alerts import AlertKind
from app.models.books import Finding
from app.models.key_facts import KeyFacts
from app.models.keys import KeyKind, OpenRouterKey
from app.models.ledger import CostKind, Entry
from app.models.limits import Span
from app.services.alerts import Alerts
from app.services.cells import deltas
from app.services.insight import Insight
from app.services.ledger import Ledger
from app.services.ledger_filter import Filter
from app.services.limit_script import Batch
from app.services.reconcile import KeySource, Reconciliation
from app.services.settle_records import entry_packed
from app.services.spending import Purse, purse_notes, purse_sums, spent_name, sums_of
from app.services.tally import Tally
from app.services.upstream_api import KeyProbe, UpstreamClient
from simulator.settings import SimSettings
from tests.redis_server import RedisServer
from tests.simulator_thread import SimulatorThread, running_simulator
from tests.test_services.books_rig import BooksRig, books_on
from tests.test_services.conftest import manager

DAY_S = 86_400.0


@pytest.fixture
def upstream() -> Iterator[SimulatorThread]:
    """A simulated OpenRouter for one test."""
    with running_simulator() as running:
        yield running


@dataclass
class House:
    """One key of one account, with a management key, and a worker's books."""

    upstream: SimulatorThread
    redis: RedisManager
    rig: BooksRig
    clock: SystemClock
    alerts: Alerts
    reconciliation: Reconciliation
    secret: str
    booked: int = 0

    @property
    def key_id(self) -> str:
        return openrouter_key_id(self.secret)

    def today(self) -> date:
        return datetime.fromtimestamp(self.clock.wall_s(), UTC).date()

    def call(self) -> int:
        """A call that goes straight to OpenRouter; what it cost."""
        asked = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "Hello " * 50_000}]}
        request = urllib.request.Request(
            f"{self.upstream.base_url}/chat/completions",
            json.dumps(asked).encode(),
            {"authorization": f"Bearer {self.secret}", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            answer.read()
        return int(self.upstream.control("bill")["rows"][-1]["cost_nano"])

    async def book(
        self, nano: int, at_s: float, kind: CostKind = CostKind.REPORTED, purses: tuple[Purse, ...] = ()
    ) -> None:
        entry = Entry(
            id=f"j-{self.booked}", request_id="r", at_s=at_s, client_id="ck_1", key_id=self.key_id, account="acme",
            status=200, outcome="served", cost_nano=nano, cost_kind=kind,
        )  # fmt: skip
        spent = [(entry, purses)]
        batch = Batch(
            "j", self.booked, self.booked + 1, sums=sums_of([entry]) + purse_sums(spent), entries=[entry_packed(entry)],
            deltas=deltas([entry]) + purse_notes(spent),
        )  # fmt: skip
        self.booked = await self.rig.limits.settle(batch)


@contextlib.asynccontextmanager
async def house(server: RedisServer, upstream: SimulatorThread) -> AsyncIterator[House]:
    clock, tasks = SystemClock(), TaskSet()
    admin = upstream.control("keys", {"account": "acme", "name": "admin", "management": True})["key"]
    secret = upstream.control("keys", {"account": "acme", "name": "main"})["key"]
    settings = Settings(_env_file=None, openrouter_base_url=upstream.base_url)
    client = UpstreamClient(settings)
    secrets = {openrouter_key_id(one): one for one in (admin, secret)}
    kinds = {admin: KeyKind.MANAGEMENT, secret: KeyKind.INFERENCE}
    records = {
        key_id: OpenRouterKey(id=key_id, sealed="", masked="sk-or-…", label="main", kind=kinds[one])
        for key_id, one in secrets.items()
    }
    facts = {key_id: KeyFacts(id=key_id, account="acme") for key_id in records}
    source = KeySource(lambda: records, lambda: facts, lambda key_id: Secret(secrets[key_id]))
    async with manager(server) as redis, books_on(redis) as rig:
        alerts = Alerts(redis, Tally(redis, clock), clock, None, (), dict, dict)
        insight, ledger = Insight(redis, tasks, clock), Ledger(redis, tasks, clock, most=1000, days=30)
        probe = KeyProbe(settings, client)
        made = Reconciliation(redis, insight, ledger, alerts, client, probe, source, clock, at_h=0)
        yield House(upstream, redis, rig, clock, alerts, made, secret)
        await alerts.close()
        await tasks.close()
        await client.close()


async def test_today_is_compared_with_what_the_key_says(redis_server: RedisServer, upstream: SimulatorThread) -> None:
    """Equal books agree; what went past the gateway is told, once."""
    async with house(redis_server, upstream) as one:
        await one.book(one.call(), one.clock.wall_s())
        (found,) = await one.reconciliation.run(one.today())
        assert (found.finding, found.source, found.own_nano) == (Finding.AGREES, "key", found.theirs_nano)
        while one.upstream.control("bill")["total_nano"] < found.own_nano + 20_000_000:
            one.call()
        for _ in range(2):
            (found,) = await one.reconciliation.run(one.today())
            assert found.finding is Finding.ELSEWHERE
        (alert,) = await one.alerts.kept()
        assert (alert.kind, alert.subject) == (AlertKind.KEY_USED_ELSEWHERE, one.key_id)
        assert await one.reconciliation.stored(one.today()) == [found]


async def test_yesterday_is_compared_with_the_accounts_activity(
    redis_server: RedisServer, upstream: SimulatorThread
) -> None:
    """By the management key of its own account; costs without proof become what upstream has booked, once."""
    async with house(redis_server, upstream) as one:
        settings = msgspec.to_builtins(SimSettings.instant())
        yesterday_s = one.clock.wall_s() - DAY_S
        one.upstream.control("settings", {**settings, "clock_offset_s": -DAY_S})
        true_nano = one.call()
        one.upstream.control("settings", settings)
        purses = (("c:ck_1~a~u", Span.MONTH), ("g:gateway~a b", Span.TOTAL))
        await one.book(true_nano - 40, yesterday_s, purses=purses)
        await one.book(1000, yesterday_s, CostKind.UNKNOWN, purses)
        day = datetime.fromtimestamp(yesterday_s, UTC).date()

        (found,) = await one.reconciliation.run(day)
        assert (found.finding, found.source, found.unknown_nano) == (Finding.CORRECTED, "activity", 1000)
        (again,) = await one.reconciliation.run(day)
        assert (again.finding, again.own_nano, again.theirs_nano) == (Finding.AGREES, true_nano, true_nano)
        book = Ledger(one.redis, TaskSet(), one.clock, most=1000, days=30)
        (line,) = (await book.page(Filter(cost_kind=CostKind.UNKNOWN))).lines
        assert (line.entry.cost_nano, line.corrected_nano) == (1000, 40)
        spent = await Tally(one.redis, one.clock).spent("ck_1")
        assert spent.total_nano == true_nano
        names = [one.redis.keys.books(*spent_name(*purse, yesterday_s)) for purse in purses]
        assert [int(sum_) for sum_ in await one.redis.command("MGET", *names)] == [true_nano] * 2
        assert await one.alerts.kept() == []


async def test_what_nobody_tells_is_not_compared(redis_server: RedisServer, upstream: SimulatorThread) -> None:
    """Neither right nor wrong, and no alarm."""
    async with house(redis_server, upstream) as one:
        await one.book(5, one.clock.wall_s())
        one.upstream.script("main", {"status": 500, "times": 0, "path": "/key"})
        (found,) = await one.reconciliation.run(one.today())
        assert (found.finding, found.theirs_nano) == (Finding.NOT_COMPARED, None)
        assert await one.alerts.kept() == []
