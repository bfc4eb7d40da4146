"""Renewals before a simulated OpenRouter: terms kept, crashes at every effect, rivals, leaks, rollback, schedule."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from app.core.redis import RedisUnavailable
from app.core.security import Secret, openrouter_key_id
from app.models.keys import KeyState
from app.models.renewal import Entry, Kind, Step, Terms
from app.services import renewal
from app.services.drift import Action, Drift
from app.services.key_names import NoSuchKey
from app.services.renewal import RenewalRefused
from tests.fork_server import forks
from tests.redis_server import RedisServer
from tests.simulator_thread import SimulatorThread, running_simulator
from tests.test_services.renewal_world import (
    QUICK,
    Crash,
    Fuse,
    Gateway,
    Setting,
    gateway,
    live_keys,
    settle,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def upstream() -> Iterator[SimulatorThread]:
    """A simulated OpenRouter for this file; each test has an account of its own."""
    with running_simulator() as running:
        yield running


async def check_one_live(world: Gateway, upstream: SimulatorThread, setting: Setting) -> str:
    """Exactly one key lives, here and there the same one, with its plaintext at hand and nowhere in the clear."""
    live = live_keys(upstream, setting.account)
    assert len(live) == 1, live
    (key_id,) = live
    await world.keys._view.resync()
    records = {k: r for k, r in world.keys.openrouter_keys.items() if k != openrouter_key_id(setting.admin)}
    assert [k for k, record in records.items() if record.serves] == [key_id]
    secret = world.keys.secret_of(key_id).reveal()
    assert openrouter_key_id(secret) == key_id
    assert (float(live[key_id]["limit"]), live[key_id]["limit_reset"]) == (5, "daily")
    rails = await world.api.guardrails(Secret(setting.admin))
    assert rails.get(key_id) == setting.guardrail
    undeleted = [
        key for key in upstream.control("keys")
        if key["account"] == setting.account and not key["management"] and not key["deleted"]
    ]  # fmt: skip
    assert len(undeleted) == 1, "a key was made twice, or is left over"
    assert list(records) == [key_id]
    stored = await world.redis.command("HGETALL", world.redis.keys.journal)
    stored_keys = await world.redis.command("HGETALL", world.redis.keys.openrouter_keys)
    assert secret.encode() not in repr((stored, stored_keys)).encode()
    return key_id


async def test_a_key_is_renewed(redis_server: RedisServer, upstream: SimulatorThread) -> None:
    """The successor has its predecessor's name, limit, guardrail, label; the old key ends deleted on both sides."""
    async with gateway(redis_server.url, upstream.base_url) as world:
        setting = await settle(world, upstream, "whole")
        steps = await world.renewal.plan("main")
        assert [step.step for step in steps][:2] == [Step.CREATE, Step.GUARD]
        assert len(live_keys(upstream, "whole")) == 1, "a plan changes nothing"
        entry = await world.renewal.renew("main", by="test", pace=QUICK)
        done = await world.finish(entry)
        assert done.step is Step.DONE
        assert not done.sealed
        key_id = await check_one_live(world, upstream, setting)
        assert key_id == done.successor != setting.key_id
        assert live_keys(upstream, "whole")[key_id]["name"] == done.name
        assert done.name.startswith("main #")
        assert await world.renewal.heir(setting.key_id) == key_id
        again = await world.finish(await world.renewal.renew(key_id, by="test", pace=QUICK))
        assert again.name.startswith("main #"), "marks do not add up"
        assert await world.renewal.heir(setting.key_id) == again.successor
        assert await world.renewal.schedule() is None


async def crashed(world: Gateway, entry: Entry) -> bool:
    """Whether the fuse blew on the way."""
    try:
        await world.finish(entry)
    except Crash:
        return True
    return False


