"""Workers that probe a simulated OpenRouter and share what they find over a real Redis."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from app.core.clock import SystemClock
from app.core.config import Settings
from app.core.redis import RedisManager
from app.core.security import openrouter_key_id
from app.models.keys import KeyState
from app.models.marks import Mark, MarkKind, Scope
from app.services.election import Election
from app.services.incident import Incidents
from app.services.key_facts import PROBES, FactStore
from app.services.key_manager import KeyManager
from app.services.marks import Marks
from app.services.probe_verdict import KEY_REFUSED, Patience
from app.services.rotation import ProbeLimits, RotationManager
from app.services.upstream_api import KeyProbe
from tests.redis_server import RedisServer
from tests.simulator_thread import SimulatorThread, running_simulator
from tests.test_services.conftest import manager
from tests.test_services.key_workers import CLIENTS, RING, until

TERM_S = 0.5
QUICK = ProbeLimits(interval_s=3600, most_per_s=50, patience=Patience(confirm_s=0.2, alone_s=3600))
DEAD = {"fault": "401", "times": 0, "path": "*"}


@pytest.fixture
def upstream() -> Iterator[SimulatorThread]:
    with running_simulator() as running:
        yield running


@dataclass
class Worker:
    redis: RedisManager
    keys: KeyManager
    marks: Marks
    facts: FactStore
    rotation: RotationManager

    async def add(self, *keys: str) -> list[str]:
        return [(await self.keys.add_openrouter_key(key, by="test")).record.id for key in keys]

    def refused(self, *key_ids: str) -> None:
        """What the judge of a call marks after a 401."""
        self.mark(MarkKind.CHECK, *key_ids, reason=KEY_REFUSED)

    def mark(self, kind: MarkKind, *key_ids: str, reason: str = "test", lasts_s: float = 60) -> None:
        now_s = SystemClock().wall_s()
        self.marks.put(
            Mark(scope=Scope.KEY, subject=key_id, kind=kind, until_s=now_s + lasts_s, reason=reason, at_s=now_s)
            for key_id in key_ids
        )

    def kind(self, key_id: str) -> MarkKind | None:
        mark = self.marks.find(Scope.KEY, key_id)
        return mark.kind if mark else None

    def known(self, *key_ids: str) -> Callable[[], bool]:
        return lambda: all(self.facts.get(key_id) for key_id in key_ids)


@contextlib.asynccontextmanager
async def worker(
    server: RedisServer, upstream: SimulatorThread, limits: ProbeLimits = QUICK, *, dies: bool = False
) -> AsyncIterator[Worker]:
    """A started worker; one that `dies` is stopped without giving its lease back."""
    settings = Settings(_env_file=None, openrouter_base_url=upstream.base_url)
    clock = SystemClock()
    async with contextlib.AsyncExitStack() as stack:
        redis = await stack.enter_async_context(manager(server))
        probe = KeyProbe(settings)
        stack.push_async_callback(probe.close)
        keys = KeyManager(redis, RING, CLIENTS, clock)
        marks, facts = Marks(redis, clock), FactStore(redis, clock)
        election = Election(redis, clock, PROBES, term_s=TERM_S)
        rotation = RotationManager(keys, probe, marks, facts, Incidents(), election, clock, limits)
        for part in (keys, marks, facts):
            await part.start()
            stack.push_async_callback(part.close)
        rotation.start()
        try:
            yield Worker(redis, keys, marks, facts, rotation)
        finally:
            if dies:
                await rotation._tasks.close()
                await election._tasks.close()
            else:
                await rotation.close()


def probes(upstream: SimulatorThread) -> list[dict[str, Any]]:
    return upstream.requests()


async def test_all_keys_are_probed_and_every_worker_knows(redis_server: RedisServer, upstream: SimulatorThread) -> None:
    """By one worker only, and by nothing but GET /key; a management key tells the balance too."""
    upstream.control("accounts", {"id": "acc", "credits": 7, "organization_id": "org"})
    plain = upstream.new_keys(3, account="acc")
    boss = upstream.control("keys", {"account": "acc", "name": "boss", "management": True})["key"]
    async with worker(redis_server, upstream) as one, worker(redis_server, upstream) as two:
        ids = await one.add(*plain, boss)
        await until(one.known(*ids))
        await until(two.known(*ids), within_s=1)
        assert {two.rotation.account_of(key_id) for key_id in ids} == {"org"}
        await until(lambda: two.facts.every[ids[3]].balance_nano == 7 * 10**9)
        assert one.rotation.elected is not two.rotation.elected
        targets = sorted(seen["target"] for seen in probes(upstream))
        assert targets == ["/api/v1/credits", *["/api/v1/key"] * 4]


async def test_the_elected_worker_dies(redis_server: RedisServer, upstream: SimulatorThread) -> None:
    """The other takes over, and asks no key anew that was asked just now."""
    keys = upstream.new_keys(3)
    first = contextlib.AsyncExitStack()
    one = await first.enter_async_context(worker(redis_server, upstream, dies=True))
    await until(lambda: one.rotation.elected)
    async with worker(redis_server, upstream) as two:
        ids = await two.add(*keys[:2])
        await until(two.known(*ids))
        assert not two.rotation.elected
        await first.aclose()
        await until(lambda: two.rotation.elected)
        (third,) = await two.add(keys[2])
        await until(two.known(third))
        assert len(probes(upstream)) == 3


async def test_a_401_is_confirmed_before_the_key_goes(redis_server: RedisServer, upstream: SimulatorThread) -> None:
    """Asked more than once, while another key is accepted; then it is disabled for all workers and asked no more."""
    good, bad, wrongly = upstream.new_keys(3)
    limits = ProbeLimits(interval_s=0.5, most_per_s=50, patience=Patience(confirm_s=0.2, alone_s=3600))
    async with worker(redis_server, upstream, limits) as one, worker(redis_server, upstream, limits) as two:
        ids = await one.add(good, bad, wrongly)
        await until(one.known(*ids))
        upstream.script(bad, DEAD)
        two.refused(ids[1], ids[2])
        await until(lambda: one.kind(ids[2]) is None and two.kind(ids[2]) is None)
        await until(lambda: one.kind(ids[1]) is MarkKind.DISABLED and two.kind(ids[1]) is MarkKind.DISABLED)
        assert not one.rotation.incident
        upstream.control("requests", method="DELETE")
        await until(lambda: len(probes(upstream)) >= 4)
        assert bad[13:] not in str(probes(upstream)), "nobody asks for a disabled key"
        assert good[13:] in str(probes(upstream))
        upstream.forget_scripts()
        two.marks.clear(Scope.KEY, ids[1], "alice")
        asked = SystemClock().wall_s()
        await until(lambda: one.facts.every[ids[1]].probed_at > asked)
        assert one.kind(ids[1]) is None


async def test_without_a_witness_nobody_is_disabled(redis_server: RedisServer, upstream: SimulatorThread) -> None:
    """The only key is refused: that may be the upstream's fault. It is held back and comes back."""
    (key,) = upstream.new_keys(1)
    limits = ProbeLimits(interval_s=0.3, most_per_s=50, patience=Patience(confirm_s=0.0, alone_s=3600))
    async with worker(redis_server, upstream, limits) as one:
        (key_id,) = await one.add(key)
        await until(one.known(key_id))
        upstream.script(key, DEAD | {"times": 5})
        await until(lambda: one.kind(key_id) is MarkKind.CHECK)
        await until(lambda: one.kind(key_id) is None)
        assert MarkKind.DISABLED not in {mark.kind for mark in one.marks.in_force()}


