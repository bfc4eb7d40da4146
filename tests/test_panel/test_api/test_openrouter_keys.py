"""OpenRouter keys over the admin API."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from tests.test_panel.conftest import PanelWorld

PATH = "/admin/api/openrouter-keys"


@pytest.fixture
def made(signed_in: httpx2.Client, panel_world: PanelWorld) -> dict[str, Any]:
    """A key of the test's own in the pool."""
    (key,) = panel_world.simulator.new_keys(1)
    answer = signed_in.post(PATH, json={"api_key": key, "label": "mine", "tags": ["batch"]})
    assert answer.status_code == 201, answer.text
    return dict(answer.json()) | {"secret": key}


def test_a_key_comes_in_and_never_out(signed_in: httpx2.Client, made: dict[str, Any]) -> None:
    """It was asked about, is told apart by its digest, and a second time it is known."""
    place = f"{PATH}/{made['id']}"
    shown = signed_in.get(place)

    assert (shown.json()["label"], shown.json()["kind"], shown.json()["tags"]) == ("mine", "inference", ["batch"])
    assert made["secret"] not in shown.text
    assert made["secret"] not in signed_in.get(PATH).text
    assert signed_in.post(PATH, json={"api_key": made["secret"]}).status_code == 200
    signed_in.delete(place)


@pytest.mark.parametrize("key", ["sk-or-v1-" + "0" * 64, "not a key at all"])
def test_what_is_no_key_is_refused_and_not_echoed(signed_in: httpx2.Client, key: str) -> None:
    """OpenRouter does not know it, or it looks like none."""
    answer = signed_in.post(PATH, json={"api_key": key})

    assert answer.status_code == 422
    assert key not in answer.text


def test_attributes_and_state(signed_in: httpx2.Client, made: dict[str, Any]) -> None:
    """Caps go away with null; an old revision changes nothing."""
    place = f"{PATH}/{made['id']}"
    after = signed_in.patch(place, json={"weight": 10, "max_rpm": 5, "state": "disabled"}).json()
    assert (after["weight"], after["max_rpm"], after["state"], after["standing"]) == (10, 5, "disabled", "disabled")
    assert signed_in.patch(place, json={"max_rpm": None}).json()["max_rpm"] is None
    assert signed_in.patch(place, json={"weight": 1}, headers={"if-match": f'"{made["rev"]}"'}).status_code == 412
    assert signed_in.patch(place, json={"weight": 5000}).status_code == 422
    assert signed_in.delete(place).status_code == 204
    assert signed_in.get(place).status_code == 404


@pytest.mark.parametrize("form", [True, False], ids=["file", "text"])
def test_a_list_is_looked_at_and_taken(signed_in: httpx2.Client, panel_world: PanelWorld, form: bool) -> None:
    """Each line is reported, none is shown; the look before changes nothing."""
    keys = panel_world.simulator.new_keys(2)
    text = "\n".join(["# ours", *keys, keys[0], "rubbish"]).encode()

    def send(path: str) -> httpx2.Response:
        if form:
            return signed_in.post(path, files={"file": ("keys.txt", text)})
        return signed_in.post(path, content=text, headers={"content-type": "text/plain"})

    looked = send(f"{PATH}/preview")
    taken = send(f"{PATH}/bulk-import")

    assert looked.json()["counts"] == {"new": 2, "known": 0, "duplicate": 1, "invalid": 1}
    assert taken.json()["counts"] == {"added": 2, "duplicate": 1, "invalid": 1}
    assert send(f"{PATH}/preview").json()["counts"]["known"] == 2
    for answer in (looked, taken):
        assert not any(key in answer.text for key in keys)
        assert "rubbish" not in answer.text
    for one in signed_in.get(PATH).json()["data"]:
        if one["masked"] in {line["masked"] for line in taken.json()["lines"]} and one["label"] == "":
            signed_in.delete(f"{PATH}/{one['id']}")
