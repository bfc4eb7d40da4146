"""The look at everything that somebody must hear of: who looks, at what, and what they do while Redis is away."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.core.redis import RedisUnavailable
from app.models.alerts import AlertKind, Gravity
from app.models.renewal import Entry, Kind, Step
from app.services.alert_conditions import Bounds
from app.services.alert_watch import AlertWatch, Sources
from app.services.health import Health
from app.services.key_picture import KeyPicture, Standing
from tests.redis_server import RedisServer
from tests.test_services.conftest import redis_server
from tests.test_services.test_alert_conditions import picture
from tests.test_services.test_alerts import House, house
from tests.test_services.test_webhooks import Receiver, receiver

__all__ = ["receiver", "redis_server"]

SHARED_STATES = {
    AlertKind.KEY_SPENT, AlertKind.KEY_DEAD, AlertKind.KEY_DISABLED, AlertKind.KEY_EXPIRING, AlertKind.POOL_LOW,
    AlertKind.UPSTREAM_INCIDENT, AlertKind.REDIS_UNSAFE, AlertKind.REDIS_FULL, AlertKind.JOURNAL_GROWING,
    AlertKind.ROTATION_FAILED, AlertKind.LOGIN_LOCKOUT,
}  # fmt: skip
WELL = {"total": 3, "ready": 3, "resting": 0, "unreadable": 0}


@dataclass
class World:
    """What there is to be seen, and who looks at it."""

    house: House
    keys: dict[str, int] = field(default_factory=lambda: dict(WELL))
    pictures: list[KeyPicture] = field(default_factory=list)
    renewals: dict[str, Entry] = field(default_factory=dict)
    journal: int = 0
    health: dict[str, Any] = field(default_factory=dict)
    watch: AlertWatch = field(init=False)

    async def look(self, *, after_s: float = 20.0) -> list[str]:
        """What is told by a look, as much later, and by the one behind it."""
        before = len(await self.house.alerts.kept())
        for pause_s in (after_s, 20.0):
            self.house.clock.ahead_s += pause_s
            await self.watch.look()
        kept = await self.house.alerts.kept()
        return [alert.title for alert in kept[: len(kept) - before]]


def sources(world: World) -> Sources:
    async def health() -> Health:
        facts = {"draining": False, "loaded": True, **world.health}
        return Health(0.3, world.keys, 1, **facts)

    async def pictures() -> list[KeyPicture]:
        return world.pictures

    async def renewals() -> dict[str, Entry]:
        return world.renewals

    async def nothing() -> dict[str, Any]:
        return {}

    async def journal() -> int:
        return world.journal

    def find(key_id: str) -> KeyPicture | None:
        return next((one for one in world.pictures if one.id == key_id), None)

    return Sources(
        health=health, pictures=pictures, find=find, renewals=renewals, managed=nothing, journal_bytes=journal
    )


@contextlib.asynccontextmanager
async def watching(server: RedisServer, folder: Path, url: str = "", *, leads: bool = True) -> AsyncIterator[World]:
    async with house(server, url) as own:
        world = World(own)
        world.watch = AlertWatch(own.redis, own.clock, own.alerts, sources(world), Bounds(), folder)
        if leads:
            await own.alerts._election.campaign()
        yield world
        await world.watch.close()


def hours(world: World) -> list[str]:
    """Where failed sign-ins are counted, around now."""
    now = int(world.house.clock.wall_s()) // 3600
    return [world.house.redis.keys.people("failures", str(now + hour)) for hour in (-1, 0, 1)]


async def everything_goes_wrong(world: World, server: RedisServer) -> None:
    now_s = world.house.clock.wall_s()
    world.keys |= {"ready": 1, "resting": 2}
    world.health = {"incident": True}
    ends = picture(Standing.READY, "d", expires_at=now_s + 3600)
    world.pictures = [picture(Standing.SPENT, "a"), picture(Standing.DEAD, "b"), picture(Standing.DISABLED, "c"), ends]
    failed = {"step": Step.UNDONE, "reason": "its limit differs", "since_s": now_s, "began_s": now_s, "due_s": now_s}
    world.renewals = {"r": Entry(kind=Kind.RENEW, key="d", **failed)}
    world.journal = 300_000_000
    for name in hours(world):
        server.call("SET", name, "20")
    server.call("CONFIG", "SET", "appendonly", "no")
    server.call("SETRANGE", "ballast", "30000000", "x")
    info = await world.house.redis.command("INFO", "memory")
    server.call("CONFIG", "SET", "maxmemory", str(info["used_memory"] * 107 // 100))


async def all_is_well_again(world: World, server: RedisServer) -> None:
    server.call("CONFIG", "SET", "maxmemory", "0")
    server.call("CONFIG", "SET", "appendonly", "yes")
    server.call("DEL", *hours(world))
    world.keys, world.health, world.journal = dict(WELL), {}, 0
    world.renewals = {name: msgspec.structs.replace(one, step=Step.DONE) for name, one in world.renewals.items()}
    world.pictures = [picture(Standing.READY, name) for name in "abcd"]


async def test_each_state_from_begin_to_end(redis_server: RedisServer, tmp_path: Path, receiver: Receiver) -> None:
    """Found where it is to be found, told once, and told again when it is over; in the cool-down nothing is repeated
    but what is urgent.
    """
    async with watching(redis_server, tmp_path, receiver.url) as world:
        await everything_goes_wrong(world, redis_server)
        told = await world.look()
        assert len(told) == len(set(told)) == len(SHARED_STATES), told
        assert await world.look() == [], "once"
        assert {due.kind for due in await world.house.alerts.active()} == SHARED_STATES
        await all_is_well_again(world, redis_server)
        over = await world.look()
        assert len(over) == len(SHARED_STATES), over
        assert await world.house.alerts.active() == []
        await everything_goes_wrong(world, redis_server)
        assert await world.look(after_s=60) == [], "the cool-down"
        redis_server.call("CONFIG", "SET", "maxmemory", "0")
        later = await world.look(after_s=4 * 3600)
        assert "Pool has 1 ready key" in later
        await world.house.alerts.deliver()
    sent = [json.loads(body)["data"] for _, _, body in receiver.got]
    first = sent[: 2 * len(SHARED_STATES)]
    for status in ("raised", "ended"):
        assert {AlertKind(one["kind"]) for one in first if one["status"] == status} == SHARED_STATES


async def test_who_does_not_lead_tells_nothing(redis_server: RedisServer, tmp_path: Path) -> None:
    """One of all workers looks at what they share."""
    async with watching(redis_server, tmp_path, leads=False) as world:
        world.keys["ready"] = 0
        assert await world.look() == []
        assert await world.house.alerts.active() == []


@pytest.mark.parametrize("facts", [{"loaded": False}, {"draining": True}])
async def test_before_and_after_nothing_is_judged(
    redis_server: RedisServer, tmp_path: Path, facts: dict[str, bool]
) -> None:
    """A gateway that has not read its keys has none, and that is no alert."""
    async with watching(redis_server, tmp_path) as world:
        world.keys["ready"], world.health = 0, facts
        assert await world.look() == []


async def test_sign_ins_are_counted_over_the_turn_of_the_hour(redis_server: RedisServer, tmp_path: Path) -> None:
    """Those of the hour before count until half of the next has gone."""
    async with watching(redis_server, tmp_path) as world:
        clock = world.house.clock
        clock.ahead_s += 3600 - clock.wall_s() % 3600
        redis_server.call("SET", hours(world)[0], "20")
        assert await world.look() == ["More than 19 sign-ins have failed within an hour"]
        assert [title.partition(" after ")[0] for title in await world.look(after_s=1800)] == [
            "Sign-ins do not fail in numbers any more"
        ]


async def test_one_worker_of_a_machine_tells_that_redis_is_away(
    redis_server: RedisServer, tmp_path: Path, receiver: Receiver
) -> None:
    """Whether it leads or not. Afterwards the next outage may be another one's."""
    async with (
        watching(redis_server, tmp_path, receiver.url, leads=False) as one,
        watching(redis_server, tmp_path, receiver.url, leads=False) as other,
    ):
        one.journal = 5_000_000
        redis_server.kill()
        for _ in range(3):
            for world in (one, other):
                world.house.clock.ahead_s += 15
                await world.watch.look()
        for world in (one, other):
            await world.house.alerts.deliver_carried()
            (due,) = await world.house.alerts.active()
            assert (due.kind, due.gravity) == (AlertKind.REDIS_AWAY, Gravity.BAD)
        (told,) = [json.loads(body)["data"] for _, _, body in receiver.got]
        assert "5 MB wait on disk" in told["text"]
        redis_server.start()
        for world in (one, other):
            await until_up(world)
            for _ in range(3):
                world.house.clock.ahead_s += 15
                await world.watch.look()
            assert await world.house.alerts.active() == []
            await world.house.alerts.hand_over()
        kept = [alert.title.partition(" after ")[0] for alert in await one.house.alerts.kept()]
        assert kept[0] == "Redis answers again"
        assert kept[1].startswith("Redis does not answer the gateway on ")
        assert not one.house.alerts.alone
        assert all(world.watch._lock is None for world in (one, other))


