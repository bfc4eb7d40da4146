"""Signing in, step by step, on a real Redis."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.core.redis import RedisUnavailable
from app.services.login_guard import ACCOUNT_FREE, MustWait
from app.services.sign_in import CodeWanted, Refused, SignedIn, Where
from app.services.totp import code_at
from tests.redis_server import RedisServer
from tests.test_services.people_world import HERE, PASSWORD, People, people


async def with_code(world: People) -> tuple[str, tuple[str, ...]]:
    """The first administrator wants codes now; the secret and the recovery codes."""
    account = await world.first()
    secret = await world.access.factor.propose(account)
    codes = await world.access.factor.confirm(account, code_at(secret, int(world.clock.now_s // 30)), by="admin")
    assert codes is not None
    world.clock.now_s += 60
    return secret, codes


def code_now(world: People, secret: str) -> str:
    return code_at(secret, int(world.clock.now_s // 30))


async def wanted(world: People) -> str:
    found = await world.access.sign_in.by_password("admin", PASSWORD, HERE)
    assert isinstance(found, CodeWanted)
    return found.pending


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("admin", "wrong"),
        ("nobody", PASSWORD),
        ("", ""),
        ("admin", ""),
        ("x" * 5000, "y" * 60_000),
        ("admin", PASSWORD + " "),
    ],
)
async def test_whatever_is_wrong_is_told_alike(
    redis_server: RedisServer, tmp_path: Path, name: str, password: str
) -> None:
    """No session, and no word of what it was."""
    async with people(redis_server, tmp_path) as world:
        with pytest.raises(Refused) as caught:
            await world.access.sign_in.by_password(name, password, HERE)
        assert caught.value.args == ()
        assert await world.told("session") == []


async def test_an_unknown_name_takes_as_long_as_a_wrong_password(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same Argon2 work, once for each try, is done for nobody, for somebody disabled and for the administrator."""
    async with people(redis_server, tmp_path) as world:
        await world.person("ann")
        await world.access.accounts.set_disabled("ann", disabled=True, by="x")
        passwords = world.access.passwords
        whole, done = passwords._matches, []

        def matches(encoded: str, password: str) -> bool:
            done.append(encoded.rsplit("$", 2)[0])
            return whole(encoded, password)

        monkeypatch.setattr(passwords, "_matches", matches)
        for name in ("admin", "nobody", "ann", ""):
            with pytest.raises(Refused):
                await world.access.sign_in.by_password(name, "wrong", HERE)

        assert done == ["$argon2id$v=19$m=19456,t=3,p=1"] * 4


async def test_a_code_is_wanted_and_good_once(redis_server: RedisServer, tmp_path: Path) -> None:
    """The password alone gives no session; the same code gives no second one."""
    async with people(redis_server, tmp_path) as world:
        secret, _ = await with_code(world)
        pending = await wanted(world)
        assert await world.told("session") == []
        code = code_now(world, secret)
        signed = await world.access.sign_in.by_code(pending, code, HERE)
        assert (await world.live(signed.token)).record.how == "password and code"
        with pytest.raises(Refused):
            await world.access.sign_in.by_code(pending, code, HERE)
        again = await wanted(world)
        with pytest.raises(Refused):
            await world.access.sign_in.by_code(again, code, HERE)
        world.clock.now_s += 30
        await world.access.sign_in.by_code(again, code_now(world, secret), HERE)


async def test_the_same_code_twice_at_the_same_moment(redis_server: RedisServer, tmp_path: Path) -> None:
    """Somebody who looks over the shoulder is not faster: one gets in."""
    async with people(redis_server, tmp_path) as world:
        secret, _ = await with_code(world)
        pendings = [await wanted(world) for _ in range(4)]
        code = code_now(world, secret)
        found = await asyncio.gather(
            *(world.access.sign_in.by_code(pending, code, HERE) for pending in pendings), return_exceptions=True
        )
        assert sum(isinstance(one, SignedIn) for one in found) == 1


async def test_guessing_codes_makes_wait(redis_server: RedisServer, tmp_path: Path) -> None:
    """Five, then it takes time; a fresh password step forgives nothing."""
    async with people(redis_server, tmp_path) as world:
        await with_code(world)
        for _ in range(5):
            with pytest.raises(Refused):
                await world.access.sign_in.by_code(await wanted(world), "000000", HERE)
        with pytest.raises(MustWait):
            await world.access.sign_in.by_code(await wanted(world), "000000", HERE)