@pytest.mark.parametrize("part", range(4))
async def test_a_crash_after_any_effect_is_survived(
    redis_server: RedisServer, upstream: SimulatorThread, part: int
) -> None:
    """Whatever was done last, the next process ends with one live key, no plaintext lost, nothing doubled."""
    at, tested = 1 + part, 0
    while True:
        redis_server.call("FLUSHALL")
        fuse = Fuse(at)
        async with gateway(redis_server.url, upstream.base_url) as world:
            setting = await settle(world, upstream, f"crash-{at}")
            entry = await world.renewal.renew("main", by="test", pace=QUICK)
            world.redis.fuse = world.client.fuse = fuse
            blew = await crashed(world, entry)
        if not blew:
            break
        tested += 1
        async with gateway(redis_server.url, upstream.base_url, ahead_s=500) as world:
            done = await world.finish(entry)
            assert done.step is Step.DONE, (fuse.seen, done)
            assert await check_one_live(world, upstream, setting) == done.successor, fuse.seen
        at += 4
    assert tested > 10


@pytest.mark.parametrize("part", range(4))
async def test_a_crash_while_it_is_taken_back_is_survived(
    redis_server: RedisServer, upstream: SimulatorThread, part: int
) -> None:
    """The way back is as safe as the way forth: the old key lives, and the new one is gone."""
    at = 1 + part
    while True:
        redis_server.call("FLUSHALL")
        async with gateway(redis_server.url, upstream.base_url) as world:
            setting = await settle(world, upstream, f"back-{at}")
            entry = await world.renewal.renew("main", by="test", pace=QUICK)
            await reach(world, entry, Step.QUARANTINE)
            undone = await world.renewal.undo(setting.key_id, by="test")
            assert undone.step is Step.UNDO
            world.redis.fuse = world.client.fuse = Fuse(at)
            blew = await crashed(world, entry)
        if not blew:
            break
        async with gateway(redis_server.url, upstream.base_url, ahead_s=500) as world:
            assert (await world.finish(entry)).step is Step.UNDONE
            assert await check_one_live(world, upstream, setting) == setting.key_id
        at += 4


async def reach(world: Gateway, entry: Entry, step: Step) -> Entry:
    """Goes on until the step is the next one."""
    for _ in range(60):
        now = await world.renewal.journal.entries.read(entry.id)
        assert now is not None
        if now.step is step:
            return now
        world.clock.ahead_s += max(3.0, now.due_s - world.clock.wall_s())
        await world.renewal._one_step(now)
    raise AssertionError(f"{step} is not reached")


async def in_a_process(*words: str) -> subprocess.CompletedProcess[bytes]:
    run = partial(
        forks.run, "tests.test_services.renewal_world", words, cwd=ROOT, env=os.environ, stdin=b"", timeout=60
    )
    return await asyncio.to_thread(run)


KILLED_AT = ["POST /keys", "POST /guardrails", "change", "PATCH", "DELETE"]


@pytest.mark.parametrize("effect", KILLED_AT)
async def test_kill_9_is_survived(redis_server: RedisServer, upstream: SimulatorThread, effect: str) -> None:
    """A real process is killed right after its first effect of a kind; another one goes on."""
    async with gateway(redis_server.url, upstream.base_url) as world:
        rehearsal = await settle(world, upstream, f"rehearsal-{effect}")
        entry = await world.renewal.renew(rehearsal.key_id, by="test", pace=QUICK)
        world.redis.fuse = world.client.fuse = fuse = Fuse()
        await world.finish(entry)
        # The program reads the journal first.
        at = 2 + next(place for place, seen in enumerate(fuse.seen) if seen.startswith(effect))
    redis_server.call("FLUSHALL")
    async with gateway(redis_server.url, upstream.base_url) as world:
        setting = await settle(world, upstream, f"killed-{effect}")
        entry = await world.renewal.renew("main", by="test", pace=QUICK)
    first = await in_a_process(redis_server.url, upstream.base_url, str(at), "0")
    assert first.returncode == -signal.SIGKILL, first.stderr.decode()
    second = await in_a_process(redis_server.url, upstream.base_url, "0", "500")
    assert second.returncode == 0, second.stderr.decode()
    async with gateway(redis_server.url, upstream.base_url) as world:
        done = (await world.renewal.entries())[entry.id]
        assert done.step is Step.DONE
        assert await check_one_live(world, upstream, setting) == done.successor