@pytest.mark.parametrize(
    ("words", "well", "kind"),
    [
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0"), "redis_full"),
        (("CONFIG", "SET", "min-replicas-to-write", "1"), ("CONFIG", "SET", "min-replicas-to-write", "0"),
         "redis_unsafe"),
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE"), "redis_unsafe"),
    ],
)  # fmt: skip
async def test_a_redis_that_refuses_writes_keeps_no_alert_from_being_told(
    redis_server: RedisServer,
    tmp_path: Path,
    receiver: Receiver,
    words: tuple[str, ...],
    well: tuple[str, ...],
    kind: str,
) -> None:
    """It answers, so it is not away, and yet nothing can be stored."""
    async with watching(redis_server, tmp_path, receiver.url) as world:
        redis_server.call(*words)
        for _ in range(3):
            world.house.clock.ahead_s += 15
            await world.watch.look()
        await world.house.alerts.deliver_carried()
        (due,) = await world.house.alerts.active()
        assert (due.kind.value, due.gravity) == (kind, Gravity.BAD)
        redis_server.call(*well)
        for _ in range(4):
            world.house.clock.ahead_s += 15
            await world.watch.look()
        await world.house.alerts.hand_over()
        await world.house.alerts.deliver()
        assert [due.kind.value for due in await world.house.alerts.active()] == []
        assert len(await world.house.alerts.kept()) == 2
    assert [json.loads(body)["data"]["status"] for _, _, body in receiver.got] == ["raised", "ended"]


