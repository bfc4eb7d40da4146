"""Differences to OpenRouter's lists, over the admin API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.test_panel.keys_world import Key, KeysWorld, running_world, upstream

API = "/admin/api"


@pytest.fixture(scope="module")
def managed_world() -> Iterator[KeysWorld]:
    """A gateway with a management key on file."""
    with running_world() as world:
        world.add("boss", management=True)
        yield world


def drift(world: KeysWorld, key: Key) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after = ""
    while True:
        page = world.http.get(f"{API}/drift", params={"limit": 3, "after": after}).json()
        found += page["data"]
        if not (after := page["next"]):
            return [one for one in found if one["key"] == key.id]


def settle(world: KeysWorld, one: dict[str, Any]) -> int:
    body = {name: one[name] for name in ("key", "drift", "action")}
    return int(world.http.post(f"{API}/drift/settle", json=body).status_code)


def test_differences_have_one_action_each(managed_world: KeysWorld) -> None:
    """Done once, and in the audit once."""
    world = managed_world
    key = world.add("api drifting", limit=10, limit_reset="monthly")
    (found,) = drift(world, key)
    assert (found["drift"], found["action"], found["by_hand"]) == ("not_managed", "adopt", False)
    assert settle(world, found) == 200
    assert settle(world, found) == 404
    (managed,) = [one for one in world.http.get(f"{API}/rotation/managed").json()["data"] if one["id"] == key.id]
    assert (managed["label"], managed["limit_nano"], managed["reset"]) == ("api drifting", 10_000_000_000, "monthly")
    world.simulator.control("keys", {"key": key.secret, "limit": 99})
    (found,) = drift(world, key)
    assert found["what"] == "Its limit is 99 USD monthly, not 10 USD monthly."
    assert settle(world, found) == 200
    assert upstream(world, key)["limit"] == "10"
    assert drift(world, key) == []
    assert [deed for deed, _, _ in world.deeds(key)] == ["add", "drift: adopt", "drift: restore_limit"]


def test_what_only_people_can_settle(managed_world: KeysWorld) -> None:
    """Nobody here has the secret."""
    key = Key(managed_world.new_secret(name="api stranger"), "x")
    (found,) = drift(managed_world, key)
    assert found["by_hand"]
    assert settle(managed_world, found) == 422


def test_openrouter_away(managed_world: KeysWorld) -> None:
    """Is told as what it is: nothing of the gateway's."""
    then = [{"status": 503, "times": 9, "path": "/keys"}]
    managed_world.simulator.control("script", {"key": "*", "then": then})
    try:
        answer = managed_world.http.get(f"{API}/drift")
        assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (502, "openrouter")
    finally:
        managed_world.simulator.forget_scripts()
