"""Accounts: the first administrator, deeds of administrators, and each in the audit once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.models.people import Role
from app.services.key_names import KeyRefused, NoSuchKey
from app.services.login_guard import MustWait
from app.services.sign_in import Refused, SignedIn
from tests.redis_server import RedisServer
from tests.test_services.people_world import HERE, PASSWORD, People, people


async def test_the_first_administrator_has_the_password_of_the_environment(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    """At every start; a changed one ends the sessions, an unchanged one changes nothing."""
    async with people(redis_server, tmp_path) as world:
        token = (await world.sign_in()).token
    async with people(redis_server, tmp_path) as world:
        await world.live(token)
        assert await world.told("account") == [("account", "create")]
    async with people(redis_server, tmp_path, password="another password here") as world:
        assert await world.access.sessions.look(token) is None
        await world.sign_in(password="another password here")
        with pytest.raises(Refused):
            await world.sign_in()
        assert await world.told("account") == [("account", "create"), ("account", "password")]


async def test_another_admin_username_shuts_the_old_one_out(redis_server: RedisServer, tmp_path: Path) -> None:
    """With its sessions; there is one first administrator."""
    async with people(redis_server, tmp_path) as world:
        token = (await world.sign_in()).token
    async with people(redis_server, tmp_path, admin_username="Root") as world:
        assert await world.access.sessions.look(token) is None
        await world.sign_in("root")
        with pytest.raises(Refused):
            await world.sign_in("admin")


async def test_of_many_workers_one_makes_the_first_account(redis_server: RedisServer, tmp_path: Path) -> None:
    """Two processes start at once on an empty Redis: one account, one deed."""

    async def start(number: int) -> None:
        async with people(redis_server, tmp_path):
            await asyncio.sleep(0)

    await asyncio.gather(*(start(number) for number in range(6)))
    async with people(redis_server, tmp_path) as world:
        assert await world.told("account") == [("account", "create")]


async def test_an_account_is_made_and_signs_in(redis_server: RedisServer, tmp_path: Path) -> None:
    """Under its name however it is written; a second of that name is refused."""
    async with people(redis_server, tmp_path) as world:
        await world.person("Ann Lee", Role.OPERATOR)
        assert (await world.sign_in(" ANN LEE ")).account.role is Role.OPERATOR
        for name in ("ann lee", "Ann Lee", "a/b", ""):
            with pytest.raises(KeyRefused):
                await world.person(name)
        with pytest.raises(KeyRefused, match="characters"):
            await world.person("bob", password="short")
        assert [deed.name for deed in await world.deeds("account")] == ["admin", "Ann Lee"]


async def test_each_deed_is_in_the_audit_once_and_tells_what_changed(redis_server: RedisServer, tmp_path: Path) -> None:
    """By whom, before and after; what changes nothing is no deed."""
    async with people(redis_server, tmp_path) as world:
        accounts = world.access.accounts
        await world.person("ann")
        await accounts.set_role("ann", Role.OPERATOR, by="root (panel)")
        await accounts.set_role("ann", Role.OPERATOR, by="root (panel)")
        await accounts.set_disabled("ann", disabled=True, by="root (panel)")
        await accounts.set_password("ann", "another good password", by="root (panel)")
        await accounts.drop_factors("ann", by="root (panel)")
        await accounts.delete("ann", by="root (panel)")

        deeds = (await world.deeds("account"))[2:]
        assert [deed.deed for deed in deeds] == ["role", "disable", "password", "delete"]
        assert {deed.by for deed in deeds} == {"root (panel)"}
        assert '"viewer"' in deeds[0].before
        assert '"operator"' in deeds[0].after
        assert PASSWORD not in repr(deeds)
        assert "argon2" not in repr(deeds)


async def test_two_administrators_change_the_same_account(redis_server: RedisServer, tmp_path: Path) -> None:
    """Both deeds happen, each once; none is lost."""
    async with people(redis_server, tmp_path) as one, people(redis_server, tmp_path) as two:
        await one.person("ann")
        await asyncio.gather(
            one.access.accounts.set_role("ann", Role.ADMIN, by="one"),
            two.access.accounts.set_disabled("ann", disabled=True, by="two"),
        )
        ann = await one.access.accounts.get("ann")

        assert (ann.role, ann.disabled) == (Role.ADMIN, True)
        assert sorted(deed.deed for deed in (await one.deeds("account"))[2:]) == ["disable", "role"]


async def refusals(world: People, account: str) -> list[str]:
    accounts = world.access.accounts
    found = []
    for deed in (
        accounts.set_role(account, Role.VIEWER, by="x"),
        accounts.set_disabled(account, disabled=True, by="x"),
        accounts.set_password(account, "another good password", by="x"),
        accounts.delete(account, by="x"),
    ):
        with pytest.raises(KeyRefused) as caught:
            await deed
        found.append(str(caught.value))
    return found


async def test_nobody_shuts_everybody_out(redis_server: RedisServer, tmp_path: Path) -> None:
    """The first administrator stays one, and the environment's password is changed in the environment."""
    async with people(redis_server, tmp_path) as world:
        told = await refusals(world, "admin")

        assert all("ADMIN_USERNAME" in told[place] for place in (0, 1, 3))
        assert "ADMIN_PASSWORD" in told[2]
        await world.sign_in()


async def test_unknown_accounts(redis_server: RedisServer, tmp_path: Path) -> None:
    """A sentence, and no deed."""
    async with people(redis_server, tmp_path) as world:
        for deed in (world.access.accounts.get("nobody"), world.access.accounts.delete("nobody", by="x")):
            with pytest.raises(NoSuchKey):
                await deed
        assert await world.access.accounts.find("") is None
        assert await world.access.accounts.find("x" * 200) is None


async def test_a_disabled_account_is_as_good_as_none(redis_server: RedisServer, tmp_path: Path) -> None:
    """It is told what everybody is told who fails; enabled, it signs in again."""
    async with people(redis_server, tmp_path) as world:
        await world.person("ann")
        await world.access.accounts.set_disabled("ann", disabled=True, by="admin")
        with pytest.raises((Refused, MustWait)):
            await world.sign_in("ann")
        await world.access.accounts.set_disabled("ann", disabled=False, by="admin")
        assert isinstance(await world.access.sign_in.by_password("ann", PASSWORD, HERE), SignedIn)
