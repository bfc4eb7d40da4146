"""Sessions on a real Redis: begun, touched, ended for real, and never revived."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.models.people import Role
from app.services.session_rules import Timeouts
from app.services.sessions import AccountChangedError, plain
from app.services.sign_in import Where
from tests.redis_server import RedisServer
from tests.test_services.people_world import HERE, digest, people


async def test_a_session_is_found_by_its_id_alone(redis_server: RedisServer, tmp_path: Path) -> None:
    """Neither its public name nor its digest nor anything near opens it."""
    async with people(redis_server, tmp_path) as world:
        signed = await world.sign_in()
        live = await world.live(signed.token)

        assert (live.account.id, live.record.address, live.record.agent) == ("admin", "10.0.0.5", "Firefox")
        flipped = signed.token[:-1] + ("A" if signed.token[-1] != "A" else "B")
        for other in ("", live.record.id, live.digest, flipped, signed.token + "A", signed.token[:-1], "é" * 43, "*"):
            assert await world.access.sessions.look(other) is None


async def test_the_store_cannot_sign_in(redis_server: RedisServer, tmp_path: Path) -> None:
    """What lies in Redis and on its disk holds neither the id nor the password."""
    async with people(redis_server, tmp_path, password="canary-in-redis-1") as world:
        signed = await world.sign_in(password="canary-in-redis-1")
        await world.redis.command("BGREWRITEAOF")

        assert signed.token.encode() not in world.dump()
        assert b"canary-in-redis-1" not in world.dump()
        assert digest(signed).encode() in world.dump()


async def test_a_new_sign_in_ends_what_the_browser_held(redis_server: RedisServer, tmp_path: Path) -> None:
    """An id from before the login is worth nothing after it; other browsers' sessions stay."""
    async with people(redis_server, tmp_path) as world:
        other, before = await world.sign_in(), await world.sign_in()
        after = await world.sign_in(where=Where(session=digest(before)))

        assert after.token != before.token
        assert await world.access.sessions.look(before.token) is None
        assert await world.access.sessions.look(other.token) is not None


async def test_a_logout_ends_for_real_and_is_noted_once(redis_server: RedisServer, tmp_path: Path) -> None:
    """Ten at the same moment are one logout."""
    async with people(redis_server, tmp_path) as world:
        signed = await world.sign_in()
        live = await world.live(signed.token)
        ended = await asyncio.gather(*(world.access.sessions.end([live], by="admin") for _ in range(10)))

        assert sum(ended) == 1
        assert await world.access.sessions.look(signed.token) is None
        assert await world.told("session") == [("session", "login"), ("session", "logout")]


async def test_a_touch_never_revives(redis_server: RedisServer, tmp_path: Path) -> None:
    """A request that began before the logout writes nothing back."""
    async with people(redis_server, tmp_path) as world:
        signed = await world.sign_in()
        live = await world.live(signed.token)
        await world.access.sessions.end([live], by="admin")

        assert not await world.access.sessions.touch(live, proved=True)
        assert await world.access.sessions.look(signed.token) is None


async def test_touches_are_written_and_never_go_back(redis_server: RedisServer, tmp_path: Path) -> None:
    """The time of the last request, and of the last proof, apart; the rest of the record stays."""
    async with people(redis_server, tmp_path) as world:
        token = (await world.sign_in()).token
        first = await world.live(token)
        world.clock.now_s += 700
        await world.access.sessions.touch(first)
        seen = (await world.live(token)).record
        world.clock.now_s -= 300
        await world.access.sessions.touch(first, proved=True)
        proved = (await world.live(token)).record

        assert seen.seen_s == first.record.seen_s + 700
        assert seen.proved_s == first.record.proved_s
        assert proved.seen_s == seen.seen_s
        assert proved.proved_s == first.record.proved_s + 400
        assert (seen.id, seen.agent, seen.created_s) == (first.record.id, first.record.agent, first.record.created_s)


