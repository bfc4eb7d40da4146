"""Passkeys by a software authenticator, on a real Redis."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from app.models.people import Role
from app.services.key_names import KeyRefused, NoSuchKey
from app.services.passkeys import PasskeyRefused, Site
from tests.redis_server import RedisServer
from tests.software_key import SoftwareKey
from tests.test_services.people_world import People, people

ORIGIN = "https://gw.example:8443"
SITE = Site(ORIGIN)


async def added(world: People, name: str = "admin", **key: Any) -> SoftwareKey:
    made = SoftwareKey(ORIGIN, **key)
    passkeys, account = world.access.passkeys, await world.access.accounts.get(name)
    await passkeys.add(SITE, account, "laptop", made.register(await passkeys.offer(SITE, account)), by=name)
    return made


def test_a_site_is_its_host() -> None:
    """Without its port: that is how browsers bind passkeys."""
    assert SITE.id == "gw.example"
    assert Site("http://localhost:8080").id == "localhost"


async def test_a_passkey_is_added_and_recognised(redis_server: RedisServer, tmp_path: Path) -> None:
    """By itself, without a name; each addition is one deed, a use none."""
    async with people(redis_server, tmp_path) as world:
        key, counting = await added(world), await added(world, counts=True)
        for one in (key, counting, counting):
            options = await world.access.passkeys.ask(SITE, "login")
            assert options["userVerification"] == "required"
            owner = await world.access.passkeys.recognise(SITE, "login", one.answer(options))
            assert owner.id == "admin"
        assert [deed.deed for deed in await world.deeds("account")] == ["create", "passkey added", "passkey added"]
        assert {passkey.sign_count for passkey in (await world.first()).passkeys} == {0, 2}


async def test_a_challenge_is_good_once_for_its_purpose(redis_server: RedisServer, tmp_path: Path) -> None:
    """Not a second time, not for another purpose, not one of our own making."""
    async with people(redis_server, tmp_path) as world:
        key, passkeys = await added(world), world.access.passkeys
        answer = key.answer(await passkeys.ask(SITE, "login"))
        await passkeys.recognise(SITE, "login", answer)
        with pytest.raises(PasskeyRefused):
            await passkeys.recognise(SITE, "login", answer)
        with pytest.raises(PasskeyRefused):
            await passkeys.recognise(SITE, "confirm admin", key.answer(await passkeys.ask(SITE, "login")))
        for made_up in ("AAAA", "A" * 43, "A" * 86):
            with pytest.raises(PasskeyRefused):
                await passkeys.recognise(SITE, "login", key.answer({"challenge": made_up, "rpId": SITE.id}))
        late = key.answer(await passkeys.ask(SITE, "login"))
        world.clock.now_s += 300
        with pytest.raises(PasskeyRefused):
            await passkeys.recognise(SITE, "login", late)


async def test_asking_fills_nothing(redis_server: RedisServer, tmp_path: Path) -> None:
    """Anybody may ask, as often as they like."""
    async with people(redis_server, tmp_path) as world:
        before = await world.redis.command("DBSIZE")
        for _ in range(20):
            await world.access.passkeys.ask(SITE, "login")
        assert await world.redis.command("DBSIZE") == before


async def test_the_same_answer_at_the_same_moment(redis_server: RedisServer, tmp_path: Path) -> None:
    """Is taken once."""
    async with people(redis_server, tmp_path) as world:
        key, passkeys = await added(world), world.access.passkeys
        answer = key.answer(await passkeys.ask(SITE, "login"))
        tries = (passkeys.recognise(SITE, "login", answer) for _ in range(5))
        found = await asyncio.gather(*tries, return_exceptions=True)
        assert sum(not isinstance(one, PasskeyRefused) for one in found) == 1


@pytest.mark.parametrize("fault", ["origin", "site", "unverified", "stranger", "signature", "copy"])
async def test_what_is_refused(redis_server: RedisServer, tmp_path: Path, fault: str) -> None:
    """Another site's, one without its person, one nobody knows, a forged one, a copy that counts less."""
    async with people(redis_server, tmp_path) as world:
        key = await added(world, counts=True)
        passkeys = world.access.passkeys
        await passkeys.recognise(SITE, "login", key.answer(await passkeys.ask(SITE, "login")))
        options = await passkeys.ask(SITE, "login")
        if fault == "origin":
            key.origin = "https://gw.example.evil.test"
        if fault == "unverified":
            key.verified = False
        if fault == "copy":
            key.count -= 1
        answer = key.answer(options, "evil.test" if fault == "site" else "")
        if fault == "stranger":
            answer = SoftwareKey(ORIGIN).answer(options)
        if fault == "signature":
            answer["response"]["signature"] = SoftwareKey(ORIGIN).answer(options)["response"]["signature"]
        with pytest.raises(PasskeyRefused):
            await passkeys.recognise(SITE, "login", answer)