async def test_a_recovery_code_signs_in_once(redis_server: RedisServer, tmp_path: Path) -> None:
    """And is in the audit."""
    async with people(redis_server, tmp_path) as world:
        _, codes = await with_code(world)
        await world.access.sign_in.by_code(await wanted(world), codes[0].upper(), HERE)
        with pytest.raises(Refused):
            await world.access.sign_in.by_code(await wanted(world), codes[0], HERE)
        assert [deed.deed for deed in await world.deeds("account")] == ["create", "code on", "recovery code"]
        assert len((await world.first()).recovery) == 9


@pytest.mark.parametrize("change", ["late", "password", "unknown"])
async def test_the_second_step_belongs_to_the_first(redis_server: RedisServer, tmp_path: Path, change: str) -> None:
    """For five minutes, and only while the account is what it was."""
    async with people(redis_server, tmp_path) as world:
        secret, _ = await with_code(world)
        pending = await wanted(world)
        if change == "late":
            name = world.access.sign_in._pending_name(pending)
            assert 0 < await world.redis.command("TTL", name) <= 300
            await world.redis.command("DEL", name)
        elif change == "password":
            world.access.accounts.managed = False
            await world.access.accounts.set_password("admin", "another good password", by="x")
        else:
            pending = "A" * 43
        with pytest.raises(Refused):
            await world.access.sign_in.by_code(pending, code_now(world, secret), HERE)


async def test_failures_are_counted_and_told_by_the_next_login(redis_server: RedisServer, tmp_path: Path) -> None:
    """One entry for the burst, not one for each; the login says how many there were."""
    async with people(redis_server, tmp_path) as world:
        for _ in range(ACCOUNT_FREE):
            with pytest.raises(Refused):
                await world.access.sign_in.by_password("admin", "wrong", HERE)
        with pytest.raises(MustWait):
            await world.sign_in()
        world.clock.now_s += 10
        await world.sign_in()

        failures, login = await world.deeds("login", "session")
        assert failures.after == "5 failed sign-ins in this hour, the last from 10.0.0.5 as admin"
        assert login.after == "by password, from 10.0.0.5, after 5 failed tries"


async def test_what_was_typed_as_a_name_is_not_noted(redis_server: RedisServer, tmp_path: Path) -> None:
    """It may be a password in the wrong field."""
    async with people(redis_server, tmp_path) as world:
        for number in range(5):
            with pytest.raises(Refused):
                await world.access.sign_in.by_password(f"canary{number}", "canary", HERE)
        (noted,) = await world.deeds("login")

        assert noted.after.endswith("with an unknown name")
        assert "canary" not in repr(noted)


async def test_the_device_is_remembered(redis_server: RedisServer, tmp_path: Path) -> None:
    """The same one goes on; another account gets another."""
    async with people(redis_server, tmp_path) as world:
        await world.person("ann")
        first = await world.sign_in()
        again = await world.sign_in(where=Where(device=first.device))
        other = await world.sign_in("ann", where=Where(device=first.device))

        assert again.device == first.device
        assert other.device != first.device


async def test_proving_it_again(redis_server: RedisServer, tmp_path: Path) -> None:
    """The own password, counted like a sign-in."""
    async with people(redis_server, tmp_path) as world:
        account = await world.first()
        assert await world.access.sign_in.proves(account, PASSWORD, HERE)
        for _ in range(ACCOUNT_FREE):
            assert not await world.access.sign_in.proves(account, "wrong", HERE)
        with pytest.raises(MustWait):
            await world.access.sign_in.proves(account, PASSWORD, HERE)


async def test_without_redis_nobody_gets_in(redis_server: RedisServer, tmp_path: Path) -> None:
    """Neither with the right password nor with a session."""
    async with people(redis_server, tmp_path) as world:
        signed = await world.sign_in()
        redis_server.kill()
        with pytest.raises(RedisUnavailable):
            await world.sign_in()
        with pytest.raises(RedisUnavailable):
            await world.access.sessions.look(signed.token)
        redis_server.start()
