"""Admin tokens: made once, hashed, for a role and a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.models.people import Role
from app.services.admin_tokens import LONGEST_DAYS
from app.services.key_names import KeyRefused, NoSuchKey
from app.services.token_form import mint
from tests.redis_server import RedisServer
from tests.test_services.people_world import people


async def test_a_token_speaks_for_its_owner(redis_server: RedisServer, tmp_path: Path) -> None:
    """In its own role, and the audit can tell it from the person."""
    async with people(redis_server, tmp_path) as world:
        record, secret = await world.access.tokens.create(await world.first(), "ci", Role.OPERATOR, 30, by="admin")
        person = await world.access.tokens.person(secret.reveal(), "10.0.0.9")

        assert person is not None
        assert (person.name, person.role, person.via) == ("admin/ci", Role.OPERATOR, "token")
        assert person.by == f"admin/ci (token, 10.0.0.9, {record.public})"
        for other in ("", "gwa_", mint(), secret.reveal() + "0", record.id, record.public):
            assert await world.access.tokens.person(other, "") is None


async def test_the_store_has_only_a_hash(redis_server: RedisServer, tmp_path: Path) -> None:
    """And the audit and the repr of the secret nothing at all."""
    async with people(redis_server, tmp_path) as world:
        _, secret = await world.access.tokens.create(await world.first(), "ci", Role.VIEWER, 1, by="admin")
        await world.redis.command("BGREWRITEAOF")

        assert secret.reveal().encode() not in world.dump()
        assert secret.reveal() not in repr(await world.deeds()) + repr(secret)


async def test_a_token_ends(redis_server: RedisServer, tmp_path: Path) -> None:
    """At its second, and it stays in the list, to be seen."""
    async with people(redis_server, tmp_path) as world:
        _, secret = await world.access.tokens.create(await world.first(), "ci", Role.VIEWER, 1, by="admin")
        world.clock.now_s += 86_399
        assert await world.access.tokens.person(secret.reveal(), "") is not None
        world.clock.now_s += 1
        assert await world.access.tokens.person(secret.reveal(), "") is None
        assert len(await world.access.tokens.of_account("admin")) == 1


@pytest.mark.parametrize("change", ["revoke", "disable", "delete", "remake"])
async def test_a_token_is_worth_nothing_without_its_owner(
    redis_server: RedisServer, tmp_path: Path, change: str
) -> None:
    """Nor when it was revoked; and nobody inherits it with the name."""
    async with people(redis_server, tmp_path) as world:
        ann = await world.person("ann", Role.ADMIN)
        record, secret = await world.access.tokens.create(ann, "ci", Role.VIEWER, 30, by="ann")
        if change == "revoke":
            await world.access.tokens.revoke(record.id, by="ann", account="ann")
        elif change == "disable":
            await world.access.accounts.set_disabled("ann", disabled=True, by="admin")
        else:
            await world.access.accounts.delete("ann", by="admin")
            if change == "remake":
                world.clock.now_s += 1
                await world.person("ann", Role.ADMIN)

        assert await world.access.tokens.person(secret.reveal(), "") is None


async def test_a_token_never_may_more_than_its_owner(redis_server: RedisServer, tmp_path: Path) -> None:
    """Not when it is made, and not when the owner may less later."""
    async with people(redis_server, tmp_path) as world:
        ann = await world.person("ann", Role.OPERATOR)
        with pytest.raises(KeyRefused):
            await world.access.tokens.create(ann, "ci", Role.ADMIN, 30, by="ann")
        _, secret = await world.access.tokens.create(ann, "ci", Role.OPERATOR, 30, by="ann")
        await world.access.accounts.set_role("ann", Role.VIEWER, by="admin")
        person = await world.access.tokens.person(secret.reveal(), "")

        assert person is not None
        assert person.role is Role.VIEWER


@pytest.mark.parametrize(("name", "days"), [("", 1), ("x" * 129, 1), ("a\nb", 1), ("ci", 0), ("ci", LONGEST_DAYS + 1)])
async def test_tokens_that_are_not_made(redis_server: RedisServer, tmp_path: Path, name: str, days: int) -> None:
    """Without a name or for ever: none, and no deed."""
    async with people(redis_server, tmp_path) as world:
        with pytest.raises(KeyRefused):
            await world.access.tokens.create(await world.first(), name, Role.VIEWER, days, by="admin")
        assert await world.told("admin token") == []


async def test_the_list_and_the_last_use(redis_server: RedisServer, tmp_path: Path) -> None:
    """One's own or all, the newest first; used is noted once a minute."""
    async with people(redis_server, tmp_path) as world:
        tokens = world.access.tokens
        ann = await world.person("ann")
        first, secret = await tokens.create(await world.first(), "a", Role.VIEWER, 1, by="admin")
        world.clock.now_s += 1
        second, _ = await tokens.create(ann, "b", Role.VIEWER, 1, by="ann")
        assert [one.id for one in await tokens.of_account()] == [second.id, first.id]
        assert [one.id for one in await tokens.of_account("ann")] == [second.id]
        assert await tokens.last_used() == {}
        began = int(world.clock.now_s)
        for step in (0, 59, 1):
            world.clock.now_s += step
            await tokens.person(secret.reveal(), "")
        assert await tokens.last_used() == {first.id: began + 60}


async def test_nobody_revokes_anothers(redis_server: RedisServer, tmp_path: Path) -> None:
    """Except an administrator; each revocation is one deed, the second none."""
    async with people(redis_server, tmp_path) as world:
        record, _ = await world.access.tokens.create(await world.first(), "ci", Role.VIEWER, 1, by="admin")
        with pytest.raises(NoSuchKey):
            await world.access.tokens.revoke(record.id, by="ann", account="ann")
        await world.access.tokens.revoke(record.id, by="admin")
        with pytest.raises(NoSuchKey):
            await world.access.tokens.revoke(record.id, by="admin")
        assert await world.told("admin token") == [("admin token", "create"), ("admin token", "revoke")]