async def until_up(world: World) -> None:
    """Connections find out by themselves within the breaker's pause."""
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(RedisUnavailable):
                await world.house.redis.ping()
                return
            await asyncio.sleep(0.05)


async def test_a_disk_that_does_not_lock_silences_nobody(
    redis_server: RedisServer, tmp_path: Path, receiver: Receiver
) -> None:
    """Rather told twice than not at all."""
    (tmp_path / "alerts").write_text("no folder")
    async with watching(redis_server, tmp_path, receiver.url, leads=False) as world:
        redis_server.kill()
        for _ in range(3):
            world.house.clock.ahead_s += 15
            await world.watch.look()
        await world.house.alerts.deliver_carried()
        redis_server.start()
    assert len(receiver.got) == 1


async def test_it_looks_by_itself(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And goes on after a look that failed."""
    monkeypatch.setattr("app.services.alert_watch._LOOK_EVERY_S", 0.01)
    async with watching(redis_server, tmp_path) as world:
        world.keys, keys = {}, world.keys
        world.renewals = {"r": None}  # type: ignore[dict-item]
        world.watch.start()
        async with asyncio.timeout(10):
            while "alerts watch failed" not in caplog.text:
                await asyncio.sleep(0.01)
            world.keys, world.renewals = keys | {"ready": 1}, {}
            while not await world.house.alerts.kept():
                world.house.clock.ahead_s += 1
                await asyncio.sleep(0.01)
