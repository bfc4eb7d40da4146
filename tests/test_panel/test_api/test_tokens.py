"""Admin tokens over the admin API itself."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx2
import pytest

from tests.test_panel.conftest import PanelWorld

PATH = "/admin/api/tokens"


def make(client: httpx2.Client, role: str = "viewer", days: int = 30, **headers: str) -> httpx2.Response:
    body = {"name": f"ci-{secrets.token_hex(4)}", "role": role, "days": days}
    return client.post(PATH, json=body, headers=headers)


def by_token(world: PanelWorld, token: str) -> httpx2.Client:
    return httpx2.Client(base_url=world.origin, headers={"authorization": f"Bearer {token}"}, timeout=20)


@pytest.fixture
def viewer(signed_in: httpx2.Client, panel_world: PanelWorld) -> Iterator[httpx2.Client]:
    """A session of somebody who may only look."""
    made = signed_in.post("/admin/api/people", json={"name": f"vic-{secrets.token_hex(4)}", "role": "viewer"}).json()
    with closing(panel_world.sign_in(made["name"], made["password"])) as client:
        yield client


def deeds(client: httpx2.Client, name: str) -> list[tuple[str, str]]:
    found = client.get("/admin/api/audit", params={"kind": "admin token", "on": name}).json()["data"]
    return [(one["deed"], one["by"].partition(" ")[0]) for one in found]


def test_a_token_is_told_once_and_opens_the_api(signed_in: httpx2.Client, panel_world: PanelWorld) -> None:
    """No list has it, a replay neither; revoked, it is nobody's. Each deed is noted once."""
    key, body = secrets.token_hex(8), {"name": f"ci-{secrets.token_hex(4)}", "role": "viewer", "days": 30}
    first = signed_in.post(PATH, json=body, headers={"idempotency-key": key})
    again = signed_in.post(PATH, json=body, headers={"idempotency-key": key})
    made: dict[str, Any] = first.json()
    token = made.pop("token")
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == {"id": made["id"], "name": body["name"]}
    place = first.headers["location"]
    assert (signed_in.get(place).json() | {"last_used_at": None}) == made
    assert token not in signed_in.get(PATH, params={"limit": 500}).text
    with by_token(panel_world, token) as program:
        assert program.get("/admin/api/client-keys").status_code == 200
        assert program.post("/admin/api/client-keys", json={"name": "x"}).status_code == 403
        assert signed_in.get(place).json()["last_used_at"] is not None
        assert signed_in.delete(place).status_code == 204
        assert program.get("/admin/api/client-keys").status_code == 401
    assert signed_in.delete(place).status_code == 404
    assert deeds(signed_in, body["name"]) == [("revoke", "admin"), ("create", "admin")]


@pytest.mark.parametrize(
    ("change", "field"),
    [({"role": "root"}, "role"), ({"days": 0}, "days"), ({"days": 366}, "days"), ({"name": ""}, "name")],
)
def test_what_is_not_made(signed_in: httpx2.Client, change: dict[str, Any], field: str) -> None:
    """The field is named."""
    answer = signed_in.post(PATH, json={"name": "x", "role": "viewer", "days": 1} | change)

    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_nobody_gives_more_than_they_have(signed_in: httpx2.Client, viewer: httpx2.Client) -> None:
    """A viewer makes tokens for viewers, and knows no other's."""
    theirs = make(signed_in).json()
    assert make(viewer, "operator").status_code == 422
    own = make(viewer).json()
    assert [one["id"] for one in viewer.get(PATH).json()["data"]] == [own["id"]]
    assert viewer.get(f"{PATH}/{theirs['id']}").status_code == 404
    assert viewer.delete(f"{PATH}/{theirs['id']}").status_code == 404
    assert signed_in.delete(f"{PATH}/{own['id']}").status_code == 204
    assert viewer.get(PATH).json()["data"] == []


def test_a_token_makes_no_greater_one(signed_in: httpx2.Client, panel_world: PanelWorld) -> None:
    """It may not more than itself though its owner may, lives no longer, and knows none that may more."""
    admins = make(signed_in, "admin").json()
    parent = make(signed_in, "operator", 10).json()
    with by_token(panel_world, parent["token"]) as program:
        assert make(program, "admin", 1).status_code == 422
        assert "lives longer" in make(program, "viewer", 11).json()["detail"]
        child = make(program, "operator", 5)
        assert (child.status_code, child.json()["account"]) == (201, "admin")
        assert admins["id"] not in {one["id"] for one in program.get(PATH, params={"limit": 500}).json()["data"]}
        assert program.delete(f"{PATH}/{admins['id']}").status_code == 404
        assert program.delete(f"{PATH}/{child.json()['id']}").status_code == 204
        assert program.delete(f"{PATH}/{parent['id']}").status_code == 204
        assert program.get(PATH).status_code == 401
    signed_in.delete(f"{PATH}/{admins['id']}")


def test_the_list_is_paged(signed_in: httpx2.Client) -> None:
    """Each of them once."""
    made = {make(signed_in).json()["id"] for _ in range(3)}
    seen, after = [], ""
    while True:
        page = signed_in.get(PATH, params={"limit": 2, "after": after}).json()
        seen += [one["id"] for one in page["data"]]
        if not (after := page["next"]):
            break
    assert made <= set(seen)
    assert len(set(seen)) == len(seen)
    for one in made:
        signed_in.delete(f"{PATH}/{one}")
