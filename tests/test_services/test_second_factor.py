"""Codes from an app: set up, sealed, switched off."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from app.services.key_names import KeyRefused
from app.services.totp import code_at
from tests.redis_server import RedisServer
from tests.test_services.people_world import people
from tests.test_services.test_sign_in import code_now, with_code


async def test_nothing_counts_before_a_code_was_seen(redis_server: RedisServer, tmp_path: Path) -> None:
    """The same secret is offered until then; a wrong code changes nothing."""
    async with people(redis_server, tmp_path) as world:
        account = await world.first()
        factor = world.access.factor
        secret = await factor.propose(account)
        assert await factor.propose(account) == secret
        assert await factor.confirm(account, "000000", by="admin") is None
        assert not (await world.first()).second_factor
        codes = await factor.confirm(account, code_now(world, secret), by="admin")
        assert codes is not None
        assert len(set(codes)) == 10
        assert await factor.propose(account) != secret


async def test_the_store_holds_no_secret(redis_server: RedisServer, tmp_path: Path) -> None:
    """Sealed, and bound to its account; recovery codes as hashes; the audit has neither."""
    async with people(redis_server, tmp_path) as world:
        secret, codes = await with_code(world)
        account = await world.first()
        await world.redis.command("BGREWRITEAOF")
        dump = world.dump()
        assert secret.encode() not in dump
        assert not [code for code in codes if code.encode() in dump]
        other = msgspec.structs.replace(account, id="other")
        assert not await world.access.factor.accepts(other, code_now(world, secret))
        assert await world.access.factor.accepts(account, code_now(world, secret))


async def test_new_recovery_codes_replace_the_old(redis_server: RedisServer, tmp_path: Path) -> None:
    """Only where there are codes at all."""
    async with people(redis_server, tmp_path) as world:
        account = await world.first()
        with pytest.raises(KeyRefused):
            await world.access.factor.renew_recovery(account, by="admin")
        _, old = await with_code(world)
        new = await world.access.factor.renew_recovery(await world.first(), by="admin")
        account = await world.first()
        assert not await world.access.factor.accepts(account, old[0])
        assert await world.access.factor.accepts(account, new[0])


async def test_switching_off_ends_the_sessions(redis_server: RedisServer, tmp_path: Path) -> None:
    """Of whoever it was."""
    async with people(redis_server, tmp_path) as world:
        token = (await world.sign_in()).token
        secret, _ = await with_code(world)
        await world.live(token)
        await world.access.factor.remove(await world.first(), by="admin")
        assert await world.access.sessions.look(token) is None
        assert not await world.access.factor.accepts(await world.first(), code_at(secret, 1))
        assert [deed.deed for deed in await world.deeds("account")] == ["create", "code on", "code off"]
