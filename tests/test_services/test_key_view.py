"""The view that every worker has: it follows what others do, whatever happens to the connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

import msgspec
import pytest

from app.core.clock import SystemClock
from app.core.redis import RedisManager, RedisUnavailable
from app.models.keys import ClientKey, KeyState, OldSecret, OpenRouterKey
from app.services.key_manager import KeyManager
from app.services.key_store import Deed, KeyStore, RecordKind
from app.services.key_view import KeyView
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager
from tests.test_services.key_workers import messages_only, on_redis, openrouter_key, until, worker


async def test_a_change_is_seen_by_another_worker(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Additions, states and deletions, of both kinds, by message alone."""
    with messages_only(monkeypatch):
        async with worker(redis_server) as one, worker(redis_server) as other:
            client = (await one.create_client_key("app", by="t")).record
            key = (await one.add_openrouter_key(openrouter_key(1), by="t")).record
            await until(lambda: client.id in other.client_keys and key.id in other.openrouter_keys)
            await other.set_client_state(client.id, KeyState.REVOKED, by="t")
            await other.set_openrouter_state(key.id, KeyState.DISABLED, by="t")
            await until(lambda: one.client_keys[client.id].state is KeyState.REVOKED)
            await until(lambda: one.openrouter_keys[key.id].state is KeyState.DISABLED)
            await one.delete_client_key(client.id, by="t")
            await one.delete_openrouter_key(key.id, by="t")
            await until(lambda: not other.client_keys and not other.openrouter_keys)


async def test_a_revoked_key_is_known_as_such_everywhere(redis_server: RedisServer) -> None:
    """What authentication answers follows too, and a deleted key answers to nothing."""
    async with worker(redis_server) as one, worker(redis_server) as other:
        made = await one.create_client_key("app", by="t")
        secret = made.secret.reveal().encode()
        await until(lambda: other.authenticate(secret))
        await one.set_client_state(made.record.id, KeyState.REVOKED, by="t")
        await until(lambda: (found := other.authenticate(secret)) and found.state is KeyState.REVOKED)
        await one.delete_client_key(made.record.id, by="t")
        await until(lambda: other.authenticate(secret) is None)
        assert one.authenticate(secret) is None


