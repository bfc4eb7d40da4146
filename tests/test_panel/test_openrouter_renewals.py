"""The deeds of a management key on one key: rotate after a plan, retire, revoke, take back, adopt, release, cap."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.test_panel.keys_world import PAGES, Key, KeysWorld, running_world, upstream, wait_until

ROTATION = f"{PAGES}/rotation"


@pytest.fixture(scope="module")
def managed_world() -> Iterator[KeysWorld]:
    """A gateway with a management key on file."""
    with running_world() as world:
        world.add("boss", management=True)
        yield world


def successor(world: KeysWorld, label: str, old: Key) -> list[dict[str, Any]]:
    """The key of this label that is another one than the old."""
    found = world.http.get("/admin/api/openrouter-keys", params={"q": label}).json()["data"]
    return [one for one in found if one["label"] in (label, f"{label} (new)") and one["id"] != old.id]


def test_the_plan_comes_first(managed_world: KeysWorld) -> None:
    """Every step in words, and nothing has happened."""
    key = managed_world.add("planned", limit=10)
    before = len(managed_world.simulator.control("keys"))
    page = managed_world.get(f"{key.path}/rotate")
    for text in ("Nothing has happened yet.", "Create “planned #", "Give it 10 % → 25 % → 50 % → 100 %", "Wait 24 h"):
        assert text in page
    assert len(managed_world.simulator.control("keys")) == before
    assert [deed for deed, _, _ in managed_world.deeds(key)] == ["add"]


def test_a_key_is_rotated(managed_world: KeysWorld) -> None:
    """A new key takes its place, the old one goes, here and at OpenRouter."""
    world = managed_world
    key = world.add("turning", fields={"tags": "turning"}, limit=10)
    answer = world.post(f"{key.path}/rotate", stage_s="0", quarantine_h="0")
    assert "The rotation of turning has begun." in world.told(answer)
    wait_until(lambda: world.http.get(key.path).status_code == 404, within_s=30, what="the end of the old key")
    (new,) = successor(world, "turning", key)
    assert (new["tags"], new["limit_nano"]) == (["turning"], 10_000_000_000)
    assert upstream(world, key)["deleted"]
    wait_until(lambda: "Done in the last months" in world.get(ROTATION), what="the journal")
    deeds = [deed for deed, _, _ in world.deeds(key)]
    assert len([deed for deed in deeds if deed == "renew: create"]) == 1


def test_a_rotation_is_taken_back(managed_world: KeysWorld) -> None:
    """As long as nothing was deleted; a second deed on the same key is refused meanwhile."""
    world = managed_world
    key = world.add("turned back")
    world.post(f"{key.path}/rotate", stage_s="3600", quarantine_h="1")
    wait_until(lambda: successor(world, "turned back", key), what="the successor")
    assert "A deed on this key is under way" in world.get(key.path)
    again = world.post(f"{key.path}/rotate", stage_s="0")
    assert again.status_code == 422
    assert "under way" in again.text
    assert "Take back" in world.get(ROTATION)
    assert "It is being taken back." in world.told(world.post(f"{key.path}/undo"))
    wait_until(lambda: not successor(world, "turned back", key), within_s=20, what="the way back")
    wait_until(lambda: world.record(key)["weight"] == 100, what="its weight")
    assert "No renewal of this key can be taken back" in world.told(world.post(f"{key.path}/undo"))


@pytest.mark.parametrize("fields", [{"stage_s": "x"}, {"stage_s": "999999"}, {"quarantine_h": "-1"}])
def test_a_pace_is_a_number(managed_world: KeysWorld, fields: dict[str, str]) -> None:
    """Anything else begins nothing."""
    key = managed_world.add(f"pace {fields}")
    answer = managed_world.post(f"{key.path}/rotate", **fields)
    assert answer.status_code == 422
    assert "The pace must be" in answer.text


def test_a_key_that_nobody_administers(managed_world: KeysWorld) -> None:
    """Of another account: the plan says what is missing."""
    key = managed_world.add("foreign", account="user_sim_foreign")
    answer = managed_world.http.get(f"{key.path}/rotate")
    assert answer.status_code == 422
    assert "No management key on file knows this key" in answer.text
    assert "No management key" in managed_world.told(managed_world.post(f"{key.path}/adopt"))


def test_a_key_is_retired(managed_world: KeysWorld) -> None:
    """After its name was typed; it is deleted after its quarantine."""
    world = managed_world
    key = world.add("retiring")
    assert "Retire retiring?" in world.get(f"{key.path}/retire")
    assert world.post(f"{key.path}/retire", typed="retirin").status_code == 422
    assert "taken out of use" in world.told(world.post(f"{key.path}/retire", typed="retiring", quarantine_h="0"))
    wait_until(lambda: world.http.get(key.path).status_code == 404, within_s=20, what="its end")
    assert upstream(world, key)["deleted"]


def test_a_leaked_key_is_revoked(managed_world: KeysWorld) -> None:
    """Off at OpenRouter and here, for good."""
    world = managed_world
    key = world.add("leaked")
    assert world.post(f"{key.path}/revoke", typed="").status_code == 422
    assert "is revoked, here and at OpenRouter." in world.told(world.post(f"{key.path}/revoke", typed="leaked"))
    assert upstream(world, key)["disabled"]
    assert world.record(key)["state"] == "revoked"
    assert "stays so" in world.http.post(f"{key.path}/enable", data={}).text
    assert [deed for deed, _, _ in world.deeds(key)].count("revoked") == 1


def test_a_revocation_that_openrouter_does_not_do(managed_world: KeysWorld) -> None:
    """Is told plainly: the key is still good there."""
    key = managed_world.add("leaked abroad", account="user_sim_abroad")
    told = managed_world.told(managed_world.post(f"{key.path}/revoke", typed="leaked abroad"))
    assert "revoked here only" in told
    assert managed_world.record(key)["state"] == "revoked"


def test_adopt_release_and_cap(managed_world: KeysWorld) -> None:
    """Each once in the audit; the limit is set at OpenRouter."""
    world = managed_world
    key = world.add("managed one")
    assert "is managed now" in world.told(world.post(f"{key.path}/adopt"))
    assert "managed one" in world.get(ROTATION).partition("Managed keys")[2].partition("Differences")[0]
    assert "Release" in world.get(key.path)
    assert "is set at OpenRouter" in world.told(world.post(f"{key.path}/cap", limit="$7.50", reset="weekly"))
    assert (upstream(world, key)["limit"], upstream(world, key)["limit_reset"]) == ("7.5", "weekly")
    for limit, reset in (("much", ""), ("1", "hourly")):
        assert "must be an amount" in world.told(world.post(f"{key.path}/cap", limit=limit, reset=reset))
    world.post(f"{key.path}/cap", limit="", reset="")
    assert upstream(world, key)["limit"] is None
    assert "only by hand" in world.told(world.post(f"{key.path}/release"))
    assert [(deed, after) for deed, _, after in world.deeds(key)][1:] == [
        ("adopt", ""), ("cap", "$7.50 weekly"), ("cap", "no limit"), ("release", ""),
    ]  # fmt: skip
