"""One's own account, as a browser without scripts uses it."""

from __future__ import annotations

import re
from pathlib import Path

import httpx2
import pytest

from app.models.people import Role
from app.services.totp import code_at
from tests.redis_server import RedisServer
from tests.test_core.conftest import redis_server
from tests.test_panel.access_world import Doors, doors, told
from tests.test_services.people_world import PASSWORD
from tests.test_services.test_sign_in import with_code

__all__ = ["redis_server"]
PAGE = "/admin/account"
NEW = "another good password"


async def do(client: httpx2.AsyncClient, deed: str, **fields: str) -> httpx2.Response:
    return await client.post(f"{PAGE}/{deed}", data=fields)


async def test_the_page_lists_the_own_sessions(redis_server: RedisServer, tmp_path: Path) -> None:
    """With browser, address and time; this one is marked; others' are not there; no id that opens anything."""
    async with doors(redis_server, tmp_path) as world:
        other = await world.signed_in("ann", role=Role.VIEWER)
        mine = await world.signed_in()
        second = world.browser("10.0.0.99", **{"user-agent": "<b>Phone</b>"})
        await second.post("/login", data={"username": "admin", "password": PASSWORD})
        page = await mine.get(PAGE)

        assert told(page).count("this one") == 1
        assert "10.0.0.99" in page.text
        assert "&lt;b&gt;Phone&lt;/b&gt;" in page.text
        assert page.text.count("/admin/account/end-session") == 2
        for client in (mine, second, other):
            assert client.cookies["session"] not in page.text


async def test_one_session_or_all_others_are_ended(redis_server: RedisServer, tmp_path: Path) -> None:
    """At once; this one goes on; somebody else's cannot be named."""
    async with doors(redis_server, tmp_path) as world:
        ann = await world.signed_in("ann", role=Role.VIEWER)
        annes = re.search(r'name="session" value="(\w+)"', (await ann.get(PAGE)).text)[1]
        mine, second, third = [await world.signed_in() for _ in range(3)]
        listed = (await mine.get(PAGE)).text
        seconds = re.search(r'name="session" value="(\w+)"', (await second.get(PAGE)).text)
        ids = set(re.findall(r'name="session" value="(\w+)"', listed))
        assert len(ids) == 3
        assert seconds is not None
        await do(mine, "end-session", session=annes)
        assert (await ann.get(PAGE)).status_code == 200
        await do(mine, "end-others")
        assert [(await client.get(PAGE)).status_code for client in (mine, second, third)] == [200, 303, 303]
        await do(mine, "end-session", session=next(iter(ids & set(re.findall(r"\w{8}", (await mine.get(PAGE)).text)))))
        assert (await mine.get(PAGE)).status_code == 303
        deeds = [deed for deed in await world.people.deeds("session") if deed.deed == "revoke"]
        assert [deed.name for deed in deeds] == ["admin", "admin"]


async def test_the_own_password_is_changed(redis_server: RedisServer, tmp_path: Path) -> None:
    """Every session ends; the old one is worth nothing; bad ones are refused in words."""
    async with doors(redis_server, tmp_path) as world:
        ann = await world.signed_in("ann", role=Role.VIEWER)
        other = await world.signed_in("ann")
        for fields, sentence in (
            ({"password": "short", "again": "short"}, "at least 10 characters"),
            ({"password": NEW, "again": NEW + "x"}, "not the same"),
        ):
            answer = await do(ann, "password", **fields)
            assert (answer.status_code, sentence in told(answer)) == (422, True)
        answer = await do(ann, "password", password=NEW, again=NEW)
        assert answer.headers["location"] == "/login"
        assert [(await client.get(PAGE)).status_code for client in (ann, other)] == [303, 303]
        assert (await ann.post("/login", data={"username": "ann", "password": PASSWORD})).status_code == 401
        await world.signed_in("ann", NEW)


async def test_the_password_of_the_environment_stays(redis_server: RedisServer, tmp_path: Path) -> None:
    """The page says where it is changed."""
    async with doors(redis_server, tmp_path) as world:
        mine = await world.signed_in()
        assert "ADMIN_PASSWORD" in (await mine.get(PAGE)).text
        assert (await do(mine, "password", password=NEW, again=NEW)).status_code == 422


