"""Client keys over the admin API."""

from __future__ import annotations

import secrets
import time
from typing import Any

import httpx2
import pytest

from tests.test_panel.conftest import PanelWorld

PATH = "/admin/api/client-keys"


@pytest.fixture
def made(signed_in: httpx2.Client) -> dict[str, Any]:
    """A client key of the test's own."""
    answer = signed_in.post(PATH, json={"name": f"c-{secrets.token_hex(4)}", "owner": "ana"})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_a_key_is_made_with_everything(signed_in: httpx2.Client, panel_world: PanelWorld) -> None:
    """Its secret is in this answer alone, and calls run with it."""
    body = {
        "name": f"whole-{secrets.token_hex(4)}",
        "owner": "ana",
        "tags": [],
        "note": "for tests",
        "models_allowed": ["openai/*"],
        "endpoints": ["chat"],
        "limits": [
            {"unit": "usd", "span": "month", "size": 20_000_000_000},
            {"unit": "requests", "span": "minute", "size": 60, "models": "openai/*", "shadow": True},
        ],
        "injections": [{"field": "user", "value": '"team-a"', "enforced": True}],
        "clamp": True,
        "expires_at": time.time() + 3600,
    }
    answer = signed_in.post(PATH, json=body)
    found = answer.json()
    assert answer.status_code == 201, found
    assert answer.headers["location"] == f"{PATH}/{found['id']}"
    shown = signed_in.get(answer.headers["location"])
    assert found.pop("key").startswith("gw_live_")
    assert shown.json() == found
    assert shown.headers["etag"] == answer.headers["etag"]
    assert (found["limits"][1]["models"], found["clamp"], found["models_allowed"]) == ("openai/*", True, ["openai/*"])
    budgets = signed_in.get(f"{PATH}/{found['id']}/budgets").json()
    assert [(one["limit"]["span"], one["used_nano"]) for one in budgets] == [("month", 0)]
    panel_world.clients[body["name"]] = answer.json()["key"]
    assert panel_world.call(body["name"])["object"] == "chat.completion"


def test_a_change_needs_the_revision_that_was_seen(signed_in: httpx2.Client, made: dict[str, Any]) -> None:
    """Two people at the same key: the second one is told, and nothing is lost."""
    place, tag = f"{PATH}/{made['id']}", f'"{made["rev"]}"'
    first = signed_in.patch(place, json={"note": "first"}, headers={"if-match": tag})
    second = signed_in.patch(place, json={"note": "second"}, headers={"if-match": tag})

    assert (first.status_code, second.status_code) == (200, 412)
    assert signed_in.get(place).json()["note"] == "first"
    assert signed_in.delete(place, headers={"if-match": tag}).status_code == 412
    assert signed_in.patch(place, json={"note": "third"}).status_code == 200, "who names no revision means any"


def test_null_takes_away_what_can_be_without(signed_in: httpx2.Client, made: dict[str, Any]) -> None:
    """An expiry goes; what must have a value stays as it is."""
    place = f"{PATH}/{made['id']}"
    assert signed_in.patch(place, json={"expires_at": time.time() + 99}).json()["expires_at"]
    after = signed_in.patch(place, json={"expires_at": None, "owner": None}).json()

    assert (after["expires_at"], after["owner"]) == (None, "ana")


def test_a_key_is_switched_off_and_on(signed_in: httpx2.Client, made: dict[str, Any], panel_world: PanelWorld) -> None:
    """In the promised paths; calls feel it."""
    place = f"{PATH}/{made['id']}"
    call = {"authorization": f"Bearer {made['key']}"}
    assert signed_in.patch(f"{place}/deactivate").json()["state"] == "disabled"
    assert httpx2.get(f"{panel_world.gateway.base_url}/models", headers=call).status_code in (401, 403)
    assert signed_in.patch(f"{place}/reactivate").json()["state"] == "enabled"
    assert httpx2.get(f"{panel_world.gateway.base_url}/models", headers=call).status_code == 200