async def test_a_lost_subscription_is_made_good(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was told while nobody could listen is read at the next subscription."""
    with messages_only(monkeypatch):
        async with worker(redis_server) as one, worker(redis_server) as other:
            for number in range(3):
                assert redis_server.call("CLIENT", "KILL", "TYPE", "pubsub").startswith(b":")
                made = await one.create_client_key(f"app {number}", by="t")
                await until(lambda made=made: made.record.id in other.client_keys)


async def test_a_killed_redis_is_made_good(redis_server: RedisServer) -> None:
    """While it is away the last known keys serve and changes are refused; afterwards changes are seen again."""
    async with worker(redis_server) as one, worker(redis_server) as other:
        made = await one.create_client_key("before", by="t")
        await until(lambda: made.record.id in other.client_keys)
        redis_server.kill()
        with pytest.raises(RedisUnavailable):
            await one.create_client_key("meanwhile", by="t")
        assert other.authenticate(made.secret.reveal().encode()) == made.record
        redis_server.start()
        after = await _create_when_possible(one, "after")
        await until(lambda: after in other.client_keys)
        assert {client.name for client in other.client_keys.values()} == {"before", "after"}


async def _create_when_possible(keys: KeyManager, name: str) -> str:
    for _ in range(500):
        with contextlib.suppress(RedisUnavailable):
            return (await keys.create_client_key(name, by="t")).record.id
        await asyncio.sleep(0.02)
    raise AssertionError


async def test_what_was_never_told_is_found(redis_server: RedisServer) -> None:
    """The versions differ, so everything is read again: after a restored backup, or a lost message."""
    async with worker(redis_server) as keys, manager(redis_server) as redis:
        await _subscribed(keys, redis)
        record = ClientKey(id="ck_x", name="silent", digest="ab" * 32, masked="m")
        await redis.command("HSET", redis.keys.client_keys, "ck_x", b"1\n" + msgspec.json.encode(record))
        assert "ck_x" not in keys.client_keys
        await redis.command("INCR", redis.keys.version)
        await until(lambda: "ck_x" in keys.client_keys)


async def _subscribed(keys: KeyManager, redis: RedisManager) -> None:
    """Waits until messages reach the worker, and the reading that follows a subscription is over."""
    probe = ClientKey(id="probe", name="p", digest="cd" * 32, masked="m")
    await KeyStore(redis).clients.put(probe, deed(RecordKind.CLIENT))
    await until(lambda: "probe" in keys.client_keys)


def deed(kind: RecordKind) -> Deed:
    return Deed(at=0.0, by="t", deed="d", kind=kind, id="i", name="n")


async def test_a_gap_in_the_messages_is_noticed(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message whose version is not the next one means that another was missed."""
    with messages_only(monkeypatch):
        async with worker(redis_server) as keys, manager(redis_server) as redis:
            await _subscribed(keys, redis)
            unheard = OpenRouterKey(id="unheard", sealed="s", masked="m")
            await redis.command("HSET", redis.keys.openrouter_keys, "unheard", b"1\n" + msgspec.json.encode(unheard))
            await redis.command("INCR", redis.keys.version)
            heard = ClientKey(id="heard", name="n", digest="ab" * 32, masked="m")
            await KeyStore(redis).clients.put(heard, deed(RecordKind.CLIENT))
            await until(lambda: "heard" in keys.client_keys and "unheard" in keys.openrouter_keys)


async def test_late_news_of_its_own_deed_changes_nothing(redis_server: RedisServer) -> None:
    """The answer to a deed may come after the news of the next one, which then counts."""
    async with manager(redis_server) as redis:
        store = KeyStore(redis)
        stored, version = await store.clients.put(
            ClientKey(id="c", name="old", digest="ab" * 32, masked="m"), deed(RecordKind.CLIENT)
        )
        renamed = msgspec.structs.replace(stored, name="new")
        await store.clients.put(renamed, deed(RecordKind.CLIENT))
        view = KeyView(store, SystemClock())
        await view.start(follow=False)
        await view.put_client(stored, version)
        await view.drop_client(stored, version)
        await view.put_client(stored, version + 9)
        assert view.clients["c"].name == "new"
        assert view.by_digest[bytes.fromhex("ab" * 32)].name == "new"
        unheard = OpenRouterKey(id="o", sealed="", masked="", rev=1)
        await view.put_openrouter(unheard, version)
        assert not view.openrouter
        await view.drop_openrouter(unheard, version)
        assert not view.openrouter


async def test_a_reading_under_way_hides_no_deed(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker knows what it has stored, although a reading that began before it ends after it."""
    async with manager(redis_server) as redis, on_redis(redis, follow=False) as keys:
        read, go_on = asyncio.Event(), asyncio.Event()
        shelf = keys._view._store.clients
        load = shelf.load

        async def slow_load(known: Mapping[str, ClientKey]) -> dict[str, ClientKey]:
            found = await load(known)
            read.set()
            await go_on.wait()
            return found

        monkeypatch.setattr(shelf, "load", slow_load)
        reading = asyncio.ensure_future(keys._view.resync())
        await read.wait()
        making = asyncio.ensure_future(keys.create_client_key("app", by="t"))
        while not await redis.command("HLEN", redis.keys.client_keys):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        go_on.set()
        await reading
        made = await making
        assert keys.authenticate(made.secret.reveal().encode()) == made.record


async def test_a_damaged_digest_is_nobody(redis_server: RedisServer) -> None:
    """The record stays visible, so that it can be deleted; nobody can call with it, and all others can."""
    async with manager(redis_server) as redis, worker(redis_server) as keys:
        made = await keys.create_client_key("good", by="t")
        bad = ClientKey(id="bad", name="bad", digest="no hex", masked="m")
        await KeyStore(redis).clients.put(bad, deed(RecordKind.CLIENT))
        await until(lambda: "bad" in keys.client_keys)
        assert keys.authenticate(made.secret.reveal().encode()) == made.record
        await keys.delete_client_key("bad", by="t")
        assert set(keys.client_keys) == {made.record.id}


async def test_listeners_hear_of_openrouter_keys(redis_server: RedisServer) -> None:
    """In a flood not of every one, and of the last one always."""
    async with worker(redis_server) as one, worker(redis_server) as other:
        seen: list[int] = []
        other.subscribe(lambda: seen.append(len(other.openrouter_keys)))
        await one.import_openrouter_keys("\n".join(map(openrouter_key, range(300))), by="t")
        await until(lambda: seen and seen[-1] == 300)
        assert len(seen) < 100


async def test_a_failed_reading_changes_nothing(redis_server: RedisServer) -> None:
    """The last known keys serve on."""
    async with manager(redis_server) as redis:
        view = KeyView(KeyStore(redis), SystemClock())
        await KeyStore(redis).clients.put(
            ClientKey(id="c", name="n", digest="ab" * 32, masked="m"), deed(RecordKind.CLIENT)
        )
        await view.start(follow=False)
        redis_server.kill()
        with pytest.raises(RedisUnavailable):
            await view.resync()
        assert set(view.clients) == {"c"}
        await view.close()


async def test_what_did_not_change_stays_the_same_object(redis_server: RedisServer) -> None:
    """Others remember things by a record: reading everything again forgets nothing of what is as it was."""
    async with worker(redis_server, follow=False) as keys, worker(redis_server, follow=False) as other:
        kept = (await keys.create_client_key("kept", by="t")).record
        group = await keys.create_group("team", by="t")
        key = (await keys.add_openrouter_key(openrouter_key(1), by="t")).record
        changed = (await keys.create_client_key("changed", by="t")).record
        gone = (await keys.create_client_key("gone", by="t")).record
        await other._view.resync()
        await other.update_client_key(changed.id, {"owner": "me"}, by="t")
        await other.delete_client_key(gone.id, by="t")
        kept, group, key = keys.client_keys[kept.id], keys.groups[group.id], keys.openrouter_keys[key.id]
        await keys._view.resync()
        assert keys.client_keys[kept.id] is kept
        assert keys.groups[group.id] is group
        assert keys.openrouter_keys[key.id] is key
        assert keys.client_keys[changed.id].owner == "me"
        assert gone.id not in keys.client_keys


async def test_old_secrets_follow_their_client(redis_server: RedisServer) -> None:
    """Changed, deleted, damaged: an old secret answers as the new one does."""
    async with manager(redis_server) as redis:
        store = KeyStore(redis)
        view = KeyView(store, SystemClock())
        await view.start(follow=False)
        old = OldSecret("cd" * 32, "m", SystemClock().wall_s() + 60)
        bad = OldSecret("no hex", "m", SystemClock().wall_s() + 60)
        record = ClientKey(id="c", name="n", digest="ab" * 32, masked="m", old_secrets=(old, bad))
        stored, version = await store.clients.put(record, deed(RecordKind.CLIENT))
        await view.put_client(stored, version)
        assert view.by_replaced(bytes.fromhex("cd" * 32)) == stored
        stored, version = await store.clients.put(msgspec.structs.replace(stored, owner="me"), deed(RecordKind.CLIENT))
        await view.put_client(stored, version)
        assert view.by_replaced(bytes.fromhex("cd" * 32)) == stored
        await view.resync()
        assert view.by_replaced(bytes.fromhex("cd" * 32)) == stored
        version = await store.clients.drop(stored, deed(RecordKind.CLIENT))
        await view.drop_client(stored, version)
        assert view.by_replaced(bytes.fromhex("cd" * 32)) is None
        assert not view.replaced
        assert not view.by_digest