@pytest.mark.parametrize(
    "sent",
    [
        None,
        7,
        "x",
        {},
        {"response": {}},
        {"response": {"clientDataJSON": "%%"}},
        {"response": {"clientDataJSON": "e30"}},
        {"id": [], "response": {"clientDataJSON": "eyJjaGFsbGVuZ2UiOjF9"}},
    ],
)
async def test_nonsense_is_refused(redis_server: RedisServer, tmp_path: Path, sent: Any) -> None:
    """Whatever a program sends instead."""
    async with people(redis_server, tmp_path) as world:
        with pytest.raises(PasskeyRefused):
            await world.access.passkeys.recognise(SITE, "login", sent)
        with pytest.raises(PasskeyRefused):
            await world.access.passkeys.add(SITE, await world.first(), "x", sent, by="admin")


async def test_to_prove_oneself_takes_an_own_one(redis_server: RedisServer, tmp_path: Path) -> None:
    """Somebody else's passkey proves nothing of me; a disabled account's opens nothing."""
    async with people(redis_server, tmp_path) as world:
        ann = await world.person("ann", Role.OPERATOR)
        mine, theirs = await added(world), await added(world, "ann")
        passkeys, me = world.access.passkeys, await world.first()
        options = await passkeys.ask(SITE, "confirm admin", me)
        assert [one["id"] for one in options["allowCredentials"]] == [passkey.id for passkey in me.passkeys]
        with pytest.raises(PasskeyRefused):
            await passkeys.recognise(SITE, "confirm admin", theirs.answer(options), me)
        options = await passkeys.ask(SITE, "confirm admin", me)
        assert (await passkeys.recognise(SITE, "confirm admin", mine.answer(options), me)).id == "admin"
        await world.access.accounts.set_disabled(ann.id, disabled=True, by="admin")
        with pytest.raises(PasskeyRefused):
            await passkeys.recognise(SITE, "login", theirs.answer(await passkeys.ask(SITE, "login")))


async def test_adding_and_removing(redis_server: RedisServer, tmp_path: Path) -> None:
    """The same one twice is refused, to another account too; a challenge for Ann adds nothing to me; gone is gone."""
    async with people(redis_server, tmp_path) as world:
        ann, passkeys = await world.person("ann"), world.access.passkeys
        key = await added(world)
        for account in (await world.first(), ann):
            again = key.register(await passkeys.offer(SITE, account))
            with pytest.raises(KeyRefused):
                await passkeys.add(SITE, account, "again", again, by="x")
        other, me = SoftwareKey(ORIGIN).register(await passkeys.offer(SITE, ann)), await world.first()
        with pytest.raises(PasskeyRefused):
            await passkeys.add(SITE, me, "x", other, by="x")
        await passkeys.remove(me, me.passkeys[0].id, by="admin")
        with pytest.raises(NoSuchKey):
            await passkeys.remove(me, me.passkeys[0].id, by="admin")
        with pytest.raises(PasskeyRefused):
            await passkeys.recognise(SITE, "login", key.answer(await passkeys.ask(SITE, "login")))