@pytest.mark.parametrize("change", ["role", "disable", "delete", "password"])
async def test_a_changed_account_ends_its_sessions(redis_server: RedisServer, tmp_path: Path, change: str) -> None:
    """At once, all of them, and nobody else's; an enabled or remade account does not get them back."""
    async with people(redis_server, tmp_path) as world:
        accounts = world.access.accounts
        await world.person("ann")
        ann, admin = await world.sign_in("ann"), await world.sign_in()
        match change:
            case "role":
                await accounts.set_role("ann", Role.OPERATOR, by="admin")
            case "disable":
                await accounts.set_disabled("ann", disabled=True, by="admin")
                await accounts.set_disabled("ann", disabled=False, by="admin")
            case "delete":
                await accounts.delete("ann", by="admin")
                world.clock.now_s += 1
                await world.person("ann")
            case _:
                await accounts.set_password("ann", "another good password", by="ann")

        assert await world.access.sessions.look(ann.token) is None
        assert await world.access.sessions.look(admin.token) is not None


async def test_no_session_for_an_account_that_changes_meanwhile(redis_server: RedisServer, tmp_path: Path) -> None:
    """Between the password and the session somebody disables the account: there is no session, and no deed of one."""
    async with people(redis_server, tmp_path) as world:
        account = await world.person("ann")
        await world.access.accounts.set_disabled("ann", disabled=True, by="admin")

        with pytest.raises(AccountChangedError):
            await world.access.sessions.begin(account, how="password", address="", agent="")
        assert await world.told("session") == []


async def test_lists_and_revoking_of_the_others(redis_server: RedisServer, tmp_path: Path) -> None:
    """Only one's own, the last used first, without what has timed out."""
    async with people(redis_server, tmp_path) as world:
        sessions = world.access.sessions
        await world.person("ann")
        await world.sign_in("ann")
        old = await world.sign_in()
        world.clock.now_s += 1000
        mine = [await world.sign_in() for _ in range(3)]
        listed = await sessions.of_account("admin")
        assert {one.digest for one in listed} == {digest(old), *map(digest, mine)}

        world.clock.now_s += 900
        current = await world.live(mine[0].token)
        await sessions.touch(current)
        listed = await sessions.of_account("admin")
        assert listed[0].digest == current.digest
        assert len(listed) == 3

        await sessions.end([one for one in listed if one.digest != current.digest], by="admin", deed="revoke")
        assert [one.digest for one in await sessions.of_account("admin")] == [current.digest]
        assert (await world.told("session"))[-1] == ("session", "revoke")


async def test_streams_ask_whether_the_session_still_counts(redis_server: RedisServer, tmp_path: Path) -> None:
    """Not after a logout, and not after its time."""
    async with people(redis_server, tmp_path) as world:
        token = (await world.sign_in()).token
        assert await world.access.sessions.still_counts(token)
        world.clock.now_s += world.access.sessions.timeouts.idle_s
        assert not await world.access.sessions.still_counts(token)


async def test_the_store_does_not_fill_up(redis_server: RedisServer, tmp_path: Path) -> None:
    """A sign-in sweeps what has timed out or lost its account, and somebody has fifty sessions at most."""
    async with people(redis_server, tmp_path) as world:
        account = await world.first()
        name = world.redis.keys.people("sessions")
        await world.person("ann")
        await world.sign_in("ann")
        await world.access.accounts.delete("ann", by="admin")
        for _ in range(60):
            await world.access.sessions.begin(account, how="password", address="", agent="")
        assert await world.redis.command("HLEN", name) == 50

        world.access.sessions.timeouts = Timeouts(60, 3600)
        world.clock.now_s += 500
        await world.access.sessions.begin(account, how="password", address="", agent="")
        assert await world.redis.command("HLEN", name) == 1


async def test_what_a_browser_says_of_itself_is_cut(redis_server: RedisServer, tmp_path: Path) -> None:
    """No line break, nothing that turns a line around, no novel."""
    async with people(redis_server, tmp_path) as world:
        signed = await world.sign_in(where=Where(agent="a\r\nb\u202e" + "x" * 999))

        assert (await world.live(signed.token)).record.agent == "ab" + "x" * 195
    assert plain("Mozilla/5.0 (é)") == "Mozilla/5.0 (é)"


async def test_a_damaged_record_opens_nothing(redis_server: RedisServer, tmp_path: Path) -> None:
    """Somebody wrote into the store by hand."""
    async with people(redis_server, tmp_path) as world:
        signed = await world.sign_in(where=HERE)
        name = world.redis.keys.people("sessions")
        await world.redis.command("HSET", name, digest(signed), '{"account":"admin"}')

        assert await world.access.sessions.look(signed.token) is None
