"""Records in a real Redis: revisions, damage, the audit, messages."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
from pathlib import Path

import msgspec
import pytest

from app.core.clock import SystemClock
from app.core.redis import RedisManager, RedisOptions, RedisUnavailable
from app.core.store_mark import SETTLED_S, Lost, StoreMark, StoreReset
from app.core.tasks import TaskSet
from app.models.keys import ClientKey, KeyState, OpenRouterKey
from app.models.limits import Group
from app.services.key_store import Changed, ConflictError, Deed, KeyStore, RecordKind
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager
from tests.test_services.key_workers import TurnedClock, until


def client(number: int) -> ClientKey:
    return ClientKey(id=f"ck_{number}", name=f"n{number}", digest=f"{number:064x}", masked="gw_live_…aaaa")


DEED = Deed(at=1.0, by="test", deed="create", kind=RecordKind.CLIENT, id="ck_1", name="n1", after=KeyState.ENABLED)


async def entries(redis: RedisManager) -> list[dict[str, object]]:
    """The audit, oldest first."""
    found = await redis.command("XRANGE", redis.keys.audit, "-", "+")
    return [json.loads(fields[1] if isinstance(fields, list) else fields[b"entry"]) for _, fields in found]


async def test_a_record_comes_back_with_its_revision(redis_server: RedisServer) -> None:
    """Each change raises the record's revision and the state's version."""
    async with manager(redis_server) as redis:
        store = KeyStore(redis)
        assert await store.version() == 0
        stored, version = await store.clients.put(client(1), DEED)
        assert (stored.rev, version) == (1, 1)
        stored, version = await store.clients.put(msgspec.structs.replace(stored, owner="me"), DEED)
        assert (stored.rev, version) == (2, 2)
        assert await store.clients.read("ck_1") == stored
        assert await store.clients.load({}) == {"ck_1": stored}
        assert (await store.clients.load({"ck_1": stored}))["ck_1"] is stored
        assert await store.clients.drop(stored, DEED) == 3
        assert await store.clients.read("ck_1") is None
        assert await store.version() == 3


async def test_groups_have_a_shelf_of_their_own(redis_server: RedisServer) -> None:
    """With the same revisions and the same version."""
    async with manager(redis_server) as redis:
        store = KeyStore(redis)
        stored, version = await store.groups.put(Group(id="grp_1", name="team", clamp=True), DEED)
        assert (stored.rev, version) == (1, 1)
        assert await store.groups.load({}) == {"grp_1": stored}
        assert await store.clients.load({}) == {}


async def test_a_change_may_depend_on_what_stands_beside_it(redis_server: RedisServer) -> None:
    """A group that must be there, a version that must not have moved; else nothing is written."""
    async with manager(redis_server) as redis:
        store = KeyStore(redis)
        with pytest.raises(ConflictError):
            await store.clients.put(client(1), DEED, group="grp_1")
        assert await store.version() == 0
        group, at_version = await store.groups.put(Group(id="grp_1", name="team"), DEED)
        await store.clients.put(client(1), DEED, group="grp_1")
        with pytest.raises(ConflictError):
            await store.groups.drop(group, DEED, at_version=at_version)
        assert await store.groups.drop(group, DEED, at_version=at_version + 1) == 3
        assert len(await entries(redis)) == 3


async def test_an_old_revision_is_refused(redis_server: RedisServer) -> None:
    """And then nothing is written, counted, noted or told."""
    async with manager(redis_server) as redis:
        store = KeyStore(redis)
        stored, _ = await store.clients.put(client(1), DEED)
        await store.clients.put(msgspec.structs.replace(stored, owner="first"), DEED)
        for late in (
            store.clients.put(msgspec.structs.replace(stored, owner="second"), DEED),
            store.clients.put(client(1), DEED),
            store.clients.drop(stored, DEED),
            store.clients.drop(msgspec.structs.replace(client(9), rev=1), DEED),
        ):
            with pytest.raises(ConflictError):
                await late
        assert (await store.clients.load({}))["ck_1"].owner == "first"
        assert await store.version() == 2
        assert len(await entries(redis)) == 2


async def test_the_audit_has_one_entry_a_change(redis_server: RedisServer) -> None:
    """With who, what, when, and the state before and after."""
    async with manager(redis_server) as redis:
        await KeyStore(redis).clients.put(client(1), DEED)
        assert await entries(redis) == [
            {"at": 1.0, "by": "test", "deed": "create", "kind": "client", "id": "ck_1", "name": "n1",
             "before": "", "after": "enabled"}
        ]  # fmt: skip


async def test_damaged_records_do_not_hide_the_others(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Garbage, a missing revision, another form, a record in another one's place, a name that is no text."""
    async with manager(redis_server) as redis:
        store = KeyStore(redis)
        good, _ = await store.clients.put(client(1), DEED)
        text = msgspec.json.encode(client(2)).decode()
        for record_id, damaged in (
            ("ck_2", "canary"), ("ck_3", text), ("ck_4", "1\n{}"), ("ck_5", "x\n" + text), ("ck_6", "1\n" + text),
            ("ck_7", ""), ("ck_8", "1\n" + text.replace("n2", "\udcff")), (b"\xff\xfe", "1\n" + text),
        ):  # fmt: skip
            await redis.command("HSET", redis.keys.client_keys, record_id, damaged.encode("utf-8", "surrogateescape"))
        with caplog.at_level(logging.ERROR):
            assert await store.clients.load({}) == {"ck_1": good}
            assert await store.clients.read("ck_4") is None
        assert "canary" not in caplog.text
        assert {record.getMessage() for record in caplog.records} == {
            "stored record unreadable",
            "stored record misplaced",
        }


