"""The journal of renewals, and what is managed, over the admin API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from app.models.keys import OpenRouterKey
from app.models.renewal import Entry, Kind, Pace, Step
from app.panel.api.openrouter_journal import entry_out
from app.services.renewal_plan import opened
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


def entry(step: Step, kind: Kind = Kind.RENEW, **more: Any) -> Entry:
    record = OpenRouterKey(id="a" * 64, sealed="canary-sealed", masked="sk-or-…aaaa")
    return opened(kind, now_s=5.0, by="ana", pace=Pace(), record=record, step=step, **more)


@pytest.mark.parametrize(
    ("step", "kind", "told"),
    [
        (Step.CREATE, Kind.CREATE, "create:now guard:to_come verify:to_come introduce:to_come"),
        (Step.DISABLE, Kind.RETIRE, "drain:done disable:now quarantine:to_come delete:to_come"),
        (Step.DONE, Kind.RETIRE, "drain:done disable:done quarantine:done delete:done"),
        (Step.CLEAR, Kind.RENEW, "undo:done clear:now"),
        (Step.UNDONE, Kind.RENEW, "undo:done clear:done"),
        (Step.REVOKE, Kind.REVOKE, "revoke:now"),
    ],
)
def test_steps_are_told(step: Step, kind: Kind, told: str) -> None:
    """What was done, what is done now, what is to come; on the way back the steps of that."""
    shown = entry_out(entry(step, kind, sealed="canary-sealed"))
    assert " ".join(f"{one.step}:{one.state}" for one in shown.steps) == told
    assert "canary" not in shown.model_dump_json()


def test_the_schedule_and_an_empty_journal(managed_world: KeysWorld) -> None:
    """Which management keys may act, and what makes keys due."""
    told = managed_world.http.get(f"{API}/rotation", params={"key": "nobody"}).json()
    assert (told["data"], told["next"]) == ([], "")
    assert told["schedule"]["admins"] == [boss(managed_world)]
    assert told["schedule"]["quarantine_h"] == 24


def test_the_journal_is_paged_and_filtered(managed_world: KeysWorld) -> None:
    """The newest first; what is under way apart from what is done."""
    world = managed_world
    keys = [world.add(f"api listed {number}") for number in range(3)]
    for key in keys[:2]:
        world.http.post(f"{API}/openrouter-keys/{key.id}/retire", json={"quarantine_h": 1})
    world.http.post(f"{API}/openrouter-keys/{keys[2].id}/revoke")
    first = world.http.get(f"{API}/rotation", params={"limit": 2}).json()
    second = world.http.get(f"{API}/rotation", params={"limit": 2, "after": first["next"]}).json()
    assert [one["key"] for one in first["data"] + second["data"]] == [key.id for key in reversed(keys)]
    assert second["next"] == ""
    assert [one["key"] for one in journal(world, open=False)] == [keys[2].id]
    assert {one["key"] for one in journal(world, open=True)} == {key.id for key in keys[:2]}
    wait_until(lambda: journal(world, key=keys[0].id)[0]["step"] == "quarantine", what="the quarantine")
    (entry,) = journal(world, key=keys[0].id)
    assert [one["state"] for one in entry["steps"]] == ["done", "done", "now", "to_come"]
    assert entry["due_at"] is not None


def test_what_is_managed_is_paged(managed_world: KeysWorld) -> None:
    """With the terms that it is to keep."""
    world = managed_world
    ids = set()
    for number in range(3):
        key = world.add(f"api managed {number}", limit=number + 1)
        assert world.http.post(f"{API}/openrouter-keys/{key.id}/adopt").status_code == 200
        ids.add(key.id)
    first = world.http.get(f"{API}/rotation/managed", params={"limit": 2}).json()
    second = world.http.get(f"{API}/rotation/managed", params={"limit": 2, "after": first["next"]}).json()
    rows = first["data"] + second["data"]
    assert {one["id"] for one in rows} == ids
    assert {one["limit_nano"] for one in rows} == {1_000_000_000, 2_000_000_000, 3_000_000_000}
    assert {(one["admin"], one["due"]) for one in rows} == {(boss(world), "")}
