"""Single steps: how traffic moves, what is inherited, and what each kind of trouble leads to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from app.core.security import KeyRing, openrouter_key_id
from app.models.keys import KeyKind, KeyState
from app.models.renewal import Entry, Pace, Step
from tests.redis_server import RedisServer
from tests.simulator_thread import SimulatorThread, running_simulator
from tests.test_services.renewal_world import QUICK, Gateway, gateway, live_keys, settle


@pytest.fixture(scope="module")
def upstream() -> Iterator[SimulatorThread]:
    """A simulated OpenRouter for this file; each test has an account of its own."""
    with running_simulator() as running:
        yield running


async def step(world: Gateway, entry: Entry) -> Entry:
    """One step, as soon as it is due."""
    now = await world.renewal.journal.entries.read(entry.id)
    assert now is not None
    world.clock.ahead_s += max(0.0, now.due_s - world.clock.wall_s())
    await world.renewal._one_step(now)
    done = await world.renewal.journal.entries.read(entry.id)
    assert done is not None
    return done


async def until(world: Gateway, entry: Entry, wanted: Step) -> Entry:
    now = entry
    while now.step is not wanted:
        now = await step(world, now)
    return now


def _shares(world: Gateway, old: str) -> Iterator[tuple[int, int | None]]:
    """What the old key and each other inference key weigh at this moment."""
    records = world.keys.openrouter_keys
    coming = [key.weight for key in records.values() if key.id != old and key.kind is not KeyKind.MANAGEMENT]
    for weight in coming or [None]:
        yield records[old].weight, weight


async def test_traffic_moves_over_by_weight(redis_server: RedisServer, upstream: SimulatorThread) -> None:
    """The successor inherits attributes, takes a growing share, and in the end the label."""
    async with gateway(redis_server.url, upstream.base_url) as world:
        setting = await settle(world, upstream, "traffic")
        changes: dict[str, Any] = {"weight": 100, "tags": ("team-a",), "max_rpm": 60, "tier": 2}
        await world.keys.update_openrouter_key(setting.key_id, changes, by="test")
        entry = await world.renewal.renew("main", by="test", pace=Pace(stage_s=60, quarantine_s=3))
        seen: set[tuple[int, int | None]] = set()
        world.keys.subscribe(lambda: seen.update(_shares(world, setting.key_id)))
        now = await until(world, entry, Step.SHIFT)
        await asyncio.sleep(0.1)
        assert {coming for _, coming in seen} <= {None, 10}, "it comes with its first share, never with a whole one"
        assert world.keys.openrouter_keys[now.successor].predecessors == (setting.key_id,)
        shares = []
        while now.step is Step.SHIFT:
            records = world.keys.openrouter_keys
            shares.append((records[setting.key_id].weight, records[now.successor].weight))
            assert now.due_s >= world.clock.wall_s() + 59, "each share has its time"
            now = await step(world, now)
        new = world.keys.openrouter_keys[now.successor]
        assert shares == [(90, 10), (75, 25), (50, 50)]
        assert (world.keys.openrouter_keys[setting.key_id].weight, new.weight) == (0, 100)
        assert (new.tags, new.max_rpm, new.tier, new.label) == (("team-a",), 60, 2, "main (new)")
        assert world.keys.find_openrouter("main").id == setting.key_id, "the label still means the old key"
        await world.finish(now)
        assert world.keys.find_openrouter("main").id == now.successor


async def test_weights_come_back(redis_server: RedisServer, upstream: SimulatorThread) -> None:
    """When a renewal is undone, the old key has its whole share again, and is enabled on both sides."""
    async with gateway(redis_server.url, upstream.base_url) as world:
        setting = await settle(world, upstream, "weights")
        await world.keys.update_openrouter_key(setting.key_id, {"weight": 40}, by="test")
        entry = await until(world, await world.renewal.renew("main", by="test", pace=QUICK), Step.QUARANTINE)
        assert world.keys.openrouter_keys[setting.key_id].weight == 0
        await world.renewal.undo("main", by="another")
        assert (await world.finish(entry)).step is Step.UNDONE
        deeds = [noted.deed async for noted in world.keys.audit.entries() if noted.deed is not None]
        assert [deed.by for deed in deeds if deed.before == "quarantine"] == ["another"]
        old = world.keys.openrouter_keys[setting.key_id]
        assert (old.weight, old.state, old.label) == (40, KeyState.ENABLED, "main")
        assert list(live_keys(upstream, "weights")) == [setting.key_id]


async def test_a_leak_in_the_middle_is_not_undone(redis_server: RedisServer, upstream: SimulatorThread) -> None:
    """A key that was revoked meanwhile stays revoked, whatever becomes of its renewal."""
    async with gateway(redis_server.url, upstream.base_url) as world:
        setting = await settle(world, upstream, "leaky")
        entry = await until(world, await world.renewal.renew("main", by="test", pace=QUICK), Step.SHIFT)
        await world.renewal.revoke(setting.key_id, by="test")
        await world.renewal.undo(setting.key_id, by="test")
        assert (await world.finish(entry)).step is Step.UNDONE
        assert world.keys.openrouter_keys[setting.key_id].state is KeyState.REVOKED
        assert not live_keys(upstream, "leaky")


async def test_without_its_management_key_a_renewal_waits(redis_server: RedisServer, upstream: SimulatorThread) -> None:
    """And goes on when the key is back."""
    async with gateway(redis_server.url, upstream.base_url) as world:
        setting = await settle(world, upstream, "no-admin")
        entry = await world.renewal.renew("main", by="test", pace=QUICK)
        admin_id = openrouter_key_id(setting.admin)
        await world.keys.set_openrouter_state(admin_id, KeyState.DISABLED, by="test")
        for _ in range(7):
            held = await step(world, entry)
        assert (held.step, held.problem) == (Step.CREATE, "the management key is not on file, or disabled")
        await world.keys.set_openrouter_state(admin_id, KeyState.ENABLED, by="test")
        assert (await world.finish(entry)).step is Step.DONE


async def test_a_creation_that_is_refused_is_given_up(redis_server: RedisServer, upstream: SimulatorThread) -> None:
    """A plain no is asked for again a few times, and then nothing has changed."""
    async with gateway(redis_server.url, upstream.base_url) as world:
        setting = await settle(world, upstream, "given-up")
        entry = await world.renewal.renew("main", by="test", pace=QUICK)
        assert entry.terms is not None
        wrong = msgspec.structs.replace(entry.terms, workspace="00000000-0000-4000-8000-00000000dead")
        await world.renewal.journal.entries.put(msgspec.structs.replace(entry, terms=wrong))
        done = await world.finish(entry)
        assert (done.step, done.reason) == (Step.UNDONE, "OpenRouter refused the management call (status 403)")
        assert list(live_keys(upstream, "given-up")) == [setting.key_id]
        assert world.keys.openrouter_keys[setting.key_id].serves


async def test_a_secret_that_does_not_open_is_given_up(redis_server: RedisServer, upstream: SimulatorThread) -> None:
    """The encryption keys were changed in the middle: the new key is worthless, the old one serves on."""
    async with gateway(redis_server.url, upstream.base_url) as world:
        setting = await settle(world, upstream, "sealed")
        entry = await until(world, await world.renewal.renew("main", by="test", pace=QUICK), Step.VERIFY)
        world.renewal._steps._ring = KeyRing({1: b"2" * 32})
        done = await world.finish(entry)
        assert done.step is Step.UNDONE
        assert "does not open" in done.reason
        assert list(live_keys(upstream, "sealed")) == [setting.key_id]


async def test_an_answer_that_was_lost_leaves_no_second_key(
    redis_server: RedisServer, upstream: SimulatorThread
) -> None:
    """A creation that is carried out late, after another one, is found by its name and deleted."""
    async with gateway(redis_server.url, upstream.base_url) as world:
        await settle(world, upstream, "late")
        entry = await until(world, await world.renewal.renew("main", by="test", pace=QUICK), Step.DISABLE)
        assert entry.terms is not None
        secret = world.renewal._steps.admin_secret(entry.admin)
        late = await world.api.create(secret, entry.terms, entry.name, None)
        done = await world.finish(entry)
        assert list(live_keys(upstream, "late")) == [done.successor]
        assert late.listed.id != done.successor


async def test_a_key_deleted_here_meanwhile_is_no_hindrance(
    redis_server: RedisServer, upstream: SimulatorThread
) -> None:
    """A person was faster: the rest is done at OpenRouter."""
    async with gateway(redis_server.url, upstream.base_url) as world:
        setting = await settle(world, upstream, "gone")
        entry = await until(world, await world.renewal.renew("main", by="test", pace=QUICK), Step.DRAIN)
        await world.keys.delete_openrouter_key(setting.key_id, by="test")
        done = await world.finish(entry)
        assert done.step is Step.DONE
        assert list(live_keys(upstream, "gone")) == [done.successor]


async def test_a_successor_taken_out_by_hand_stops_it(redis_server: RedisServer, upstream: SimulatorThread) -> None:
    """Before the old key is lost: it comes back."""
    async with gateway(redis_server.url, upstream.base_url) as world:
        setting = await settle(world, upstream, "taken-out")
        entry = await until(world, await world.renewal.renew("main", by="test", pace=QUICK), Step.DISABLE)
        await world.keys.delete_openrouter_key(entry.successor, by="test")
        done = await world.finish(entry)
        assert (done.step, done.reason) == (Step.UNDONE, "the new key does not serve in the pool")
        assert list(live_keys(upstream, "taken-out")) == [setting.key_id]
        assert world.keys.openrouter_keys[setting.key_id].serves
