"""The journal in a real Redis."""

from __future__ import annotations

import msgspec
import pytest

from app.models.renewal import Entry, Kind, ManagedKey, Step, Terms
from app.services.journal import Journal
from app.services.key_store import ConflictError, Deed
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager
from tests.test_services.test_key_store import entries

ENTRY = Entry(kind=Kind.RENEW, step=Step.CREATE, key="old")


async def test_a_change_is_made_on_what_is_stored(redis_server: RedisServer) -> None:
    """Of two changes of one revision the second is refused, and so is a change of what is gone."""
    async with manager(redis_server) as redis:
        pages = Journal(redis).entries
        first = await pages.put(ENTRY)
        assert first.rev == 1
        with pytest.raises(ConflictError):
            await pages.put(ENTRY)
        second = await pages.put(msgspec.structs.replace(first, step=Step.GUARD))
        assert await pages.read(ENTRY.id) == second
        assert await pages.all() == {ENTRY.id: second}
        with pytest.raises(ConflictError):
            await pages.drop(first)
        await pages.drop(second)
        assert await pages.all() == {}
        assert await pages.read(ENTRY.id) is None
        with pytest.raises(ConflictError):
            await pages.put(second)


async def test_a_deed_is_noted_with_the_change(redis_server: RedisServer) -> None:
    """In the audit, and only when the change is made."""
    deed = Deed(at=1.0, by="t", deed="renew: create", kind="openrouter", id="old", name="m")
    async with manager(redis_server) as redis:
        journal = Journal(redis)
        await journal.entries.put(ENTRY, deed)
        with pytest.raises(ConflictError):
            await journal.entries.put(ENTRY, deed)
        assert [noted["deed"] for noted in await entries(redis)] == ["renew: create"]


async def test_what_cannot_be_read_is_left_out(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """The others are there; the log quotes nothing."""
    async with manager(redis_server) as redis:
        journal = Journal(redis)
        managed = await journal.managed.put(ManagedKey(id="k", admin="a", terms=Terms(name="n"), created_at=0.0))
        await redis.command("HSET", redis.keys.managed_keys, "x", b"canary", "y", b'1\n{"id":')
        assert await journal.managed.all() == {"k": managed}
        assert "canary" not in caplog.text
