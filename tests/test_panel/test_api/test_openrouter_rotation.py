"""What a renewal would do, and keys made at OpenRouter, over the admin API."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from tests.test_panel.keys_world import KeysWorld, running_world, wait_until

API = "/admin/api"


@pytest.fixture(scope="module")
def managed_world() -> Iterator[KeysWorld]:
    """A gateway with a management key on file."""
    with running_world() as world:
        world.add("boss", management=True)
        yield world


def boss(world: KeysWorld) -> str:
    listed = world.http.get(f"{API}/openrouter-keys", params={"q": "boss"}).json()["data"]
    return str(next(one["id"] for one in listed if one["kind"] == "management"))


def journal(world: KeysWorld, **wanted: Any) -> list[dict[str, Any]]:
    return list(world.http.get(f"{API}/rotation", params=wanted).json()["data"])


def test_a_plan_changes_nothing(managed_world: KeysWorld) -> None:
    """Every step in words; a key that nobody administers has none."""
    key = managed_world.add("api planned", limit=10)
    before = len(managed_world.simulator.control("keys"))
    told = managed_world.http.post(f"{API}/rotation/plan", json={"key": key.id}).json()
    assert told["steps"][0]["step"] == "create"
    assert told["steps"][-1]["what"].startswith("Delete ")
    assert (told["stage_s"], told["quarantine_h"]) == (60, 24)
    assert len(managed_world.simulator.control("keys")) == before
    assert [deed for deed, _, _ in managed_world.deeds(key)] == ["add"]
    foreign = managed_world.add("api foreign", account="user_sim_foreign")
    answer = managed_world.http.post(f"{API}/rotation/plan", json={"key": foreign.id})
    assert (answer.status_code, "No management key" in answer.json()["detail"]) == (422, True)
    assert managed_world.http.post(f"{API}/rotation/plan", json={"key": "nobody"}).status_code == 404


def test_a_key_is_made_once_at_openrouter(managed_world: KeysWorld) -> None:
    """However often the request is sent; it comes into the pool by itself, and is in the journal."""
    world, once = managed_world, {"idempotency-key": secrets.token_hex(8)}
    body = {
        "name": "api made", "admin": boss(world), "limit_nano": 5_000_000_000, "reset": "daily", "days": 30,
    }  # fmt: skip
    first = world.http.post(f"{API}/rotation/create", json=body, headers=once)
    again = world.http.post(f"{API}/rotation/create", json=body, headers=once)
    assert (first.status_code, first.json()["kind"], first.json()["open"]) == (202, "create", True)
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])

    def there() -> list[dict[str, Any]]:
        found = world.http.get(f"{API}/openrouter-keys", params={"q": "api made"}).json()["data"]
        return [one for one in found if one["limit_reset"]]

    (made,) = wait_until(there, what="the new key")
    assert (made["limit_nano"], made["limit_reset"]) == (5_000_000_000, "daily")
    (done,) = wait_until(lambda: journal(world, open=False, key=made["id"]), what="the end")
    assert {one["state"] for one in done["steps"]} == {"done"}
    assert (done["id"], done["step"], done["may_undo"]) == (first.json()["id"], "done", False)
    assert done["by"].startswith("admin (panel, ")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": " "}, "name"), ({"name": "a\u2028b"}, "name"), ({"limit_nano": -1}, "limit_nano"),
        ({"reset": "hourly"}, "reset"), ({"days": 0}, "days"), ({"admin": "nobody"}, "admin"),
        ({"secret": "x"}, "secret"),
    ],
)  # fmt: skip
def test_what_cannot_be_made(managed_world: KeysWorld, change: dict[str, Any], field: str) -> None:
    """The field is named, and nothing is begun."""
    before = len(journal(managed_world))
    body = {"name": "x", "admin": boss(managed_world)} | change
    answer = managed_world.http.post(f"{API}/rotation/create", json=body)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert len(journal(managed_world)) == before


def test_only_a_management_key_makes_keys(managed_world: KeysWorld) -> None:
    """Any other is refused with a sentence."""
    key = managed_world.add("api no boss")
    answer = managed_world.http.post(f"{API}/rotation/create", json={"name": "x", "admin": key.id})
    assert (answer.status_code, "not an enabled management key" in answer.json()["detail"]) == (422, True)