async def test_codes_are_set_up_without_a_script(redis_server: RedisServer, tmp_path: Path) -> None:
    """A picture made of numbers, the secret as text, a wrong code, a right one, recovery codes once."""
    async with doors(redis_server, tmp_path) as world:
        mine = await world.signed_in()
        before = await mine.get(PAGE)
        assert "<svg" not in before.text.partition('role="img"')[2][:200]
        page = await do(mine, "code-setup")
        assert re.search(r'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \d+ \d+" class="qr"><path', page.text)
        assert "style=" not in page.text
        secret = re.search(r"<code>([A-Z2-7]{32})</code>", page.text)[1]
        wrong = await do(mine, "code-on", code="000000")
        assert (wrong.status_code, secret in wrong.text, "This code is wrong" in wrong.text) == (422, True, True)
        done = await do(mine, "code-on", code=code_at(secret, int(world.people.clock.now_s // 30)))
        codes = re.findall(r"<li>([a-z2-9]{4}(?:-[a-z2-9]{4}){2})</li>", done.text)
        assert len(codes) == 10
        after = await mine.get(PAGE)
        assert secret not in after.text
        assert not [code for code in codes if code in after.text]
        assert "10 recovery codes are left" in told(after)
        renewed = await do(mine, "recovery-codes")
        assert not set(codes) & set(re.findall(r"<li>([a-z2-9-]{14})</li>", renewed.text))
        assert (await do(mine, "code-off")).headers["location"] == "/login"
        await world.signed_in()


@pytest.mark.parametrize("deed", ["password", "code-setup", "code-on", "code-off", "recovery-codes", "passkey-off"])
async def test_what_concerns_signing_in_asks_who_one_is(redis_server: RedisServer, tmp_path: Path, deed: str) -> None:
    """Ten minutes after the last proof; the deed has not happened."""
    async with doors(redis_server, tmp_path) as world:
        mine = await world.signed_in()
        world.later(600)
        answer = await do(mine, deed, password=NEW, again=NEW, code="1", passkey="x")
        assert answer.headers["location"] == "/admin/confirm?next=%2Fadmin%2Faccount"
        assert len(await world.people.deeds("account")) == 1


async def test_proving_it_again(redis_server: RedisServer, tmp_path: Path) -> None:
    """With the password, within waits as at the login; then it holds for ten minutes, in this session only."""
    async with doors(redis_server, tmp_path) as world:
        mine, other = await world.signed_in(), await world.signed_in()
        world.later(600)
        assert "Prove it" in told(await mine.get(PAGE))
        wrong = await mine.post("/admin/confirm", data={"password": "wrong", "next": PAGE})
        assert (wrong.status_code, "The password is wrong" in wrong.text) == (401, True)
        assert (await do(mine, "code-setup")).status_code == 303
        right = await mine.post("/admin/confirm", data={"password": PASSWORD, "next": "//evil.example"})
        assert right.headers["location"] == "/admin"
        assert (await do(mine, "code-setup")).status_code == 200
        assert (await do(other, "code-setup")).status_code == 303
        world.later(600)
        assert (await do(mine, "code-setup")).status_code == 303
        for _ in range(5):
            await mine.post("/admin/confirm", data={"password": "wrong"})
        assert (await mine.post("/admin/confirm", data={"password": PASSWORD})).status_code == 429
        assert 'name="password"' in (await mine.get("/admin/confirm?next=/admin/tokens")).text


async def test_looking_changes_nothing(redis_server: RedisServer, tmp_path: Path) -> None:
    """GET of every page of signing in writes nothing into the store."""
    async with doors(redis_server, tmp_path) as world:
        mine = await world.signed_in()
        await with_code(world.people)

        async def state() -> dict[bytes, bytes]:
            names = await world.people.redis.command("KEYS", "*")
            return {name: await world.people.redis.command("DUMP", name) for name in names}

        await mine.get(PAGE)  # the one look in a minute that is noted
        before = await state()
        for path in (PAGE, "/admin/people", "/admin/tokens", "/admin/confirm", "/login", "/login/code", "/logout"):
            for client in (mine, world.browser()):
                assert (await client.get(path)).status_code < 500
        assert await state() == before


async def test_unknown_deeds(redis_server: RedisServer, tmp_path: Path) -> None:
    """404, as for any page that is not there."""
    async with doors(redis_server, tmp_path) as world:
        assert (await do(await world.signed_in(), "nope")).status_code == 404
        assert Doors.__doc__
