"""OpenRouter keys: taken in, asked about, sealed, tampered with."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator

import msgspec
import pytest

from app.core.clock import SystemClock
from app.core.redis import RedisManager, RedisUnavailable
from app.core.security import KeyRing, SealBroken, mask_openrouter_key, openrouter_key_id
from app.models.key_facts import KeyFacts
from app.models.keys import KeyKind, KeyState
from app.services.key_manager import KeyManager
from app.services.key_names import KeyRefused, NoSuchKey, Outdated
from app.services.upstream_api import KeyProbe
from tests.key_endpoint import UNKNOWN, KeyEndpoint, facts, running_key_endpoint
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager
from tests.test_services.key_workers import CLIENTS, RING, TurnedClock, openrouter_key, until, worker
from tests.test_services.test_key_store import entries

KEY, OTHER, THIRD = map(openrouter_key, range(1, 4))


@pytest.fixture
def endpoint() -> Iterator[KeyEndpoint]:
    with running_key_endpoint() as running:
        yield running


@pytest.fixture
async def probe(endpoint: KeyEndpoint) -> AsyncIterator[KeyProbe]:
    asker = KeyProbe(endpoint.settings())
    yield asker
    await asker.close()


async def test_a_key_is_asked_about_and_sealed(redis_server: RedisServer, probe: KeyProbe) -> None:
    """Its id is OpenRouter's own, and it comes back in plain for calls only."""
    async with worker(redis_server, probe) as keys:
        added = await keys.add_openrouter_key(KEY, label="first", by="t")
        assert not added.known
        record = added.record
        assert (record.id, record.masked) == (openrouter_key_id(KEY), mask_openrouter_key(KEY))
        assert (record.kind, record.state, record.serves) == (KeyKind.INFERENCE, KeyState.ENABLED, True)
        assert KEY[12:] not in repr(record)
        assert keys.secret_of(record.id).reveal() == KEY
        assert RING.unseal(record.sealed, context=f"openrouter-key/{record.id}").reveal() == KEY
        assert keys.find_openrouter("first") == record


async def test_a_known_key_is_left_as_it_is(redis_server: RedisServer, probe: KeyProbe, endpoint: KeyEndpoint) -> None:
    """Also when another worker took it in and this one has not heard of it."""
    async with worker(redis_server, probe, follow=False) as one, worker(redis_server, probe, follow=False) as other:
        first = await one.add_openrouter_key(KEY, label="first", by="t")
        asked = len(endpoint.heads)
        assert await one.add_openrouter_key(KEY, label="again", by="t") == type(first)(first.record, known=True)
        assert len(endpoint.heads) == asked
        assert await other.add_openrouter_key(KEY, label="again", by="t") == type(first)(first.record, known=True)
    async with manager(redis_server) as redis:
        assert [entry["deed"] for entry in await entries(redis)] == ["add"]


@pytest.mark.parametrize("text", ["", "hunter2", "sk-ant-api03-abcdefghijkl", f"{KEY}\n", f"Bearer {KEY}", KEY + "é"])
async def test_what_is_no_key_is_refused(
    redis_server: RedisServer, probe: KeyProbe, endpoint: KeyEndpoint, text: str
) -> None:
    """Unasked and unshown."""
    async with worker(redis_server, probe) as keys:
        with pytest.raises(KeyRefused) as caught:
            await keys.add_openrouter_key(text, by="t")
        assert not text or text not in str(caught.value)
    assert not endpoint.heads


async def test_an_unknown_key_is_refused(redis_server: RedisServer, probe: KeyProbe, endpoint: KeyEndpoint) -> None:
    """OpenRouter says 401: nothing is stored."""
    endpoint.default = UNKNOWN
    async with worker(redis_server, probe) as keys, manager(redis_server) as redis:
        with pytest.raises(KeyRefused, match="does not know"):
            await keys.add_openrouter_key(KEY, by="t")
        assert not keys.openrouter_keys
        assert not await entries(redis)


@pytest.mark.parametrize("field", ["is_management_key", "is_provisioning_key"])
async def test_a_management_key_never_serves(
    redis_server: RedisServer, probe: KeyProbe, endpoint: KeyEndpoint, field: str
) -> None:
    """It is kept and marked."""
    endpoint.default = facts(**{field: True})
    async with worker(redis_server, probe) as keys:
        record = (await keys.add_openrouter_key(KEY, by="t")).record
        assert (record.kind, record.serves) == (KeyKind.MANAGEMENT, False)
        assert not (await keys.set_openrouter_state(record.id, KeyState.ENABLED, by="t")).serves


