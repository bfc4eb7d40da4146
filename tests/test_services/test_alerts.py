"""Alerts are raised once, kept, and delivered whatever happens on the way."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from app.core.clock import SystemClock
from app.core.redis import RedisManager
from app.models.alerts import Alert, AlertKind
from app.models.keys import ClientKey
from app.models.ledger import Entry
from app.models.limits import Group, Limit, Span, Unit
from app.services.alerts import Alerts
from app.services.limit_script import Batch
from app.services.spending import sums_of
from app.services.tally import Tally
from app.services.webhooks import Webhook
from tests.redis_server import RedisServer
from tests.test_services.books_rig import BooksRig, books_on
from tests.test_services.conftest import manager
from tests.test_services.test_webhooks import Receiver, receiver

__all__ = ["receiver"]

DAY = Limit(unit=Unit.USD, span=Span.DAY, size=1000)
CLIENT = ClientKey(id="ck_1", name="bot", digest="", masked="", group="g_1", limits=(DAY,))
GROUP = Group(id="g_1", name="team", limits=(Limit(unit=Unit.USD, span=Span.TOTAL, size=2000),), alerts_at=(10,))


class AheadClock(SystemClock):
    """The machine's clock, set forward by hand."""

    ahead_s = 0.0

    def wall_s(self) -> float:
        return super().wall_s() + self.ahead_s


@dataclass
class House:
    """Alerts on the books of a worker."""

    redis: RedisManager
    rig: BooksRig
    clock: AheadClock
    alerts: Alerts
    booked: int = 0

    async def spend(self, nano: int) -> None:
        now_s = self.clock.wall_s()
        entry = Entry(id="j-1", request_id="r", at_s=now_s, client_id="ck_1", group_id="g_1", cost_nano=nano)
        batch = Batch("j", self.booked, self.booked + 1, sums=sums_of([entry]), spenders=["c:ck_1", "g:g_1", "c:gone"])
        self.booked = await self.rig.limits.settle(batch)

    async def titles(self) -> list[str]:
        return [alert.title for alert in await self.alerts.kept()]


@contextlib.asynccontextmanager
async def house(server: RedisServer, webhook: Webhook | None = None) -> AsyncIterator[House]:
    clock = AheadClock()
    async with manager(server) as redis, books_on(redis, clock=clock) as rig:
        alerts = Alerts(
            redis, Tally(redis, clock), clock, webhook, (50, 80, 95), lambda: {"ck_1": CLIENT}, lambda: {"g_1": GROUP}
        )
        yield House(redis, rig, clock, alerts)
        await alerts.close()


async def test_thresholds_are_told_once(redis_server: RedisServer) -> None:
    """Per limit, period and threshold, of keys and groups, with thresholds of their own; a new day begins anew."""
    async with house(redis_server) as one:
        await one.spend(499)
        await one.alerts.look()
        assert await one.titles() == ["group team has used 10 % of $0.000002 in all"]
        for nano in (1, 1, 1):
            await one.spend(nano)
            await one.alerts.look()
        assert (await one.titles())[:-1] == ["client bot has used 50 % of $0.000001 per day"]
        await one.spend(600)
        await one.alerts.look()
        assert (await one.titles())[0] == "client bot has used 95 % of $0.000001 per day"
        assert len(await one.titles()) == 3
        one.clock.ahead_s += 86_400
        await one.spend(500)
        await one.alerts.look()
        assert len(await one.titles()) == 4


async def test_an_alert_reaches_its_receiver(redis_server: RedisServer, receiver: Receiver) -> None:
    """Again and again until it is taken; a restart in between loses nothing, and nothing is sent twice."""
    webhook = Webhook(receiver.url, "secret", SystemClock(), to_private=True)
    alert = Alert(id="a-1", kind=AlertKind.TEST, at_s=1.0, subject="s", title="A title", text="More.")
    receiver.status = 500
    async with house(redis_server, webhook) as one:
        assert await one.alerts.tell(alert)
        assert not await one.alerts.tell(alert)
        await one.alerts.deliver()
        await one.alerts.deliver()
        assert len(receiver.got) == 1, "it rests for a while"
        assert await one.alerts.waiting() == 1
    receiver.status = 200
    async with house(redis_server, webhook) as two:
        two.clock.ahead_s = 10
        await two.alerts.deliver()
        await two.alerts.deliver()
        assert await two.alerts.waiting() == 0
    assert len(receiver.got) == 2
    told = json.loads(receiver.got[1][2])
    assert (told["type"], told["text"], told["data"]["id"]) == ("alert.test", "A title. More.", "a-1")


async def test_who_never_takes_it_is_given_up(
    redis_server: RedisServer, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """After some hours, with an error in the log; it stays in the list."""
    receiver.status = 500
    async with house(redis_server, Webhook(receiver.url, "", SystemClock(), to_private=True)) as one:
        await one.alerts.tell(Alert(id="a", kind=AlertKind.TEST, at_s=1.0, subject="s", title="t"))
        for _ in range(20):
            await one.alerts.deliver()
            one.clock.ahead_s += 20_000
        assert await one.alerts.waiting() == 0
        assert await one.titles() == ["t"]
    assert "alert never delivered" in caplog.text


async def test_one_worker_looks_by_itself(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """From start to close, without being asked."""
    monkeypatch.setattr("app.services.alerts._LOOK_EVERY_S", 0.02)
    async with house(redis_server) as one:
        one.alerts.start()
        await one.spend(990)
        async with asyncio.timeout(10):
            while len(await one.titles()) < 2:
                await asyncio.sleep(0.02)
