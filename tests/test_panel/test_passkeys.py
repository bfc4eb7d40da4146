"""Passkeys over the routes that the script uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.redis_server import RedisServer
from tests.software_key import SoftwareKey
from tests.test_core.conftest import redis_server
from tests.test_panel.access_world import doors

__all__ = ["redis_server"]
ORIGIN = "http://gw.local"


async def post(client: httpx2.AsyncClient, path: str, **sent: Any) -> httpx2.Response:
    return await client.post(path, json=sent)


async def added(client: httpx2.AsyncClient) -> SoftwareKey:
    key = SoftwareKey(ORIGIN)
    options = (await post(client, "/admin/account/passkeys/options")).json()
    answer = await post(client, "/admin/account/passkeys/add", name="laptop", credential=key.register(options))
    assert answer.json() == {"go": "/admin/account"}
    return key


async def answered(client: httpx2.AsyncClient, key: SoftwareKey, purpose: str, **more: str) -> httpx2.Response:
    options = (await post(client, "/login/passkey/options", purpose=purpose)).json()
    return await post(client, "/login/passkey", purpose=purpose, credential=key.answer(options), **more)


async def test_a_passkey_signs_in(redis_server: RedisServer, tmp_path: Path) -> None:
    """Without name and password; to an own page only."""
    async with doors(redis_server, tmp_path) as world:
        key = await added(await world.signed_in())
        client = world.browser()
        answer = await answered(client, key, "login", next="//evil.example")
        assert answer.json() == {"go": "/admin"}
        assert "laptop" in (await client.get("/admin/account")).text
        (login, other) = await world.people.deeds("session")
        assert other.after == "by passkey, from 10.0.0.5"
        assert login.after == "by password, from 10.0.0.5"


async def test_a_passkey_proves_who_one_is(redis_server: RedisServer, tmp_path: Path) -> None:
    """As the password does, and only for who is signed in."""
    async with doors(redis_server, tmp_path) as world:
        mine = await world.signed_in()
        key = await added(mine)
        world.later(600)
        assert (await mine.post("/admin/account/code-setup")).status_code == 303
        assert (await answered(mine, key, "confirm", next="/admin/tokens")).json() == {"go": "/admin/tokens"}
        assert (await mine.post("/admin/account/code-setup")).status_code == 200
        assert (await post(world.browser(), "/login/passkey/options", purpose="confirm")).status_code == 401


async def test_what_is_refused(redis_server: RedisServer, tmp_path: Path) -> None:
    """An unknown one, one for another address, a challenge of another purpose: no session, no proof."""
    async with doors(redis_server, tmp_path) as world:
        mine = await world.signed_in()
        key = await added(mine)
        client = world.browser()
        for wrong in (SoftwareKey(ORIGIN), SoftwareKey("http://evil.example")):
            assert (await answered(client, wrong, "login")).status_code == 401
        options = (await post(mine, "/login/passkey/options", purpose="login")).json()
        world.later(600)
        crossed = await post(mine, "/login/passkey", purpose="confirm", credential=key.answer(options))
        assert crossed.status_code == 401
        assert (await mine.post("/admin/account/code-setup")).status_code == 303
        assert (await client.get("/admin/account")).status_code == 303


@pytest.mark.parametrize("path", ["/admin/account/passkeys/options", "/admin/account/passkeys/add"])
async def test_adding_one_asks_who_one_is(redis_server: RedisServer, tmp_path: Path, path: str) -> None:
    """A browser left alone gets no key for later; nobody gets one at all."""
    async with doors(redis_server, tmp_path) as world:
        mine = await world.signed_in()
        world.later(600)
        assert (await post(mine, path, name="x", credential={})).status_code == 403
        assert (await post(world.browser(), path)).status_code == 303


@pytest.mark.parametrize(("body", "status"), [(b"[]", 400), (b"x", 400), (b"\xff", 400), (b"a" * 70_000, 413)])
async def test_nonsense(redis_server: RedisServer, tmp_path: Path, body: bytes, status: int) -> None:
    """Refused before anything is asked."""
    async with doors(redis_server, tmp_path) as world:
        for path in ("/login/passkey/options", "/login/passkey"):
            assert (await world.browser().post(path, content=body)).status_code == status


async def test_removing_one(redis_server: RedisServer, tmp_path: Path) -> None:
    """By a plain form; it opens nothing any more."""
    async with doors(redis_server, tmp_path) as world:
        mine = await world.signed_in()
        key = await added(mine)
        account = await world.people.first()
        await mine.post("/admin/account/passkey-off", data={"passkey": account.passkeys[0].id})
        assert (await answered(world.browser(), key, "login")).status_code == 401