async def test_a_revoked_key_stays_revoked(redis_server: RedisServer, probe: KeyProbe) -> None:
    """It is known to strangers, and off at OpenRouter too: no hand here brings it back."""
    async with worker(redis_server, probe) as keys:
        record = (await keys.add_openrouter_key(KEY, label="x", by="t")).record
        await keys.set_openrouter_state("x", KeyState.REVOKED, by="t")
        for state in (KeyState.ENABLED, KeyState.DISABLED):
            with pytest.raises(KeyRefused, match="leaked, and stays so"):
                await keys.set_openrouter_state("x", state, by="t")
        assert (await keys.set_openrouter_state("x", KeyState.REVOKED, by="t")).state is KeyState.REVOKED
        await keys.delete_openrouter_key(record.id, by="t")


async def test_what_nobody_could_say_is_found_out_later(
    redis_server: RedisServer, probe: KeyProbe, endpoint: KeyEndpoint, caplog: pytest.LogCaptureFixture
) -> None:
    """A key serves unverified meanwhile; disabled ones are not asked about; a 401 is told and does not switch off."""
    endpoint.default = (503, b"")
    endpoint.replies = {THIRD: (503, b"")}
    async with worker(redis_server, probe) as keys:
        for number, key in enumerate((KEY, OTHER, THIRD), 1):
            record = (await keys.add_openrouter_key(key, label=f"key {number}", by="t")).record
            assert (record.kind, record.serves) == (KeyKind.UNVERIFIED, True)
        await keys.set_openrouter_state("key 2", KeyState.DISABLED, by="t")
        endpoint.default, endpoint.replies = facts(is_management_key=True), {THIRD: UNKNOWN}
        with caplog.at_level(logging.WARNING):
            await keys.verify_unverified()
        assert [keys.find_openrouter(f"key {number}").kind for number in (1, 2, 3)] == [
            KeyKind.MANAGEMENT, KeyKind.UNVERIFIED, KeyKind.UNVERIFIED,
        ]  # fmt: skip
        assert [record.getMessage() for record in caplog.records] == ["openrouter key unknown"]
        assert KEY[12:] not in caplog.text


