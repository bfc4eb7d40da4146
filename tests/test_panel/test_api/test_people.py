"""Who may sign in, over the admin API."""

from __future__ import annotations

import secrets
from contextlib import closing
from typing import Any

import httpx2
import pytest

from tests.test_panel.conftest import PanelWorld

PATH = "/admin/api/people"


@pytest.fixture
def made(signed_in: httpx2.Client) -> dict[str, Any]:
    """An operator of the test's own, with the password."""
    answer = signed_in.post(PATH, json={"name": f"ann-{secrets.token_hex(4)}", "role": "operator"})
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"{PATH}/{answer.json()['id']}"
    return dict(answer.json())


def deeds(client: httpx2.Client, person: dict[str, Any]) -> list[str]:
    """The oldest first; all by the administrator, none with the password."""
    answer = client.get("/admin/api/audit", params={"kind": "account", "on": person["id"]})
    found = answer.json()["data"]
    assert all(one["by"].startswith("admin (panel, ") for one in found)
    assert person["password"] not in answer.text
    return [one["deed"] for one in reversed(found)]


def test_an_account_is_made_and_its_password_told_once(
    signed_in: httpx2.Client, panel_world: PanelWorld, made: dict[str, Any]
) -> None:
    """It signs in with it, in its role, and sees no people."""
    with closing(panel_world.sign_in(made["name"], made["password"])) as ann:
        assert ann.get("/session-info").json()["role"] == "operator"
        assert ann.get(PATH).status_code == 403
    shown = signed_in.get(f"{PATH}/{made['id']}")
    assert shown.json() == {name: value for name, value in made.items() if name != "password"}
    assert shown.headers["etag"] == f'"{made["rev"]}"'
    assert made["password"] not in signed_in.get(PATH, params={"limit": 500}).text
    assert deeds(signed_in, made) == ["create"]


def test_a_creation_is_repeated_without_the_password(signed_in: httpx2.Client) -> None:
    """The same key is one account."""
    name, key = f"once-{secrets.token_hex(4)}", {"idempotency-key": secrets.token_hex(8)}
    first = signed_in.post(PATH, json={"name": name, "role": "viewer"}, headers=key)
    again = signed_in.post(PATH, json={"name": name, "role": "viewer"}, headers=key)
    assert (again.status_code, again.json()) == (200, {"id": first.json()["id"], "name": name})
    assert signed_in.post(PATH, json={"name": name, "role": "viewer"}).status_code == 422


def test_role_and_leave_are_two_deeds(signed_in: httpx2.Client, panel_world: PanelWorld, made: dict[str, Any]) -> None:
    """What is so already is none; an old revision changes nothing."""
    place, seen = f"{PATH}/{made['id']}", {"if-match": f'"{made["rev"]}"'}
    after = signed_in.patch(place, json={"role": "viewer", "disabled": True}, headers=seen)
    assert (after.json()["role"], after.json()["disabled"]) == ("viewer", True)
    assert signed_in.patch(place, json={"role": "admin"}, headers=seen).status_code == 412
    assert signed_in.patch(place, json={"role": "viewer"}).json()["rev"] == after.json()["rev"]
    with httpx2.Client(base_url=panel_world.origin, headers={"sec-fetch-site": "same-origin"}) as ann:
        told = ann.post("/login", data={"username": made["name"], "password": made["password"]})
        assert told.status_code == 401
    assert signed_in.patch(place, json={"disabled": False}).json()["disabled"] is False
    assert deeds(signed_in, made) == ["create", "role", "disable", "enable"]


def test_a_new_password_ends_what_was(signed_in: httpx2.Client, panel_world: PanelWorld, made: dict[str, Any]) -> None:
    """The old one is worth nothing, nor a session begun with it."""
    with closing(panel_world.sign_in(made["name"], made["password"])) as ann:
        answer = signed_in.post(f"{PATH}/{made['id']}/password")
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
        assert ann.get("/check-auth").status_code == 401
    with closing(panel_world.sign_in(made["name"], answer.json()["password"])) as ann:
        assert ann.get("/check-auth").status_code == 200
    assert deeds(signed_in, made | answer.json()) == ["create", "password"]


def test_lost_factors_and_the_end(signed_in: httpx2.Client, made: dict[str, Any]) -> None:
    """Where there are no factors to take away, that is no deed."""
    place = f"{PATH}/{made['id']}"
    assert signed_in.delete(f"{place}/factors").json()["second_factor"] is False
    assert signed_in.delete(place).status_code == 204
    assert signed_in.get(place).status_code == 404
    assert deeds(signed_in, made) == ["create", "delete"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "", {"role": "viewer"}),
        ("PATCH", "", {"disabled": True}),
        ("POST", "/password", None),
        ("DELETE", "/factors", None),
        ("DELETE", "", None),
    ],
)
def test_nobody_changes_their_own_account(signed_in: httpx2.Client, method: str, path: str, body: Any) -> None:
    """The panel is for that."""
    answer = signed_in.request(method, f"{PATH}/admin{path}", json=body)

    assert answer.status_code == 422
    assert "own account" in answer.json()["detail"]


@pytest.mark.parametrize(
    "body", [{"name": "a/b", "role": "viewer"}, {"name": "admin", "role": "viewer"}, {"name": "x", "role": "root"}, {}]
)
def test_what_is_not_made(signed_in: httpx2.Client, body: dict[str, str]) -> None:
    """In words."""
    answer = signed_in.post(PATH, json=body)

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