async def test_five_thousand_records_are_loaded(redis_server: RedisServer) -> None:
    """More than one page."""
    async with manager(redis_server) as redis:
        records = {f"ck_{number}": client(number) for number in range(5000)}
        flat = [part for one in records.values() for part in (one.id, b"1\n" + msgspec.json.encode(one))]
        await redis.command("HSET", redis.keys.client_keys, *flat)
        found = await KeyStore(redis).clients.load({})
        assert found.keys() == records.keys()
        assert all(record.rev == 1 for record in found.values())


async def test_unknown_fields_of_newer_versions_are_passed_over(redis_server: RedisServer) -> None:
    """An older worker beside newer ones still reads."""
    async with manager(redis_server) as redis:
        await redis.command(
            "HSET", redis.keys.openrouter_keys, "a", b'3\n{"id":"a","sealed":"s","masked":"m","later":[1]}'
        )
        assert await KeyStore(redis).openrouter.load({}) == {"a": OpenRouterKey(id="a", sealed="s", masked="m", rev=3)}


async def test_changes_are_told(redis_server: RedisServer) -> None:
    """To everybody who listens; a message that is none of ours makes them read everything."""
    async with manager(redis_server) as redis, manager(redis_server) as other:
        changes: list[Changed] = []
        resyncs: list[int] = []

        async def heard(change: Changed) -> None:
            changes.append(change)

        async def resync() -> None:
            resyncs.append(1)

        tasks = TaskSet()
        tasks.spawn(KeyStore(redis).listen(heard, resync), "listen")
        try:
            await until(lambda: resyncs)
            await KeyStore(other).clients.put(client(1), DEED)
            await until(lambda: changes)
            assert changes == [Changed(1, "client", "ck_1")]
            for strange in (b"", b"x", b"\xff\xff \xff", b"one client ck_1"):
                await other.command("PUBLISH", redis.keys.changes, strange)
            await until(lambda: len(resyncs) == 5)
            await asyncio.sleep(0)
            assert len(changes) == 1
        finally:
            await tasks.close()


def mark_of(folder: Path, server: RedisServer, clock: SystemClock | None = None, **options: bool) -> StoreMark:
    """A gateway's, with its data volume in the folder."""
    return StoreMark(folder, RedisOptions(server.url), clock or SystemClock(), **options)


