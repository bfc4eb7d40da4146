"""Who may sign in, as administrators decide it on a page."""

from __future__ import annotations

import re
from pathlib import Path

import httpx2
import pytest

from app.models.people import Role
from tests.redis_server import RedisServer
from tests.test_core.conftest import redis_server
from tests.test_panel.access_world import doors, told
from tests.test_services.people_world import PASSWORD
from tests.test_services.test_passkeys import added
from tests.test_services.test_sign_in import with_code

__all__ = ["redis_server"]
PAGE = "/admin/people"
DEEDS = ["role", "disable", "enable", "password", "factors", "delete"]


def shown(page: httpx2.Response) -> str:
    """The password that the page shows once."""
    return re.search(r'<p class="secret"><code>([^<]+)</code>', page.text)[1]


async def test_an_account_is_made_and_its_password_shown_once(redis_server: RedisServer, tmp_path: Path) -> None:
    """It signs in with it, in its role; no later page knows it."""
    async with doors(redis_server, tmp_path) as world:
        admin = await world.signed_in()
        page = await admin.post(PAGE, data={"name": "Ann", "role": "operator"})
        password = shown(page)
        ann = await world.signed_in("ann", password)
        assert "operator" in told(await ann.get("/admin/account"))
        assert password not in (await admin.get(PAGE)).text
        assert (await ann.get(PAGE)).status_code == 403
        deeds = await world.people.deeds("account")
        assert deeds[-1].by.startswith("admin (panel, 10.0.0.5, ")
        assert password not in repr(deeds)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"name": "admin", "role": "viewer"}, "There is an account of that name."),
        ({"name": "a/b", "role": "viewer"}, "A name has"),
        ({"name": "", "role": "viewer"}, "A name has"),
        ({"name": "ann", "role": "root"}, "Choose a role"),
        ({"name": "ann"}, "Choose a role"),
        ({"name": "<script>", "role": "viewer"}, "A name has"),
    ],
)
async def test_what_is_not_made(
    redis_server: RedisServer, tmp_path: Path, fields: dict[str, str], sentence: str
) -> None:
    """In words, on the page."""
    async with doors(redis_server, tmp_path) as world:
        answer = await (await world.signed_in()).post(PAGE, data=fields)

        assert (answer.status_code, sentence in told(answer)) == (422, True)
        assert len(await world.people.deeds("account")) == 1


async def test_a_role_is_changed_and_the_person_signs_in_again(redis_server: RedisServer, tmp_path: Path) -> None:
    """What they held is over at once; what they do next is in the new role."""
    async with doors(redis_server, tmp_path) as world:
        admin, ann = await world.signed_in(), await world.signed_in("ann", role=Role.ADMIN)
        assert (await ann.get(PAGE)).status_code == 200
        await admin.post(f"{PAGE}/ann/role", data={"role": "viewer"})
        assert (await ann.get(PAGE)).status_code == 303
        assert (await (await world.signed_in("ann")).get(PAGE)).status_code == 403


async def test_an_account_is_disabled_enabled_and_deleted(redis_server: RedisServer, tmp_path: Path) -> None:
    """With its sessions; each deed once in the audit."""
    async with doors(redis_server, tmp_path) as world:
        admin, ann = await world.signed_in(), await world.signed_in("ann", role=Role.VIEWER)
        await admin.post(f"{PAGE}/ann/disable")
        assert (await ann.get("/admin/account")).status_code == 303
        assert "disabled" in told(await admin.get(PAGE))
        await admin.post(f"{PAGE}/ann/enable")
        await world.signed_in("ann")
        await admin.post(f"{PAGE}/ann/delete")
        assert "ann" not in told(await admin.get(PAGE)).split()
        deeds = [deed.deed for deed in await world.people.deeds("account") if deed.id == "ann"]
        assert deeds == ["create", "disable", "enable", "delete"]


async def test_a_new_password_for_somebody_who_lost_theirs(redis_server: RedisServer, tmp_path: Path) -> None:
    """And the other factors taken away."""
    async with doors(redis_server, tmp_path) as world:
        admin = await world.signed_in()
        await world.people.person("ann")
        await added(world.people, "ann")
        page = await admin.post(f"{PAGE}/ann/password")
        await world.signed_in("ann", shown(page))
        assert "1 passkey" in told(await admin.get(PAGE))
        await admin.post(f"{PAGE}/ann/factors")
        assert "1 passkey" not in told(await admin.get(PAGE))
        answer = await world.browser().post("/login", data={"username": "ann", "password": PASSWORD})
        assert answer.status_code == 401


@pytest.mark.parametrize("deed", DEEDS)
async def test_every_deed_asks_who_one_is(redis_server: RedisServer, tmp_path: Path, deed: str) -> None:
    """Ten minutes after the last proof nothing happens without a new one."""
    async with doors(redis_server, tmp_path) as world:
        admin = await world.signed_in()
        await world.people.person("ann")
        world.later(600)
        for path in (PAGE, f"{PAGE}/ann/{deed}"):
            answer = await admin.post(path, data={"role": "admin", "name": "eve"})
            assert answer.headers["location"] == "/admin/confirm?next=%2Fadmin%2Fpeople"
        assert len(await world.people.deeds("account")) == 2


@pytest.mark.parametrize("deed", ["role", "disable", "delete"])
async def test_the_first_administrator_stays(redis_server: RedisServer, tmp_path: Path, deed: str) -> None:
    """Another administrator cannot shut everybody out; nor anybody themselves."""
    async with doors(redis_server, tmp_path) as world:
        other = await world.signed_in("eve", role=Role.ADMIN)
        for account in ("admin", "eve"):
            answer = await other.post(f"{PAGE}/{account}/{deed}", data={"role": "viewer"})
            assert answer.status_code == 422
        assert len(await world.people.deeds("account")) == 2


@pytest.mark.parametrize("deed", DEEDS)
async def test_nobody_less_does_any_of_it(redis_server: RedisServer, tmp_path: Path, deed: str) -> None:
    """403, and nothing has changed."""
    async with doors(redis_server, tmp_path) as world:
        for name, role in (("vic", Role.VIEWER), ("olga", Role.OPERATOR)):
            client = await world.signed_in(name, role=role)
            assert (await client.post(f"{PAGE}/admin/{deed}", data={"role": "viewer"})).status_code == 403
            assert (await client.post(PAGE, data={"name": "x", "role": "admin"})).status_code == 403
        assert len(await world.people.deeds("account")) == 3


async def test_the_page_shows_how_everybody_signs_in(redis_server: RedisServer, tmp_path: Path) -> None:
    """And no secret; what is not there is 404."""
    async with doors(redis_server, tmp_path) as world:
        admin = await world.signed_in()
        await with_code(world.people)
        page = await admin.get(PAGE)
        assert "password + code" in told(page)
        assert "argon2" not in page.text
        assert (await admin.post(f"{PAGE}/ann/nope")).status_code == 404
        assert (await admin.post(f"{PAGE}/nobody/disable")).status_code == 404