def test_a_secret_is_replaced(signed_in: httpx2.Client, made: dict[str, Any]) -> None:
    """Both are listed until the old one ends."""
    answer = signed_in.post(f"{PATH}/{made['id']}/rotate", json={"overlap_s": 3600}).json()

    assert answer["key"] != made["key"]
    assert [old["masked"] for old in answer["old_keys"]] == [made["masked"]]


def test_a_limit_is_raised_for_a_time(signed_in: httpx2.Client, made: dict[str, Any]) -> None:
    """It falls back by itself."""
    place = f"{PATH}/{made['id']}"
    signed_in.patch(place, json={"limits": [{"unit": "usd", "span": "day", "size": 10**9}]})
    until = float(int(time.time()) + 600)
    after = signed_in.post(f"{place}/raise", json={"limit": "usd/day", "size": "5", "until": until}).json()

    assert (after["limits"][0]["raised_to"], after["limits"][0]["raised_until"]) == (5 * 10**9, until)


def test_revoked_is_for_good(signed_in: httpx2.Client, made: dict[str, Any]) -> None:
    """Deleted, it is not there."""
    place = f"{PATH}/{made['id']}"
    assert signed_in.patch(place, json={"state": "revoked"}).json()["state"] == "revoked"
    assert signed_in.patch(place, json={"state": "enabled"}).status_code == 422
    assert signed_in.delete(place).status_code == 204
    assert signed_in.get(place).status_code == 404
    assert signed_in.delete(place).status_code == 404


def test_lists_are_filtered_and_paged(signed_in: httpx2.Client) -> None:
    """By owner under its promised name too."""
    owner = f"o-{secrets.token_hex(4)}"
    for number in range(5):
        signed_in.post(PATH, json={"name": f"{owner}-{number}", "owner": owner})
    first = signed_in.get(PATH, params={"user_id": owner, "limit": 3}).json()
    second = signed_in.get(PATH, params={"user_id": owner, "limit": 3, "after": first["next"]}).json()

    assert [one["name"][-1] for one in first["data"] + second["data"]] == ["4", "3", "2", "1", "0"]
    assert second["next"] == ""
    assert signed_in.get(PATH, params={"state": "revoked", "q": owner}).json()["data"] == []


def test_each_deed_is_once_in_the_audit(
    signed_in: httpx2.Client, made: dict[str, Any], panel_world: PanelWorld
) -> None:
    """With who did it."""
    signed_in.patch(f"{PATH}/{made['id']}", json={"note": "n"})
    signed_in.delete(f"{PATH}/{made['id']}")
    import json

    listed = json.loads(panel_world.gateway.cli("audit", "list", "--on", made["id"], "--json").stdout)
    assert [one["deed"] for one in listed] == ["delete", "update", "create"]
    assert all(one["by"].startswith("admin (panel, 127.0.0.1, ") for one in listed)


def test_the_same_deed_on_many(signed_in: httpx2.Client) -> None:
    """What is revoked stays so, and is told; each change is noted once."""
    ids = [signed_in.post(PATH, json={"name": f"many-{secrets.token_hex(4)}"}).json()["id"] for _ in range(2)]

    def do(deed: str, *more: str) -> tuple[int, set[str]]:
        answer = signed_in.post(f"{PATH}/bulk", json={"ids": [*ids, *more], "deed": deed})
        assert answer.status_code == 200, answer.text
        return answer.json()["done"], {one["id"] for one in answer.json()["not_done"]}

    assert do("disable", "nobody", ids[0]) == (2, {"nobody"})
    assert do("enable") == (2, set())
    assert do("revoke") == (2, set())
    assert do("enable") == (0, set(ids))
    assert {signed_in.get(f"{PATH}/{one}").json()["state"] for one in ids} == {"revoked"}
    found = signed_in.get("/admin/api/audit", params={"on": ids[0]}).json()["data"]
    assert [one["deed"] for one in found] == ["revoked", "enabled", "disabled", "create"]
    for body in ({"ids": [], "deed": "enable"}, {"ids": ids, "deed": "burn"}, {"ids": ["x"] * 1001, "deed": "enable"}):
        assert signed_in.post(f"{PATH}/bulk", json=body).status_code == 422