async def test_a_401_incident(
    redis_server: RedisServer, upstream: SimulatorThread, caplog: pytest.LogCaptureFixture
) -> None:
    """All keys of several accounts are refused: nobody is disabled, both workers know, and it ends by itself."""
    keys = [upstream.new_keys(1, account=f"acc{number}")[0] for number in range(4)]
    limits = ProbeLimits(interval_s=0.4, most_per_s=50, patience=Patience(confirm_s=0.3, alone_s=0.6))
    caplog.set_level(logging.WARNING)
    async with worker(redis_server, upstream, limits) as one, worker(redis_server, upstream, limits) as two:
        ids = await one.add(*keys)
        await until(one.known(*ids))
        await until(two.known(*ids))
        upstream.script("*", DEAD)
        two.refused(*ids[:3])
        await until(lambda: one.rotation.incident and two.rotation.incident, within_s=5)
        await until(lambda: one.kind(ids[3]) is MarkKind.CHECK)
        await asyncio.sleep(1.5)
        assert {one.kind(key_id) for key_id in ids} == {MarkKind.CHECK}
        upstream.forget_scripts()
        await until(lambda: not one.marks.in_force() and not two.marks.in_force())
        await until(lambda: not one.rotation.incident and not two.rotation.incident)
    assert "upstream incident suspected" in caplog.text
    assert "upstream incident over" in caplog.text


async def test_spent_keys_come_back(redis_server: RedisServer, upstream: SimulatorThread) -> None:
    """A probe marks a key whose limit is spent, and brings it back when the limit was raised."""
    (key, other) = upstream.new_keys(2)
    upstream.control("keys", {"key": key, "limit": 0, "limit_reset": "monthly"})
    limits = ProbeLimits(interval_s=0.3, most_per_s=50)
    async with worker(redis_server, upstream, limits) as one, worker(redis_server, upstream, limits) as two:
        spent, marked = await one.add(key, other)
        await until(lambda: two.kind(spent) is MarkKind.SPENT)
        two.mark(MarkKind.SPENT, marked, lasts_s=86_400)
        two.mark(MarkKind.COOL, "cool", lasts_s=86_400)
        await until(lambda: one.kind(marked) is None and two.kind(marked) is None)
        assert one.kind(spent) is MarkKind.SPENT
        upstream.control("keys", {"key": key, "limit": 5})
        await until(lambda: one.kind(spent) is None and two.kind(spent) is None)
        assert one.kind("cool") is MarkKind.COOL