async def test_an_emptied_redis_is_no_new_one(redis_server: RedisServer, tmp_path: Path) -> None:
    """Emptied while the gateway runs, or before it starts again: nothing is read as truth, and nothing is written."""
    async with manager(redis_server) as redis:
        store = KeyStore(redis, mark_of(tmp_path / "a", redis_server))
        assert await store.version() == 0
        await store.clients.put(client(1), DEED)

        redis_server.call("FLUSHALL")

        # Before anybody has looked: the script itself compares.
        with pytest.raises(StoreReset):
            await store.clients.put(client(2), DEED)
        for later in (store, KeyStore(redis, mark_of(tmp_path / "a", redis_server))):
            with pytest.raises(StoreReset) as caught:
                await later.version()
            assert caught.value.lost is Lost.EMPTIED
            with pytest.raises(StoreReset):
                await later.clients.put(client(2), DEED)
        assert redis_server.call("DBSIZE") == b":0\r\n"
        command = KeyStore(redis, mark_of(tmp_path / "elsewhere", redis_server, keeps=False))
        assert await command.version() == 0
        assert redis_server.call("DBSIZE") == b":0\r\n"


async def test_another_redis_behind_the_address_is_not_taken(redis_server: RedisServer, tmp_path: Path) -> None:
    """A second gateway made itself at home in the emptied store: to the first it is a stranger's."""
    async with manager(redis_server) as redis:
        first = KeyStore(redis, mark_of(tmp_path / "a", redis_server))
        await first.version()
        await first.clients.put(client(1), DEED)
        redis_server.call("FLUSHALL")
        second = KeyStore(redis, mark_of(tmp_path / "b", redis_server))
        await second.version()
        await second.clients.put(client(2), DEED)

        with pytest.raises(StoreReset) as caught:
            await first.version()

        assert caught.value.lost is Lost.REPLACED
        with pytest.raises(StoreReset):
            await first.clients.put(client(3), DEED)
        assert set(await second.clients.load({})) == {"ck_2"}


async def test_an_old_copy_is_told_from_the_store(redis_server: RedisServer, tmp_path: Path) -> None:
    """A backup in which a revoked key is good again is refused; the newest data are welcome back without a restart."""
    clock = TurnedClock()
    mark = mark_of(tmp_path / "a", redis_server, clock)
    data = redis_server.folder
    async with manager(redis_server) as redis:
        store = KeyStore(redis, mark)
        await store.version()
        stored, _ = await store.clients.put(client(1), DEED)
        redis_server.kill()
        shutil.copytree(data, tmp_path / "old")
        redis_server.start()
        await until_answered(store)
        await store.clients.put(msgspec.structs.replace(stored, state=KeyState.REVOKED), DEED)
        for _ in range(2):
            assert await store.version() == 2
            clock.ahead_s += SETTLED_S
        await swap(redis_server, tmp_path / "old", tmp_path / "new")

        with pytest.raises(StoreReset) as caught:
            await until_answered(store)

        assert caught.value.lost is Lost.ROLLED_BACK
        await swap(redis_server, tmp_path / "new", tmp_path / "old")
        await until_answered(store)
        assert mark.lost is None
        assert (await store.clients.load({}))["ck_1"].state is KeyState.REVOKED


async def swap(server: RedisServer, there: Path, aside: Path) -> None:
    """The server again, on the data that are there; its own are put aside."""
    server.kill()
    shutil.move(server.folder, aside)
    shutil.move(there, server.folder)
    server.start()


async def until_answered(store: KeyStore) -> None:
    """The breaker may still be open: it is waited out."""
    async with asyncio.timeout(10):
        while True:
            try:
                await store.version()
                return
            except StoreReset:
                raise
            except RedisUnavailable:
                await asyncio.sleep(0.05)


async def test_two_gateways_on_a_new_redis_agree(redis_server: RedisServer, tmp_path: Path) -> None:
    """Started at once, they know one mark."""
    async with manager(redis_server) as redis:
        marks = [mark_of(tmp_path / str(number), redis_server) for number in range(8)]
        await asyncio.gather(*(KeyStore(redis, mark).version() for mark in marks))
        assert len({mark.known for mark in marks}) == 1
        assert all(mark.known for mark in marks)


async def test_a_store_from_before_there_were_marks_gets_one(redis_server: RedisServer, tmp_path: Path) -> None:
    """Nothing of it is lost."""
    async with manager(redis_server) as redis:
        await KeyStore(redis).clients.put(client(1), DEED)
        mark = mark_of(tmp_path / "a", redis_server)
        assert await KeyStore(redis, mark).version() == 1
        assert await redis.command("GET", redis.keys.store_mark) == mark.known.encode()
