"""The kept log over the admin API."""

from __future__ import annotations

import csv
import io
import json

import httpx2
import pytest

from tests.gateway_process import wait_until
from tests.test_panel.conftest import PanelWorld

PATH = "/admin/api/logs"


@pytest.fixture(scope="module", autouse=True)
def _written(signed_in: httpx2.Client) -> None:
    """At its start this gateway had no client key, and said so."""
    wait_until(lambda: signed_in.get(PATH, params={"search": "no client key"}).json()["data"], what="the line")


def test_lines_are_found(signed_in: httpx2.Client) -> None:
    """By words, level and module; one of them by its place."""
    found = signed_in.get(PATH, params={"search": "NO CLIENT key", "level": "warning", "module": "app"}).json()["data"]
    assert [(one["event"], one["module"]) for one in found] == [("no client key", "app.gateway")]
    assert signed_in.get(f"{PATH}/{found[0]['id']}").json() == found[0]
    assert signed_in.get(PATH, params={"level": "critical"}).json()["data"] == []
    assert signed_in.get(PATH, params={"module": "app.gate"}).json()["data"] == []


def test_fixed_paths_are_not_taken_for_lines(signed_in: httpx2.Client) -> None:
    """`/stats` is no id."""
    stats = signed_in.get(f"{PATH}/stats", params={"days": 2}).json()
    assert stats["total"] == sum(stats["levels"].values()) > 0
    assert "app.gateway" in signed_in.get(f"{PATH}/modules").json()
    assert "warning" in signed_in.get(f"{PATH}/levels").json()


@pytest.mark.parametrize("form", ["json", "csv", "txt"])
def test_lines_are_exported(signed_in: httpx2.Client, form: str) -> None:
    """The oldest first, and no more than asked for."""
    text = signed_in.get(f"{PATH}/export", params={"format": form, "max_records": 1}).text
    lines = [line for line in text.splitlines() if line]
    if form == "json":
        assert [set(json.loads(line)) >= {"event", "level"} for line in lines] == [True]
    elif form == "csv":
        assert len(list(csv.DictReader(io.StringIO(text)))) == 1
    else:
        assert len(lines) == 1


def test_the_configuration_can_be_saved_twice(signed_in: httpx2.Client, panel_world: PanelWorld) -> None:
    """With debug kept, a call's own line is there too; afterwards it is as before."""
    for _ in range(2):
        assert signed_in.post(f"{PATH}/config", json={"level": "info", "most": 1000, "days": 3}).status_code == 200
    panel_world.call("alice")
    wait_until(
        lambda: signed_in.get(PATH, params={"module": "app.middleware.request_log"}).json()["data"], what="the line"
    )
    usual = signed_in.post(f"{PATH}/config", json={}).json()
    assert usual == {"level": "warning", "most": 20_000, "days": 14}


def test_lines_are_deleted(signed_in: httpx2.Client) -> None:
    """One by one, or many when it is confirmed."""
    first, second = signed_in.get(PATH, params={"page_size": 2, "level": "info"}).json()["data"]
    assert signed_in.delete(f"{PATH}/{first['id']}").status_code == 204
    assert signed_in.delete(f"{PATH}/{first['id']}").status_code == 404
    bulk = {"ids": [second["id"], first["id"]], "confirm": False}
    assert signed_in.request("DELETE", f"{PATH}/bulk", json=bulk).status_code == 422
    assert signed_in.request("DELETE", f"{PATH}/bulk", json=bulk | {"confirm": True}).json() == {"deleted": 1}
    assert signed_in.post(f"{PATH}/cleanup").json() == {"deleted": 0}


def test_lines_are_followed(signed_in: httpx2.Client, panel_world: PanelWorld) -> None:
    """As they come, as events; a stranger hears nothing."""
    assert httpx2.get(f"{panel_world.origin}{PATH}/live").status_code == 401
    signed_in.post(f"{PATH}/config", json={"level": "info"})
    with signed_in.stream("GET", f"{PATH}/live", params={"search": "client key changed"}) as answer:
        pieces = answer.iter_lines()
        assert next(pieces).startswith(": ")
        made = httpx2.post(
            f"{panel_world.origin}/admin/api/client-keys",
            json={"name": "followed"},
            cookies=signed_in.cookies,
            headers={"sec-fetch-site": "same-origin"},
        ).json()
        line = next(json.loads(piece.removeprefix("data: ")) for piece in pieces if piece.startswith("data: "))
    signed_in.post(f"{PATH}/config", json={})
    assert line["fields"]["client"] == made["id"]
