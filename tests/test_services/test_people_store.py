"""Records of people in Redis: one change, one revision, one entry of the audit."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from app.models.accounts import Account
from app.models.people import Role
from app.services.audit import Audit
from app.services.audit_chain import Deed
from app.services.key_store import ConflictError
from app.services.people_store import Register
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager

ANN = Account(id="ann", name="Ann", role=Role.VIEWER, created_s=1)
DEED = Deed(at=1.0, by="test", deed="create", kind="account", id="ann", name="Ann")


async def test_a_change_needs_the_revision_that_is_stored(redis_server: RedisServer, tmp_path: Path) -> None:
    """Whoever is late writes nothing and notes nothing."""
    async with manager(redis_server) as redis:
        audit = Audit(redis)
        register = Register(redis, audit, redis.keys.people("accounts"), Account)
        stored = await register.put(ANN, DEED)
        with pytest.raises(ConflictError):
            await register.put(ANN, DEED)
        later = await register.put(msgspec.structs.replace(stored, disabled=True), DEED)
        with pytest.raises(ConflictError):
            await register.drop(stored, DEED)

        assert await register.all() == {"ann": later}
        assert (await register.read("ann")) == later
        await register.drop(later, DEED)
        assert await register.read("ann") is None
        assert (await audit.verify()).links == 3


async def test_notes_without_a_record_and_changes_without_a_note(redis_server: RedisServer) -> None:
    """Some deeds change no record; some changes are no deed."""
    async with manager(redis_server) as redis:
        audit = Audit(redis)
        register = Register(redis, audit, redis.keys.people("accounts"), Account)
        await register.note(DEED)
        assert await register.all() == {}
        await register.put(ANN, None)

        assert (await audit.verify()).links == 1


async def test_what_cannot_be_read_is_nobody(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """Damaged, or under another's name; the log quotes nothing of it."""
    async with manager(redis_server) as redis:
        register = Register(redis, Audit(redis), redis.keys.people("accounts"), Account)
        text = b"1\n" + msgspec.json.encode(ANN)
        for name, stored in (("bob", text), ("eve", b"canary"), ("joe", b'1\n{"canary":1}')):
            await redis.command("HSET", redis.keys.people("accounts"), name, stored)

        assert await register.all() == {}
        assert await register.read("bob") is None
        assert "canary" not in caplog.text