async def test_an_unreachable_openrouter_is_not_asked_for_every_key(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After no answer at all it is left in peace for a while, and then asked again."""
    with running_key_endpoint() as gone:
        settings = gone.settings()
    clock = TurnedClock()
    asker = KeyProbe(settings)
    asked: list[int] = []
    describe = asker.describe

    async def counted(secret: object) -> object:
        asked.append(1)
        return await describe(secret)  # type: ignore[arg-type]

    monkeypatch.setattr(asker, "describe", counted)
    try:
        async with worker(redis_server, asker, follow=False, clock=clock) as keys:
            for number in range(20):
                added = await keys.add_openrouter_key(openrouter_key(number), by="t")
                assert added.record.serves
            assert len(asked) == 1
            clock.ahead_s = 31.0
            await keys.verify_unverified()
            assert len(asked) == 2
    finally:
        await asker.close()


async def test_a_started_worker_verifies_by_itself(
    redis_server: RedisServer, probe: KeyProbe, endpoint: KeyEndpoint
) -> None:
    """Keys that came in while OpenRouter was away are asked about at the next start."""
    async with worker(redis_server) as unable:
        await unable.add_openrouter_key(KEY, by="t")
    async with worker(redis_server, probe) as keys:
        await until(lambda: keys.openrouter_keys[openrouter_key_id(KEY)].kind is KeyKind.INFERENCE)
    assert len(endpoint.heads) == 1


async def _tampered(redis: RedisManager, key_id: str, sealed: str) -> None:
    name = redis.keys.openrouter_keys
    stored = await redis.command("HGET", name, key_id)
    fields = msgspec.json.decode(bytes(stored).partition(b"\n")[2])
    await redis.command("HSET", name, key_id, b"9\n" + msgspec.json.encode(fields | {"sealed": sealed}))


async def test_tampered_seals_are_noticed_and_leave_the_others_alone(redis_server: RedisServer) -> None:
    """Swapped, damaged, or sealed with another ring: these keys are broken, the third one works."""
    ids = [openrouter_key_id(key) for key in (KEY, OTHER, THIRD)]
    async with worker(redis_server) as keys, manager(redis_server) as redis:
        for key in (KEY, OTHER, THIRD):
            await keys.add_openrouter_key(key, by="t")
        seals = [keys.openrouter_keys[key_id].sealed for key_id in ids]
        await _tampered(redis, ids[0], seals[1])
        await _tampered(redis, ids[1], seals[0])
    async with worker(redis_server) as keys:
        for key_id in ids[:2]:
            with pytest.raises(SealBroken):
                keys.secret_of(key_id)
        assert keys.secret_of(ids[2]).reveal() == THIRD
        await keys.verify_unverified()
        await keys.delete_openrouter_key(ids[0], by="t")
    async with worker(redis_server, ring=KeyRing({1: b"2" * 32})) as stranger:
        with pytest.raises(SealBroken):
            stranger.secret_of(ids[2])


async def test_another_keys_plain_text_is_not_taken(redis_server: RedisServer) -> None:
    """Who knows the ring but seals another key into the record is noticed by the id."""
    async with worker(redis_server) as keys, manager(redis_server) as redis:
        record = (await keys.add_openrouter_key(KEY, by="t")).record
        forged = KeyRing({1: b"1" * 32}).seal(OTHER, context=f"openrouter-key/{record.id}")
        await _tampered(redis, record.id, forged)
        async with worker(redis_server) as later:
            with pytest.raises(SealBroken):
                later.secret_of(record.id)


async def test_no_update_is_lost(redis_server: RedisServer) -> None:
    """A worker with an old picture changes what is stored now, and not back what others did."""
    async with worker(redis_server, follow=False) as one:
        record = (await one.add_openrouter_key(KEY, label="x", by="t")).record
        async with worker(redis_server, follow=False) as late, manager(redis_server) as redis:
            await one.set_openrouter_state("x", KeyState.DISABLED, by="one")
            await one.set_openrouter_state("x", KeyState.ENABLED, by="one")
            stored = await late.set_openrouter_state("x", KeyState.DISABLED, by="late")
            assert stored.rev == record.rev + 3
            assert [entry["by"] for entry in await entries(redis)] == ["t", "one", "one", "late"]
            assert [(entry["before"], entry["after"]) for entry in await entries(redis)][-1] == ("enabled", "disabled")


async def test_many_workers_on_one_key(redis_server: RedisServer) -> None:
    """However they interleave, revision, version and audit count the same number of changes."""
    async with worker(redis_server) as one, worker(redis_server) as two, manager(redis_server) as redis:
        record = (await one.add_openrouter_key(KEY, by="t")).record
        await until(lambda: record.id in two.openrouter_keys)

        async def toggle(number: int) -> None:
            keys = (one, two)[number % 2]
            state = KeyState.DISABLED if number % 3 else KeyState.ENABLED
            await keys.set_openrouter_state(record.id, state, by="t")

        for number in range(0, 30, 2):
            await asyncio.gather(toggle(number), toggle(number + 1))
        found = await entries(redis)
        version = int(await redis.command("GET", redis.keys.version))
        await until(lambda: one.openrouter_keys[record.id] == two.openrouter_keys[record.id])
        assert one.openrouter_keys[record.id].rev == version == len(found)


async def test_a_deleted_key_is_gone_and_may_come_back(redis_server: RedisServer) -> None:
    """Nothing of it stays but the audit."""
    async with worker(redis_server) as keys:
        await keys.add_openrouter_key(KEY, label="x", by="t")
        await keys.delete_openrouter_key("x", by="t")
        with pytest.raises(NoSuchKey):
            keys.find_openrouter("x")
        assert not (await keys.add_openrouter_key(KEY, by="t")).known


async def test_attributes_are_set_and_heard_of(redis_server: RedisServer) -> None:
    """In every worker, with the audit telling what was before; what changes nothing is not stored."""
    async with worker(redis_server) as one, worker(redis_server) as other, manager(redis_server) as redis:
        added = await one.add_openrouter_key(openrouter_key(1), label="a", by="t", changes={"weight": 0})
        key_id = added.record.id
        assert added.record.weight == 0
        changes = {"tags": ["eu"], "weight": 5, "max_day_nano": 10**9, "models_allowed": ["openai/*"]}
        record = await one.update_openrouter_key("a", changes, by="ann")
        assert (record.tags, record.weight, record.max_day_nano) == (("eu",), 5, 10**9)
        await until(lambda: other.openrouter_keys.get(key_id) == record)
        assert await other.update_openrouter_key(key_id, changes, by="bob") == record
        with pytest.raises(KeyRefused):
            await other.update_openrouter_key(key_id, {"weight": -1}, by="bob")
        told = [(entry["by"], entry["deed"], entry["before"], entry["after"]) for entry in await entries(redis)]
        assert told[1:] == [
            (
                "ann",
                "update",
                '{"tags":[],"weight":0,"models_allowed":[],"max_day_nano":null}',
                '{"tags":["eu"],"weight":5,"models_allowed":["openai/*"],"max_day_nano":1000000000}',
            )
        ]


async def test_two_changes_of_one_key_are_both_kept(redis_server: RedisServer) -> None:
    """Each worker makes its own on what the other has stored."""
    async with worker(redis_server, follow=False) as one:
        key_id = (await one.add_openrouter_key(openrouter_key(1), by="t")).record.id
        async with worker(redis_server, follow=False) as other:
            await one.update_openrouter_key(key_id, {"weight": 7}, by="t")
            record = await other.update_openrouter_key(key_id, {"tier": 3}, by="t")
            assert (record.weight, record.tier) == (7, 3)


class Facts:
    """Notes what it is told, as long as there is a Redis."""

    def __init__(self) -> None:
        self.noted: list[KeyFacts] = []
        self.stored: Callable[[], bool] = lambda: True
        self.away = False

    async def note(self, facts: KeyFacts) -> None:
        assert self.stored(), "facts of a key that is not there are swept away"
        if self.away:
            raise RedisUnavailable("away")
        self.noted.append(facts)


async def test_what_is_learnt_of_a_new_key_is_kept(
    redis_server: RedisServer, probe: KeyProbe, endpoint: KeyEndpoint
) -> None:
    """Its account and limits, once the key is stored; of keys that could not be asked about, as soon as they can."""
    learnt = Facts()
    endpoint.default = facts(organization_id="org_1", limit_remaining=2.5)
    endpoint.replies = {OTHER: (503, b"")}
    async with manager(redis_server) as redis:
        keys = KeyManager(redis, RING, CLIENTS, SystemClock(), probe, None, learnt)
        await keys.start(follow=False)
        learnt.stored = lambda: openrouter_key_id(KEY) in keys.openrouter_keys
        for key in (KEY, OTHER):
            await keys.add_openrouter_key(key, by="t")
        assert [(one.id, one.account, one.limit_remaining_nano) for one in learnt.noted] == [
            (openrouter_key_id(KEY), "org_1", 2_500_000_000)
        ]
        await keys.add_openrouter_key(KEY, by="t")
        endpoint.replies = {}
        await keys.verify_unverified()
        assert [one.id for one in learnt.noted] == [openrouter_key_id(KEY), openrouter_key_id(OTHER)]
        learnt.away = True
        report = await keys.import_openrouter_keys(THIRD, by="t")
        assert report.counts() == {"added": 1}
        await keys.close()


async def test_a_key_is_replaced_by_another_secret(
    redis_server: RedisServer, probe: KeyProbe, endpoint: KeyEndpoint
) -> None:
    """What people have set goes over, the old one is forgotten, and the new one answers for what it has made."""
    async with worker(redis_server, probe) as keys, manager(redis_server) as redis:
        changes = {"tags": ["eu"], "weight": 7, "note": "in the safe", "max_rpm": 9, "account": "by-hand"}
        old = (await keys.add_openrouter_key(KEY, label="first", by="t", changes=changes)).record
        await keys.set_openrouter_state(old.id, KeyState.DISABLED, by="t")
        new = (await keys.replace_openrouter_key("first", OTHER, by="ana")).record
        assert keys.openrouter_keys == {new.id: new}
        assert (new.label, new.tags, new.weight, new.note, new.max_rpm) == ("first", ("eu",), 7, "in the safe", 9)
        assert (new.state, new.predecessors, new.account) == (KeyState.DISABLED, (old.id,), "")
        assert keys.secret_of(new.id).reveal() == OTHER
        told = [(entry["deed"], entry["id"], entry["before"], entry["after"]) for entry in await entries(redis)][2:]
        assert told == [("replace", new.id, old.masked, "disabled"), ("replaced", old.id, "disabled", new.masked)]


async def test_what_cannot_replace_a_key(redis_server: RedisServer, probe: KeyProbe, endpoint: KeyEndpoint) -> None:
    """Then the old one stays as it is."""
    endpoint.replies = {OTHER: UNKNOWN, THIRD: facts(is_management_key=True)}
    fourth = openrouter_key(4)
    async with worker(redis_server, probe) as keys:
        old = (await keys.add_openrouter_key(KEY, label="first", by="t")).record
        await keys.add_openrouter_key(fourth, label="fourth", by="t")
        for key, sentence in (
            ("hunter2", "does not look like"),
            (KEY, "in the pool already"),
            (fourth, "in the pool already"),
            (OTHER, "does not know"),
            (THIRD, "cannot replace each other"),
        ):
            with pytest.raises(KeyRefused, match=sentence):
                await keys.replace_openrouter_key("first", key, by="t")
        with pytest.raises(Outdated):
            await keys.replace_openrouter_key("first", openrouter_key(5), by="t", rev=old.rev + 1)
        assert keys.openrouter_keys[old.id] == old
        assert len(keys.openrouter_keys) == 2
