"""Admin tokens on their page, and below the API."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.models.people import Role
from tests.redis_server import RedisServer
from tests.test_core.conftest import redis_server
from tests.test_panel.access_world import doors, told

__all__ = ["redis_server"]
PAGE = "/admin/tokens"
CI = {"name": "ci <b>", "role": "viewer", "days": "30"}
TOKEN = re.compile(r"gwa_[0-9A-Za-z]{49}")


async def test_a_token_is_shown_once(redis_server: RedisServer, tmp_path: Path) -> None:
    """In the answer that made it; the list has its end, its last use, and its name as text."""
    async with doors(redis_server, tmp_path) as world:
        admin = await world.signed_in()
        assert "No tokens yet" in told(await admin.get(PAGE))
        token = TOKEN.search((await admin.post(PAGE, data=CI)).text)[0]
        listed = await admin.get(PAGE)
        assert token not in listed.text
        assert f"gwa_…{token[-4:]}" in listed.text
        assert "ci &lt;b&gt;" in listed.text
        assert "never" in told(listed)
        assert await world.people.access.tokens.person(token, "") is not None
        assert "never" not in told(await admin.get(PAGE)).partition("Deeds")[2]


async def test_a_token_opens_no_page(redis_server: RedisServer, tmp_path: Path) -> None:
    """Only the API, where it needs no origin."""
    async with doors(redis_server, tmp_path) as world:
        admin = await world.signed_in()
        token = TOKEN.search((await admin.post(PAGE, data=CI)).text)[0]
        program = world.browser(authorization=f"Bearer {token}")
        assert (await program.get(PAGE)).status_code == 303
        assert (await program.get("/admin/account")).status_code == 303
        answer = await program.post("/admin/api/nothing-here", headers={"sec-fetch-site": "cross-site"})
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "fields", [CI | {"role": "root"}, CI | {"days": "x"}, CI | {"days": "9999"}, CI | {"name": ""}, {}]
)
async def test_what_is_not_made(redis_server: RedisServer, tmp_path: Path, fields: dict[str, str]) -> None:
    """In words."""
    async with doors(redis_server, tmp_path) as world:
        answer = await (await world.signed_in()).post(PAGE, data=fields)

        assert answer.status_code == 422
        assert 'role="alert"' in answer.text
        assert await world.people.told("admin token") == []


async def test_nobody_gives_more_than_they_have(redis_server: RedisServer, tmp_path: Path) -> None:
    """A viewer makes tokens for viewers, sees only those, and revokes no other."""
    async with doors(redis_server, tmp_path) as world:
        admin, vic = await world.signed_in(), await world.signed_in("vic", role=Role.VIEWER)
        await admin.post(PAGE, data=CI)
        page = await vic.get(PAGE)
        assert re.findall(r'<option value="(\w+)">', page.text.partition('id="role"')[2].partition("</select>")[0]) == [
            "viewer"
        ]
        assert "ci" not in told(page)
        assert (await vic.post(PAGE, data=CI | {"role": "operator"})).status_code == 422
        (theirs,) = await world.people.access.tokens.of_account("admin")
        assert (await vic.post(f"{PAGE}/{theirs.id}/revoke")).status_code == 404
        assert (await vic.post(PAGE, data=CI)).status_code == 200
        (vics,) = await world.people.access.tokens.of_account("vic")
        assert (await admin.post(f"{PAGE}/{vics.id}/revoke")).status_code == 303
        assert await world.people.access.tokens.of_account("vic") == []


async def test_making_one_asks_who_one_is(redis_server: RedisServer, tmp_path: Path) -> None:
    """A browser left alone makes no key for later."""
    async with doors(redis_server, tmp_path) as world:
        admin = await world.signed_in()
        world.later(600)
        assert (await admin.post(PAGE, data=CI)).headers["location"] == "/admin/confirm?next=%2Fadmin%2Ftokens"
        assert await world.people.told("admin token") == []
