"""Client keys: made, revoked, forgotten, by several workers at once."""

from __future__ import annotations

import asyncio
import re

import pytest

from app.models.keys import KeyState
from app.services.key_names import KeyRefused, NoSuchKey
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager
from tests.test_services.key_workers import CLIENTS, worker
from tests.test_services.test_key_store import entries


async def test_a_key_is_shown_once_and_known_from_then_on(redis_server: RedisServer) -> None:
    """Its record holds a keyed hash and a mask; a restarted gateway knows it too."""
    async with worker(redis_server) as keys:
        made = await keys.create_client_key(" app ", owner="me", expires_at=99.0, by="t")
        secret = made.secret.reveal()
        assert re.fullmatch(r"ck_[0-9a-f]{16}", made.record.id)
        assert (made.record.name, made.record.owner, made.record.expires_at) == ("app", "me", 99.0)
        assert made.record.digest == CLIENTS.digest(secret.encode()).hex()
        assert secret not in repr(made)
        assert keys.authenticate(secret.encode()) == made.record
        assert keys.authenticate(secret[:-1].encode()) is None
        assert keys.authenticate(b"") is None
    async with worker(redis_server) as later:
        assert later.authenticate(secret.encode()) == made.record


@pytest.mark.parametrize(("name", "owner"), [("", ""), ("a\nb", ""), ("app", "a\x1bb")])
async def test_unfit_names_are_refused(redis_server: RedisServer, name: str, owner: str) -> None:
    """Before anything is stored."""
    async with worker(redis_server) as keys:
        with pytest.raises(KeyRefused):
            await keys.create_client_key(name, owner=owner, by="t")
        assert not keys.client_keys


async def test_a_revoked_key_stays_revoked(redis_server: RedisServer) -> None:
    """A disabled one comes back."""
    async with worker(redis_server) as keys:
        made = await keys.create_client_key("app", by="t")
        for state in (KeyState.DISABLED, KeyState.ENABLED, KeyState.REVOKED, KeyState.REVOKED):
            assert (await keys.set_client_state("app", state, by="t")).state is state
        with pytest.raises(KeyRefused, match="revoked for good"):
            await keys.set_client_state("app", KeyState.ENABLED, by="t")
        found = keys.authenticate(made.secret.reveal().encode())
        assert found is not None
        assert found.state is KeyState.REVOKED


async def test_each_change_stands_once_in_the_audit(redis_server: RedisServer) -> None:
    """A deed that changes nothing does not."""
    async with worker(redis_server) as keys, manager(redis_server) as redis:
        await keys.create_client_key("app", by="ann")
        await keys.set_client_state("app", KeyState.REVOKED, by="bob")
        await keys.set_client_state("app", KeyState.REVOKED, by="cyd")
        await keys.delete_client_key("app", by="dan")
        told = [(entry["by"], entry["deed"], entry["before"], entry["after"]) for entry in await entries(redis)]
        assert told == [
            ("ann", "create", "", "enabled"),
            ("bob", "revoked", "enabled", "revoked"),
            ("dan", "delete", "revoked", ""),
        ]


async def test_no_update_is_lost(redis_server: RedisServer) -> None:
    """Workers that do not hear of each other retry on what the others stored; nobody undoes a revocation."""
    async with worker(redis_server, follow=False) as one, worker(redis_server, follow=False) as other:
        made = await one.create_client_key("app", by="t")
        other_knows = await other.create_client_key("other", by="t")
        with pytest.raises(NoSuchKey):
            await other.set_client_state("app", KeyState.DISABLED, by="t")
        async with worker(redis_server, follow=False) as late:
            await one.set_client_state("app", KeyState.REVOKED, by="t")
            with pytest.raises(KeyRefused, match="revoked for good"):
                await late.set_client_state("app", KeyState.DISABLED, by="t")
            assert late.client_keys[made.record.id].state is KeyState.REVOKED
            assert late.client_keys[other_knows.record.id] == other_knows.record


async def test_deleting_at_the_same_time(redis_server: RedisServer) -> None:
    """One deletes, the others hear that there is no such key; the audit has one entry."""
    async with worker(redis_server) as one, manager(redis_server) as redis:
        made = await one.create_client_key("app", by="t")
        async with worker(redis_server) as two, worker(redis_server) as three:
            done = await asyncio.gather(
                *(keys.delete_client_key(made.record.id, by="t") for keys in (one, two, three)), return_exceptions=True
            )
        assert sum(result == made.record for result in done) == 1
        assert sum(isinstance(result, NoSuchKey) for result in done) == 2
        assert [entry["deed"] for entry in await entries(redis)] == ["create", "delete"]


async def test_a_hundred_keys_at_once_are_a_hundred_keys(redis_server: RedisServer) -> None:
    """All different, and all usable."""
    async with worker(redis_server) as keys:
        made = await asyncio.gather(*(keys.create_client_key(f"app {n}", by="t") for n in range(100)))
        assert len({one.secret.reveal() for one in made}) == len({one.record.id for one in made}) == 100
        assert all(keys.authenticate(one.secret.reveal().encode()) == one.record for one in made)


async def test_attributes_are_set(redis_server: RedisServer) -> None:
    """At once or later; authentication sees them, and the secret stays the same."""
    async with worker(redis_server) as keys, manager(redis_server) as redis:
        made = await keys.create_client_key("app", by="t", changes={"tags": ["eu"], "trace": True})
        assert (made.record.tags, made.record.trace) == (("eu",), True)
        after = await keys.update_client_key("app", {"tags": [], "owner": "me", "trace": False}, by="ann")
        assert (after.tags, after.owner, after.trace) == ((), "me", False)
        assert keys.authenticate(made.secret.reveal().encode()) == after
        with pytest.raises(KeyRefused):
            await keys.update_client_key("app", {"digest": "x"}, by="ann")
        assert [entry["deed"] for entry in await entries(redis)] == ["create", "update"]
