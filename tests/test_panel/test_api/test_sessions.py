"""Who is signed in, over the admin API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import httpx2
import pytest

from tests.test_panel.conftest import PanelWorld
from tests.test_panel.keys_world import running_world

PATH = "/admin/api/sessions"


@pytest.fixture(scope="module")
def world() -> Iterator[PanelWorld]:
    """One of its own: others' sessions must outlive these tests."""
    with running_world() as found:
        yield found


@pytest.fixture
def admin(world: PanelWorld) -> Iterator[httpx2.Client]:
    """The only one who is signed in."""
    with closing(world.sign_in()) as client:
        client.post(f"{PATH}/end-everybody")
        yield client


def add(admin: httpx2.Client, world: PanelWorld, name: str) -> httpx2.Client:
    """A viewer who is signed in."""
    made = admin.post("/admin/api/people", json={"name": name, "role": "viewer"}).json()
    return world.sign_in(name, made["password"])


def gone(client: httpx2.Client) -> bool:
    return client.get("/check-auth").status_code == 401


def revoked(client: httpx2.Client, name: str) -> int:
    """How often the audit holds that sessions of somebody were ended by the administrator."""
    found = client.get("/admin/api/audit", params={"kind": "session", "deed": "revoke"}).json()["data"]
    return sum(one["by"].startswith("admin (panel, ") and one["name"] == name for one in found)


def test_ones_own_sessions(world: PanelWorld, admin: httpx2.Client) -> None:
    """The one that asks is marked, another is ended, once; what opens a session is nowhere."""
    with closing(world.sign_in()) as other:
        before = revoked(admin, "admin")
        answer = admin.get(PATH)
        (second,) = [one for one in answer.json()["data"] if not one["current"]]
        assert len(answer.json()["data"]) == 2
        assert (second["account"], second["how"], second["address"]) == ("admin", "password", "127.0.0.1")
        for client in (admin, other):
            assert not any(str(cookie.value) in answer.text for cookie in client.cookies.jar)
        assert admin.delete(f"{PATH}/{second['id']}").status_code == 204
        assert gone(other)
        assert admin.delete(f"{PATH}/{second['id']}").status_code == 404
        assert revoked(admin, "admin") == before + 1


def test_all_others_of_ones_own(world: PanelWorld, admin: httpx2.Client) -> None:
    """Not those of other people."""
    with closing(world.sign_in()) as one, closing(world.sign_in()) as two, closing(add(admin, world, "vera")) as vera:
        assert admin.post(f"{PATH}/end-others").json() == {"ended": 2}
        assert (gone(one), gone(two), gone(vera), gone(admin)) == (True, True, False, False)
        assert admin.post(f"{PATH}/end-others").json() == {"ended": 0}


def test_only_administrators_see_and_end_others(world: PanelWorld, admin: httpx2.Client) -> None:
    """Somebody else's session is not there for a viewer."""
    with closing(add(admin, world, "vic")) as vic:
        (own,) = vic.get(PATH).json()["data"]
        everybody = admin.get(PATH, params={"everybody": True}).json()["data"]
        (mine,) = [one for one in everybody if one["current"]]
        assert {one["name"] for one in everybody} == {"admin", "vic"}
        assert vic.get(PATH, params={"everybody": True}).status_code == 403
        assert vic.delete(f"{PATH}/{mine['id']}").status_code == 404
        assert vic.post(f"{PATH}/end-everybody").status_code == 403
        assert admin.delete(f"{PATH}/{own['id']}").status_code == 204
        assert gone(vic)
        assert revoked(admin, "vic") == 1


def test_everybody_is_signed_out(world: PanelWorld, admin: httpx2.Client) -> None:
    """But who asks: one deed for each account."""
    with closing(world.sign_in()) as one, closing(add(admin, world, "eva")) as eva:
        assert admin.post(f"{PATH}/end-everybody").json() == {"ended": 2}
        assert (gone(one), gone(eva), gone(admin)) == (True, True, False)
        assert revoked(admin, "eva") == 1


def test_the_list_is_paged(world: PanelWorld, admin: httpx2.Client) -> None:
    """The newest first, each once."""
    with closing(world.sign_in()), closing(world.sign_in()):
        first = admin.get(PATH, params={"limit": 2}).json()
        second = admin.get(PATH, params={"limit": 2, "after": first["next"]}).json()
        assert len({one["id"] for one in first["data"] + second["data"]}) == 3
        assert second["next"] == ""
