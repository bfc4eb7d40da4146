"""Messages wait for who is to be told, in Redis or in memory, until they are taken or given up."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import pytest

from app.core.redis import RedisManager
from app.models.alerts import Alert, AlertKind
from app.services.alert_outbox import NOBODY, Outbox
from app.services.webhooks import NotSent
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager
from tests.test_services.renewal_world import AheadClock


@dataclass
class Listener:
    """Somebody who is told, and says no as long as there is a reason to."""

    name: str
    reason: str = ""
    host: str = "ops.example"
    asked: list[str] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)

    async def send(self, alert: Alert) -> None:
        self.asked.append(alert.id)
        if self.reason:
            raise NotSent(self.reason)
        self.taken.append(alert.id)


def alert(name: str, at_s: float = 1.0) -> Alert:
    return Alert(id=name, kind=AlertKind.POOL_LOW, at_s=at_s, subject="pool", title="Pool has 1 ready key")


async def queue(redis: RedisManager, outbox: Outbox, *alerts: Alert) -> None:
    for one in alerts:
        for name, message in outbox.messages(one).items():
            await redis.command("HSET", outbox.queue, name, message)


async def test_each_receiver_waits_for_itself(redis_server: RedisServer) -> None:
    """One that says no holds nobody else up, and is not asked for the next message at once."""
    well, ill, clock = Listener("slack"), Listener("email", "503"), AheadClock()
    async with manager(redis_server) as redis:
        outbox = Outbox(redis, clock, [well, ill])
        await queue(redis, outbox, alert("b", 2.0), alert("a", 1.0))
        await outbox.deliver()
        assert (well.taken, ill.asked, await outbox.waiting()) == (["a", "b"], ["a"], 2)
        ill.reason = ""
        await outbox.deliver()
        assert ill.taken == ["b"], "the first one rests"
        clock.ahead_s = 6
        await outbox.deliver()
        assert (ill.taken, await outbox.waiting()) == (["b", "a"], 0)


async def test_pauses_grow_until_it_is_given_up(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """Nine tries within eight hours, each noted with a code and no address."""
    ill, clock = Listener("slack", "ConnectError"), AheadClock()
    async with manager(redis_server) as redis:
        outbox, pauses = Outbox(redis, clock, [ill]), []
        await queue(redis, outbox, alert("a"))
        for _ in range(2000):
            await outbox.deliver()
            if len(ill.asked) > len(pauses):
                pauses.append(clock.ahead_s)
            if not await outbox.waiting():
                break
            clock.ahead_s += 20
    assert len(ill.asked) == 9
    gaps = [later - earlier for earlier, later in itertools.pairwise(pauses)]
    assert gaps == sorted(gaps)
    assert 7 * 3600 < clock.ahead_s < 8 * 3600
    assert "alert never delivered" in caplog.text


async def test_who_is_not_set_any_more_is_forgotten(redis_server: RedisServer) -> None:
    """With a change of the settings; what an earlier release left without a name goes to the first."""
    kept = Listener("slack")
    async with manager(redis_server) as redis:
        await queue(redis, Outbox(redis, AheadClock(), [Listener("slack"), Listener("discord")]), alert("a"))
        outbox = Outbox(redis, AheadClock(), [kept])
        old = b'{"alert":{"id":"old","kind":"test","at_s":9,"subject":"x","title":"t"}}'
        await redis.command("HSET", outbox.queue, "old", old)
        await outbox.deliver()
        assert (sorted(kept.taken), await outbox.waiting()) == (["a", "old"], 0)


async def test_what_is_carried_is_sent_without_redis(redis_server: RedisServer) -> None:
    """Again and again, each receiver for itself; what is left goes over to Redis, what was taken comes out of it."""
    well, ill, clock = Listener("slack"), Listener("email", "503"), AheadClock()
    async with manager(redis_server) as redis:
        outbox = Outbox(redis, clock, [well, ill])
        await queue(redis, outbox, alert("a"))  # it has come through after all
        outbox.carry(alert("a"))
        for _ in range(2):
            await outbox.deliver_carried()
        assert (well.taken, ill.asked) == (["a"], ["a"])
        clock.ahead_s = 6
        await outbox.deliver_carried()
        assert (well.taken, ill.asked) == (["a"], ["a", "a"])
        (one,) = outbox.carried
        assert list(outbox.left(one)) == ["email|a"]
        await outbox.take_out(one)
        assert await outbox.waiting() == 1


async def test_memory_has_an_end(redis_server: RedisServer) -> None:
    """The first hundred are the ones that matter."""
    async with manager(redis_server) as redis:
        outbox = Outbox(redis, AheadClock(), [])
        for number in range(150):
            outbox.carry(alert(f"{number}"))
        assert [one.alert.id for one in outbox.carried] == [f"{number}" for number in range(100)]


async def test_trying_out(redis_server: RedisServer) -> None:
    """One or all, at once and without keeping anything; what went wrong is a sentence with the receiver's name."""
    well, ill = Listener("slack"), Listener("email", "404")
    async with manager(redis_server) as redis:
        outbox = Outbox(redis, AheadClock(), [well, ill])
        assert await outbox.try_out(alert("a"), "slack") == ""
        assert await outbox.try_out(alert("b")) == (
            "email (ops.example) has not taken it: it does not know this address (404)."
        )
        assert well.taken == ["a", "b"]
        assert await outbox.try_out(alert("c"), "teams") == "There is no receiver teams: there are slack, email."
        assert await Outbox(redis, AheadClock(), []).try_out(alert("d")) == NOBODY
        assert await outbox.waiting() == 0
