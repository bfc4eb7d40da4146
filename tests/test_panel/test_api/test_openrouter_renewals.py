"""What a management key does with one key, over the admin API."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.test_panel.keys_world import Key, KeysWorld, running_world, upstream, wait_until

PATH = "/admin/api/openrouter-keys"


@pytest.fixture(scope="module")
def managed_world() -> Iterator[KeysWorld]:
    """A gateway with a management key on file."""
    with running_world() as world:
        world.add("boss", management=True)
        yield world


def post(world: KeysWorld, key: Key, deed: str, body: Any = None, **headers: str) -> httpx2.Response:
    return world.http.post(f"{PATH}/{key.id}/{deed}", json=body, headers=headers)


def gone(world: KeysWorld, key: Key) -> bool:
    return world.http.get(f"{PATH}/{key.id}").status_code == 404


def entries(world: KeysWorld, key: Key) -> list[dict[str, Any]]:
    return list(world.http.get("/admin/api/rotation", params={"key": key.id}).json()["data"])


def test_a_key_is_rotated_once(managed_world: KeysWorld) -> None:
    """However often the request is sent: the new key is there, the old one gone, here and at OpenRouter."""
    world = managed_world
    key = world.add("api turning", fields={"tags": "turning"}, limit=10)
    pace, once = {"stage_s": 0, "quarantine_h": 0}, {"idempotency-key": secrets.token_hex(8)}
    assert post(world, key, "rotate", pace, **{"if-match": '"99"'}).status_code == 412
    first, again = post(world, key, "rotate", pace, **once), post(world, key, "rotate", pace, **once)
    assert (first.status_code, first.json()["kind"], first.json()["key"]) == (202, "renew", key.id)
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    wait_until(lambda: gone(world, key), within_s=30, what="the end of the old key")
    (entry,) = entries(world, key)
    new = world.http.get(f"{PATH}/{entry['successor']}").json()
    assert (new["tags"], new["limit_nano"]) == (["turning"], 10_000_000_000)
    assert upstream(world, key)["deleted"]
    assert [deed for deed, _, _ in world.deeds(key)].count("renew: create") == 1


def test_a_rotation_is_taken_back(managed_world: KeysWorld) -> None:
    """As long as nothing was deleted; a second deed on the same key is refused meanwhile."""
    world = managed_world
    key = world.add("api turned back")
    assert post(world, key, "rotate", {"stage_s": 3600}).status_code == 202
    wait_until(lambda: entries(world, key)[0]["step"] == "shift", what="the successor")
    assert "under way" in post(world, key, "retire").json()["detail"]
    assert entries(world, key)[0]["may_undo"]
    assert post(world, key, "undo").json()["step"] == "undo"
    wait_until(lambda: entries(world, key)[0]["step"] == "undone", within_s=20, what="the way back")
    assert entries(world, key)[0]["reason"].startswith("taken back by admin (panel, ")
    assert post(world, key, "undo").status_code == 422


@pytest.mark.parametrize(
    ("body", "field"), [({"stage_s": 86_401}, "stage_s"), ({"quarantine_h": -1}, "quarantine_h"), ({"fast": 1}, "fast")]
)
def test_a_pace_has_bounds(managed_world: KeysWorld, body: dict[str, Any], field: str) -> None:
    """Anything else begins nothing."""
    key = managed_world.add(f"api pace {field}")
    answer = post(managed_world, key, "rotate", body)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert entries(managed_world, key) == []


def test_a_key_is_retired(managed_world: KeysWorld) -> None:
    """In the end it is deleted."""
    key = managed_world.add("api retiring")
    assert post(managed_world, key, "retire", {"quarantine_h": 0}).status_code == 202
    wait_until(lambda: gone(managed_world, key), within_s=20, what="its end")
    assert upstream(managed_world, key)["deleted"]


def test_a_leaked_key_is_revoked(managed_world: KeysWorld) -> None:
    """Off at OpenRouter and here, for good; each noted once."""
    key = managed_world.add("api leaked")
    answer = post(managed_world, key, "revoke")
    assert (answer.status_code, answer.json()["open"]) == (200, False)
    assert upstream(managed_world, key)["disabled"]
    assert managed_world.record(key)["state"] == "revoked"
    assert [deed for deed, _, _ in managed_world.deeds(key)].count("revoked") == 1


def test_a_revocation_that_openrouter_does_not_do(managed_world: KeysWorld) -> None:
    """Is told plainly: 202, and why."""
    key = managed_world.add("api leaked abroad", account="user_sim_abroad")
    answer = post(managed_world, key, "revoke")
    assert (answer.status_code, answer.json()["open"]) == (202, True)
    assert answer.json()["problem"] == "no management key on file knows this key"
    assert managed_world.record(key)["state"] == "revoked"


def test_adopt_cap_and_release(managed_world: KeysWorld) -> None:
    """Each once in the audit, in the words of the page; the limit is set at OpenRouter."""
    world = managed_world
    key = world.add("api managed")
    assert post(world, key, "adopt").json()["label"] == "api managed"
    capped = post(world, key, "cap", {"limit_nano": 7_500_000_000, "reset": "weekly"}).json()
    assert (capped["limit_nano"], capped["reset"]) == (7_500_000_000, "weekly")
    assert (upstream(world, key)["limit"], upstream(world, key)["limit_reset"]) == ("7.5", "weekly")
    assert post(world, key, "cap", {"limit_nano": None, "reset": "weekly"}).json()["reset"] == ""
    assert upstream(world, key)["limit"] is None
    assert post(world, key, "release").status_code == 204
    managed = world.http.get("/admin/api/rotation/managed", params={"limit": 500}).json()["data"]
    assert key.id not in {one["id"] for one in managed}
    assert [(deed, after) for deed, _, after in world.deeds(key)][1:] == [
        ("adopt", ""), ("cap", "$7.50 weekly"), ("cap", "no limit"), ("release", ""),
    ]  # fmt: skip


@pytest.mark.parametrize("body", [{}, {"limit_nano": -1}, {"limit_nano": 1.5}, {"limit_nano": 1, "reset": "hourly"}])
def test_a_limit_is_an_amount(managed_world: KeysWorld, body: dict[str, Any]) -> None:
    """In whole nano-dollars."""
    key = managed_world.add(f"api limit {secrets.token_hex(3)}")
    assert post(managed_world, key, "cap", body).status_code == 422


@pytest.mark.parametrize("deed", ["rotate", "retire", "adopt"])
def test_a_key_that_nobody_administers(managed_world: KeysWorld, deed: str) -> None:
    """What is missing is said; nothing is noted."""
    key = managed_world.add(f"api foreign {deed}", account="user_sim_foreign")
    answer = post(managed_world, key, deed)
    assert (answer.status_code, "No management key" in answer.json()["detail"]) == (422, True)
    assert [one for one, _, _ in managed_world.deeds(key)] == ["add"]


@pytest.mark.parametrize("deed", ["rotate", "retire", "revoke", "undo", "adopt", "release", "cap"])
def test_an_id_and_no_other_name(managed_world: KeysWorld, deed: str) -> None:
    """Programs should not guess."""
    body = {"limit_nano": 1} if deed == "cap" else None
    for name in ("boss", "nobody"):
        assert managed_world.http.post(f"{PATH}/{name}/{deed}", json=body).status_code == 404