async def test_two_that_act_at_once_make_one_key(redis_server: RedisServer, upstream: SimulatorThread) -> None:
    """The claim keeps the second one out; where it has ended meanwhile, the late one takes back what it made."""
    async with (
        gateway(redis_server.url, upstream.base_url) as late,
        gateway(redis_server.url, upstream.base_url) as quick,
    ):
        setting = await settle(late, upstream, "rivals")
        await quick.keys._view.resync()
        entry = await late.renewal.renew("main", by="test", pace=QUICK)
        create = late.api.create

        async def slow(*arguments: Any) -> Any:
            made = await create(*arguments)
            assert await quick.renewal.advance(entry.id) is not None
            assert len(live_keys(upstream, "rivals")) == 2, "the claim holds"
            quick.clock.ahead_s += 500
            await reach(quick, entry, Step.SHIFT)
            return made

        late.api.create = slow  # type: ignore[method-assign]
        await late.renewal.advance(entry.id)
        await quick.finish(entry)
        await check_one_live(quick, upstream, setting)


@pytest.mark.parametrize("lost", [2, 99])
async def test_redis_away_right_after_creation(
    redis_server: RedisServer, upstream: SimulatorThread, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    """A short outage is waited out with the secret at hand; after a long one the new key is deleted again."""
    monkeypatch.setattr(renewal, "_KEEP_PAUSE_S", 0.0)
    async with gateway(redis_server.url, upstream.base_url) as world:
        setting = await settle(world, upstream, f"away-{lost}")
        entry = await world.renewal.renew("main", by="test", pace=QUICK)
        entries, left = world.renewal.journal.entries, lost
        put = entries.put

        async def flaky(record: Entry, *more: Any) -> Entry:
            nonlocal left
            if record.sealed and left:
                left -= 1
                raise RedisUnavailable("timeout")
            return await put(record, *more)

        monkeypatch.setattr(entries, "put", flaky)
        if lost == 99:
            with pytest.raises(RedisUnavailable):
                await world.renewal.advance(entry.id)
            assert list(live_keys(upstream, setting.account)) == [setting.key_id]
            left = 0
        world.clock.ahead_s += 500
        assert (await world.finish(entry)).step is Step.DONE
        await check_one_live(world, upstream, setting)


async def test_a_lost_answer_is_no_failure(
    redis_server: RedisServer, upstream: SimulatorThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was stored although Redis seemed away is found to be stored."""
    monkeypatch.setattr(renewal, "_KEEP_PAUSE_S", 0.0)
    async with gateway(redis_server.url, upstream.base_url) as world:
        setting = await settle(world, upstream, "lost-answer")
        entry = await world.renewal.renew("main", by="test", pace=QUICK)
        entries, lost = world.renewal.journal.entries, False
        put = entries.put

        async def deaf(record: Entry, *more: Any) -> Entry:
            nonlocal lost
            stored = await put(record, *more)
            if record.sealed and not lost:
                lost = True
                raise RedisUnavailable("timeout")
            return stored

        monkeypatch.setattr(entries, "put", deaf)
        assert (await world.finish(entry)).step is Step.DONE
        assert lost
        await check_one_live(world, upstream, setting)


@pytest.mark.parametrize("step", [Step.VERIFY, Step.SHIFT, Step.DRAIN, Step.DISABLE])
async def test_a_bad_canary_takes_all_back(redis_server: RedisServer, upstream: SimulatorThread, step: Step) -> None:
    """A successor that stops answering at any time before the quarantine is deleted, and the old key serves on."""
    async with gateway(redis_server.url, upstream.base_url) as world:
        setting = await settle(world, upstream, f"canary-{step.value}")
        entry = await reach(world, await world.renewal.renew("main", by="test", pace=QUICK), step)
        upstream.control("keys", {"key": entry.successor, "disabled": True})
        done = await world.finish(entry)
        assert done.step is Step.UNDONE
        assert "does not answer" in done.reason
        assert await check_one_live(world, upstream, setting) == setting.key_id


async def test_a_key_unlike_what_was_asked_for_is_taken_back(
    redis_server: RedisServer, upstream: SimulatorThread
) -> None:
    """At once: asking again would not help."""
    async with gateway(redis_server.url, upstream.base_url) as world:
        setting = await settle(world, upstream, "unlike")
        entry = await reach(world, await world.renewal.renew("main", by="test", pace=QUICK), Step.VERIFY)
        upstream.control("keys", {"key": entry.successor, "limit": None})
        done = await world.finish(entry)
        assert (done.step, done.reason) == (Step.UNDONE, "the new key is not as wished: its limit differs")
        assert await check_one_live(world, upstream, setting) == setting.key_id


async def test_the_last_key_is_never_deleted(redis_server: RedisServer, upstream: SimulatorThread) -> None:
    """A successor that dies in quarantine keeps the old key from deletion."""
    async with gateway(redis_server.url, upstream.base_url) as world:
        setting = await settle(world, upstream, "last")
        entry = await reach(world, await world.renewal.renew("main", by="test", pace=QUICK), Step.DELETE)
        upstream.control("keys", {"key": entry.successor, "disabled": True})
        held = await world.renewal.advance(entry.id)
        assert held is not None
        assert held.step is Step.DELETE
        assert "stays in quarantine" in held.problem
        kept = await world.api.key(Secret(setting.admin), setting.key_id)
        assert kept is not None


async def test_upstream_away_is_waited_for(redis_server: RedisServer, upstream: SimulatorThread) -> None:
    """Neither 429 nor 500 nor a refused management key takes anything back."""
    async with gateway(redis_server.url, upstream.base_url) as world:
        setting = await settle(world, upstream, "away")
        entry = await world.renewal.renew("main", by="test", pace=QUICK)
        for status in (429, 500, 401):
            upstream.script(setting.admin, {"status": status, "times": 0, "path": "/keys"})
            for _ in range(7):
                held = await world.renewal.advance(entry.id)
                assert held is not None
                assert (held.step, held.failures) == (Step.CREATE, 0)
                assert str(status) in held.problem
                world.clock.ahead_s += 40
            upstream.forget_scripts()
        assert (await world.finish(entry)).step is Step.DONE
        await check_one_live(world, upstream, setting)


async def test_a_key_is_drained_before_it_is_disabled(redis_server: RedisServer, upstream: SimulatorThread) -> None:
    """As long as another worker runs a call on it, it stays alive at OpenRouter."""
    from app.services.drain_watch import DrainWatch

    async with gateway(redis_server.url, upstream.base_url) as world:
        setting = await settle(world, upstream, "drained")
        running = {setting.key_id: 2}
        worker = DrainWatch(world.redis, world.clock, off=lambda: [setting.key_id], in_flight=lambda: running)
        entry = await reach(world, await world.renewal.renew("main", by="test", pace=QUICK), Step.DRAIN)
        for _ in range(6):
            held = await world.renewal.advance(entry.id)
            assert held is not None
            assert held.step is Step.DRAIN
            world.clock.ahead_s += 3
            await worker.report()
        assert setting.key_id in live_keys(upstream, "drained")
        assert world.keys.openrouter_keys[setting.key_id].state is KeyState.DISABLED
        running.clear()
        await worker.report()
        await worker.close()
        assert (await world.finish(entry)).step is Step.DONE


async def test_a_leak_is_closed_at_once(redis_server: RedisServer, upstream: SimulatorThread) -> None:
    """OpenRouter first, then here; where OpenRouter does not answer, here all the same, and there again and again."""
    async with gateway(redis_server.url, upstream.base_url) as world:
        setting = await settle(world, upstream, "leak")
        other = upstream.control("keys", {"account": "leak", "name": "other"})["key"]
        await world.keys.add_openrouter_key(other, label="other", by="test")
        world.redis.fuse = world.client.fuse = fuse = Fuse()
        done = await world.renewal.revoke("main", by="test")
        assert (done.kind, done.step) == (Kind.REVOKE, Step.DONE)
        assert fuse.seen.index(f"PATCH /keys/{setting.key_id}") < fuse.seen.index("change")
        assert world.keys.openrouter_keys[setting.key_id].state is KeyState.REVOKED
        assert setting.key_id not in live_keys(upstream, "leak")
        upstream.script(setting.admin, {"status": 500, "times": 1, "path": "/keys"})
        half = await world.renewal.revoke("other", by="test")
        assert half.step is Step.REVOKE
        assert half.problem
        assert world.keys.find_openrouter("other").state is KeyState.REVOKED
        assert openrouter_key_id(other) in live_keys(upstream, "leak")
        assert (await world.finish(half)).step is Step.DONE
        assert not live_keys(upstream, "leak")


async def test_a_revoked_key_gets_a_successor(redis_server: RedisServer, upstream: SimulatorThread) -> None:
    """After a leak a renewal replaces the key, and never brings the old one back."""
    async with gateway(redis_server.url, upstream.base_url) as world:
        setting = await settle(world, upstream, "replaced")
        await world.renewal.revoke("main", by="test")
        done = await world.finish(await world.renewal.renew("main", by="test", pace=QUICK))
        assert done.step is Step.DONE
        assert await check_one_live(world, upstream, setting) == done.successor


async def test_keys_are_made_and_retired(redis_server: RedisServer, upstream: SimulatorThread) -> None:
    """A new key from terms alone, in the pool and managed; and out again, without a successor."""
    async with gateway(redis_server.url, upstream.base_url) as world:
        setting = await settle(world, upstream, "made")
        terms = Terms(name="fresh", limit_nano=2 * 10**9, limit_reset="weekly", lifetime_s=864_000)
        made = await world.finish(await world.renewal.create(terms, admin=openrouter_key_id(setting.admin), by="test"))
        assert made.step is Step.DONE
        listed = await world.api.key(Secret(setting.admin), made.successor)
        assert listed is not None
        assert (listed.limit_nano, listed.limit_reset) == (2 * 10**9, "weekly")
        assert listed.expires_at is not None
        assert world.keys.find_openrouter("fresh").serves
        assert made.successor in await world.renewal.journal.managed.all()
        gone = await world.finish(await world.renewal.retire("fresh", by="test", pace=QUICK))
        assert gone.step is Step.DONE
        assert made.successor not in world.keys.openrouter_keys
        assert made.successor not in await world.renewal.journal.managed.all()
        assert list(live_keys(upstream, "made")) == [setting.key_id]


async def test_the_schedule_renews_what_is_due(redis_server: RedisServer, upstream: SimulatorThread) -> None:
    """Only adopted keys, one at a time, when they are old or near their end."""
    async with gateway(redis_server.url, upstream.base_url, rotate_every_days=30) as world:
        setting = await settle(world, upstream, "due")
        world.clock.ahead_s = 31 * 86_400
        assert await world.renewal.schedule() is None, "it was never adopted"
        managed = await world.renewal.adopt("main", by="test")
        assert managed.terms.guardrail == setting.guardrail
        entry = await world.renewal.schedule()
        assert entry is not None
        assert (entry.key, entry.by) == (setting.key_id, "schedule")
        assert await world.renewal.schedule() is None, "one is on its way"
        assert (await world.finish(entry)).step is Step.DONE
        assert await world.renewal.schedule() is None, "the new one is young"


async def test_what_cannot_be_begun_is_refused(redis_server: RedisServer, upstream: SimulatorThread) -> None:
    """With a sentence: a management key, an unknown key, a second deed, a foreign account, no management key."""
    async with gateway(redis_server.url, upstream.base_url) as world:
        setting = await settle(world, upstream, "refused")
        admin_id = openrouter_key_id(setting.admin)
        with pytest.raises(RenewalRefused, match="by hand"):
            await world.renewal.renew(admin_id, by="test")
        with pytest.raises(NoSuchKey):
            await world.renewal.plan("nobody")
        with pytest.raises(RenewalRefused, match="nothing is under way"):
            await world.renewal.undo("main", by="test")
        with pytest.raises(RenewalRefused, match="not an enabled management key"):
            await world.renewal.create(Terms(name="x"), admin="main", by="test")
        (foreign,) = upstream.new_keys(1, account="stranger")
        await world.keys.add_openrouter_key(foreign, label="foreign", by="test")
        with pytest.raises(RenewalRefused, match="add one of its account"):
            await world.renewal.renew("foreign", by="test")
        await world.renewal.renew("main", by="test", pace=QUICK)
        with pytest.raises(RenewalRefused, match="under way"):
            await world.renewal.retire("main", by="test")
        await world.keys.set_openrouter_state(admin_id, KeyState.DISABLED, by="test")
        with pytest.raises(RenewalRefused, match="no enabled management key"):
            await world.renewal.renew("foreign", by="test")


async def test_drift_is_found_and_settled(redis_server: RedisServer, upstream: SimulatorThread) -> None:
    """Each difference with one action, which makes it go away."""
    async with gateway(redis_server.url, upstream.base_url) as world:
        setting = await settle(world, upstream, "drift")
        assert [finding.action for finding in await world.renewal.drift()] == [Action.ADOPT]
        await settle_all(world)
        assert await world.renewal.drift() == ()
        upstream.control("keys", {"key": setting.key, "limit": 77})
        (finding,) = await world.renewal.drift()
        assert (finding.drift, finding.what) == (Drift.LIMIT, "Its limit is 77 USD daily, not 5 USD daily.")
        await settle_all(world)
        assert float(live_keys(upstream, "drift")[setting.key_id]["limit"]) == 5
        capped = await world.renewal.cap("main", 3 * 10**9, "", by="test")
        assert (capped.terms.limit_nano, capped.terms.limit_reset) == (3 * 10**9, "")
        assert await world.renewal.drift() == ()
        upstream.control("keys", {"account": "drift", "name": "somebody's"})
        (finding,) = await world.renewal.drift()
        assert (finding.drift, finding.action) == (Drift.UNKNOWN, Action.ADD)
        with pytest.raises(RenewalRefused, match="keys add"):
            await world.renewal.settle(finding, by="test")
        upstream.control("keys", {"key": "somebody's", "deleted": True})
        upstream.control("keys", {"key": setting.key, "disabled": True})
        (finding,) = await world.renewal.drift()
        assert finding.action is Action.DISABLE_HERE
        await settle_all(world)
        upstream.control("keys", {"key": setting.key, "disabled": False})
        await world.keys.set_openrouter_state("main", KeyState.REVOKED, by="test")
        (finding,) = await world.renewal.drift()
        assert finding.action is Action.DISABLE_THERE
        await settle_all(world)
        assert not live_keys(upstream, "drift")
        upstream.control("keys", {"key": setting.key, "deleted": True})
        (finding,) = await world.renewal.drift()
        assert finding.action is Action.REMOVE_HERE
        await settle_all(world)
        assert setting.key_id not in world.keys.openrouter_keys
        assert await world.renewal.drift() == ()


async def settle_all(world: Gateway) -> None:
    for finding in await world.renewal.drift():
        await world.renewal.settle(finding, by="test")


async def test_the_leader_goes_on_by_itself(
    redis_server: RedisServer, upstream: SimulatorThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the background; a worker that does not lead does nothing."""
    monkeypatch.setattr(renewal, "_LOOK_EVERY_S", 0.01)
    leads = False
    async with gateway(redis_server.url, upstream.base_url) as world:
        setting = await settle(world, upstream, "leader")
        entry = await world.renewal.renew("main", by="test", pace=QUICK)
        world.renewal.start(lambda: leads)
        await asyncio.sleep(0.1)
        assert (await world.renewal.entries())[entry.id].step is Step.CREATE
        leads = True
        while (now := (await world.renewal.entries())[entry.id]).is_open:
            world.clock.ahead_s += max(1.0, now.due_s - world.clock.wall_s())
            await asyncio.sleep(0.02)
        await world.renewal.close()
        await check_one_live(world, upstream, setting)
        world.clock.ahead_s += 100 * 86_400
        await world.renewal.tick()
        assert await world.renewal.entries() == {}, "the journal forgets in the end"
