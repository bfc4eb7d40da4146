"""Alerts are raised once, kept, and delivered whatever happens on the way."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from app.core.clock import SystemClock
from app.core.redis import RedisManager, RedisUnavailable
from app.models.alerts import Alert, AlertKind, Condition
from app.models.keys import ClientKey
from app.models.ledger import Entry
from app.models.limits import Group, Limit, Span, Unit
from app.services.alert_formats import Format
from app.services.alerts import Alerts, Board
from app.services.audit import Audit
from app.services.limit_script import Batch
from app.services.spending import sums_of
from app.services.tally import Tally
from app.services.watchers import WebhookReceiver
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
async def house(server: RedisServer, url: str = "") -> AsyncIterator[House]:
    clock = AheadClock()
    async with manager(server) as redis, books_on(redis, clock=clock) as rig:
        webhook = Webhook(url, "secret", SystemClock(), to_private=True)
        receivers = [WebhookReceiver("webhook", webhook, Format.JSON, "")] if url else None
        alerts = Alerts(
            redis, Tally(redis, clock), clock, receivers, (50, 80, 95), lambda: {"ck_1": CLIENT}, lambda: {"g_1": GROUP}
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
    alert = Alert(id="a-1", kind=AlertKind.TEST, at_s=1.0, subject="s", title="A title", text="More.")
    receiver.status = 500
    async with house(redis_server, receiver.url) as one:
        assert await one.alerts.tell(alert)
        assert not await one.alerts.tell(alert)
        await one.alerts.deliver()
        await one.alerts.deliver()
        assert len(receiver.got) == 1, "it rests for a while"
        assert await one.alerts.waiting() == 1
    receiver.status = 200
    async with house(redis_server, receiver.url) as two:
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
    async with house(redis_server, receiver.url) as one:
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


LOW = Condition(kind=AlertKind.POOL_LOW, subject="pool", title="Pool has 1 ready key", hold_s=10.0)


def again(condition: Condition, held_s: float) -> str:
    return f"{condition.kind.value} is over after {held_s:.0f} s"


async def look(one: House, *found: Condition, after_s: float = 5.0) -> None:
    one.clock.ahead_s += after_s
    await one.alerts.take(found, again)


async def test_a_state_is_one_alert_and_one_notice(redis_server: RedisServer, receiver: Receiver) -> None:
    """Whoever looks: another worker that takes over goes on where the first one was."""
    async with house(redis_server, receiver.url) as one, house(redis_server, receiver.url) as two:
        for house_ in (one, two, one, two, one):
            two.clock.ahead_s = one.clock.ahead_s = max(one.clock.ahead_s, two.clock.ahead_s)
            await look(house_, LOW)
        assert await one.titles() == ["Pool has 1 ready key"]
        (due,) = await two.alerts.active()
        assert (due.id, due.is_told) == ("pool_low:pool", True)
        for house_ in (two, one, two, one, two):
            two.clock.ahead_s = one.clock.ahead_s = max(one.clock.ahead_s, two.clock.ahead_s)
            await look(house_)
        assert await one.titles() == ["pool_low is over after 25 s", "Pool has 1 ready key"]
        assert await two.alerts.active() == []
        await one.alerts.deliver()
        await two.alerts.deliver()
    told = [json.loads(body) for _, _, body in receiver.got]
    assert [one["data"]["status"] for one in told] == ["raised", "ended"]


async def test_two_that_believe_to_lead_tell_once(redis_server: RedisServer) -> None:
    """What is told is named after what is stored, and not after who tells it."""
    async with house(redis_server) as one, house(redis_server) as two:
        await look(one, LOW)
        one.clock.ahead_s = two.clock.ahead_s = 20.0
        await asyncio.gather(one.alerts.take([LOW], again), two.alerts.take([LOW], again))
        assert await one.titles() == ["Pool has 1 ready key"]


async def test_silence_is_kept_and_noted(redis_server: RedisServer, receiver: Receiver) -> None:
    """Nothing is sent of it, in no worker; who did it stands in the audit."""
    async with house(redis_server, receiver.url) as one:
        await one.alerts.silence("all", 2, by="ann")
        await look(one, LOW)
        await look(one, LOW, after_s=60)
        assert await one.titles() == []
        (due,) = await one.alerts.active()
        assert due.silenced_until_s > one.clock.wall_s()
        assert await one.alerts.tell(Alert(id="e", kind=AlertKind.BOOKS_DIFFER, at_s=1.0, subject="k", title="event"))
        assert (await one.titles(), await one.alerts.waiting()) == (["event"], 0)
        assert [(kept.what, kept.by) for kept in await one.alerts.silences()] == [("all", "ann")]
        await one.alerts.silence("all", 0, by="ann")
        assert await one.alerts.silences() == []
        await look(one, LOW)
        assert (await one.titles())[0] == "Pool has 1 ready key"
        noted = [deed.deed async for deed in Audit(one.redis).entries()]
        assert [(deed.by, deed.deed, deed.id, deed.after) for deed in noted if deed] == [
            ("ann", "silence", "all", "no more"),
            ("ann", "silence", "all", "for 2 h"),
        ]


async def test_what_was_silenced_is_silent_without_redis(redis_server: RedisServer, receiver: Receiver) -> None:
    """Somebody who stops Redis for an hour says so before."""
    away = Condition(kind=AlertKind.REDIS_AWAY, subject="host", title="Redis does not answer")
    async with house(redis_server, receiver.url) as one:
        await one.alerts.silence("redis_away", 1, by="ann")
        await one.alerts.silences()
        redis_server.kill()
        for _ in range(3):
            one.clock.ahead_s += 10
            one.alerts.take_alone([away], again, tells=True)
        (due,) = await one.alerts.active()
        assert due.silenced_until_s > one.clock.wall_s()
        one.clock.ahead_s += 3600
        one.alerts.take_alone([away], again, tells=True)
        with contextlib.suppress(RedisUnavailable):
            await one.alerts.hand_over()
        await one.alerts.deliver_carried()
        redis_server.start()
    assert [json.loads(body)["data"]["kind"] for _, _, body in receiver.got] == ["redis_away"]


async def test_an_alert_is_raised_whole_or_not_at_all(redis_server: RedisServer, receiver: Receiver) -> None:
    """An answer that comes too late: it is kept and queued once, whoever asks again."""
    alert = Alert(id="a", kind=AlertKind.TEST, at_s=1.0, subject="s", title="t")
    async with house(redis_server, receiver.url) as one:
        redis_server.pause()
        with pytest.raises(RedisUnavailable):
            await one.alerts.tell(alert)
        redis_server.resume()
        await one.alerts.tell(alert)
        assert (await one.titles(), await one.alerts.waiting()) == (["t"], 1)


async def test_everything_to_be_shown_in_one_question(redis_server: RedisServer, receiver: Receiver) -> None:
    """What is due, told, silenced and on its way; from memory alone, and still an answer, without Redis."""
    async with house(redis_server, receiver.url) as one:
        await one.alerts.silence("key_spent", 1, by="ann")
        for _ in range(3):
            await look(one, LOW)
        await one.alerts.tell(
            Alert(id="b", kind=AlertKind.BOOKS_DIFFER, at_s=one.clock.wall_s(), subject="k", title="b")
        )
        board = await one.alerts.board()
        assert [due.title for due in board.active] == ["b", "Pool has 1 ready key"]
        assert [told.title for told in board.kept] == ["b", "Pool has 1 ready key"]
        assert ([quiet.what for quiet in board.silences], board.waiting) == (["key_spent"], 2)
        redis_server.kill()
        assert await one.alerts.board() == Board(silences=board.silences)
        redis_server.start()


async def test_without_redis_it_is_told_from_memory(
    redis_server: RedisServer, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the one who is chosen; when Redis is back, it stands in the list, and nothing is sent again."""
    monkeypatch.setattr("app.services.alerts._LOOK_EVERY_S", 0.02)
    away = Condition(kind=AlertKind.REDIS_AWAY, subject="host", title="Redis does not answer", hold_s=10.0)
    async with house(redis_server, receiver.url) as one, house(redis_server, receiver.url) as other:
        redis_server.pause()
        for house_, tells in ((one, True), (other, False)):
            house_.alerts.start()
            house_.alerts.take_alone([away], again, tells=tells)
            house_.clock.ahead_s += 20
            house_.alerts.take_alone([away], again, tells=tells)
            assert [due.title for due in await house_.alerts.active()] == ["Redis does not answer"]
        async with asyncio.timeout(20):
            while not receiver.got:
                await asyncio.sleep(0.02)
        redis_server.resume()
        for _ in range(2):
            one.clock.ahead_s += 20
            one.alerts.take_alone([], again, tells=True)
        assert not one.alerts.alone
        async with asyncio.timeout(30):
            while len(receiver.got) < 2 or len(await one.titles()) < 2:
                await asyncio.sleep(0.02)
        over, begun = await one.titles()
        assert (over.rpartition(" after ")[0], begun) == ("redis_away is over", "Redis does not answer")
    assert [json.loads(body)["data"]["status"] for _, _, body in receiver.got] == ["raised", "ended"]