async def test_an_account_comes_back_when_it_is_topped_up(redis_server: RedisServer, upstream: SimulatorThread) -> None:
    """A management key sees that the credits are gone, and that they are there again."""
    upstream.control("accounts", {"id": "poor", "credits": 0.01})
    account = upstream.simulator.world.account("poor")
    account.spending.add(20_000_000, 0)
    boss = upstream.control("keys", {"account": "poor", "name": "boss", "management": True})["key"]
    async with worker(redis_server, upstream, ProbeLimits(interval_s=0.3, most_per_s=50)) as one:
        await one.add(boss)
        await until(lambda: one.marks.find(Scope.ACCOUNT, "poor"))
        assert one.marks.find(Scope.FAMILY, "poor paid")
        upstream.control("accounts", {"id": "poor", "credits": 5})
        await until(lambda: not one.marks.in_force())


async def test_probes_are_bounded_and_never_touch_a_model(redis_server: RedisServer, upstream: SimulatorThread) -> None:
    """Sixty keys at twenty a second, while the upstream breaks down and recovers."""
    keys = upstream.new_keys(60)
    upstream.script("*", {"status": 500, "times": 5, "path": "*"}, {"fault": "503-html", "times": 3, "path": "*"})
    async with worker(redis_server, upstream, ProbeLimits(interval_s=0.1, most_per_s=20)) as one:
        await one.keys.import_openrouter_keys("\n".join(keys), by="test")
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(2)
        count, took = len(probes(upstream)), asyncio.get_running_loop().time() - began
        assert 5 < count <= took * 20 + 2
        assert {seen["target"] for seen in probes(upstream)} == {"/api/v1/key"}
        assert not one.marks.in_force(), "a breakdown says nothing of keys"


async def test_an_outage_of_redis(redis_server: RedisServer, upstream: SimulatorThread) -> None:
    """Nobody is elected meanwhile, so nobody probes; afterwards it goes on."""
    first, second = upstream.new_keys(2)
    limits = ProbeLimits(interval_s=0.2, most_per_s=50)
    async with worker(redis_server, upstream, limits) as one:
        (key_id,) = await one.add(first)
        await until(one.known(key_id))
        redis_server.kill()
        await until(lambda: not one.rotation.elected)
        one.refused(key_id)
        redis_server.start()
        await until(lambda: one.rotation.elected)
        await until(lambda: one.kind(key_id) is None)
        (other,) = await one.add(second)
        await until(one.known(other))


async def test_others_are_asked_when_one_is_refused(redis_server: RedisServer, upstream: SimulatorThread) -> None:
    """A key that is accepted in the same minute tells whose fault it is; it need not wait for its turn."""
    mine, near, far = (upstream.new_keys(1, account=account)[0] for account in ("a", "a", "b"))
    async with worker(redis_server, upstream) as one:
        ids = await one.add(mine, near, far)
        await until(one.known(*ids))
        upstream.script(mine, DEAD)
        began = SystemClock().wall_s()
        one.refused(ids[0])
        await until(lambda: one.facts.every[ids[2]].probed_at > began)


async def test_what_is_not_probed(redis_server: RedisServer, upstream: SimulatorThread) -> None:
    """Disabled keys are not; deleted ones are forgotten, their marks too."""
    first, second = upstream.new_keys(2)
    async with worker(redis_server, upstream) as one:
        ids = await one.add(first, second)
        await until(one.known(*ids))
        await one.keys.set_openrouter_state(ids[0], KeyState.DISABLED, by="test")
        one.refused(ids[0])
        await asyncio.sleep(0.5)
        assert len(probes(upstream)) == 2
        one.mark(MarkKind.DISABLED, ids[1], lasts_s=86_400)
        await one.keys.delete_openrouter_key(ids[1], by="test")
        await until(lambda: one.facts.get(ids[1]) is None and one.kind(ids[1]) is None)
        assert one.facts.get(ids[0])


async def test_no_secret_is_logged(
    redis_server: RedisServer, upstream: SimulatorThread, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither in words nor in fields."""
    caplog.set_level(logging.DEBUG)
    good, bad = upstream.new_keys(2)
    limits = ProbeLimits(interval_s=0.2, most_per_s=50, patience=Patience(confirm_s=0.0, alone_s=0.0))
    async with worker(redis_server, upstream, limits) as one:
        ids = await one.add(good, bad)
        upstream.script(bad, DEAD)
        await until(lambda: one.kind(ids[1]) is MarkKind.DISABLED)
        upstream.script("*", {"status": 500, "times": 0, "path": "*"})
        await until(lambda: "probe without answer" in caplog.text)
    ours = [vars(record) for record in caplog.records if record.name.startswith("app.")]
    assert ours
    assert not [fields for fields in ours if good[13:] in str(fields) or bad[13:] in str(fields)]
    assert openrouter_key_id(bad) == ids[1]
