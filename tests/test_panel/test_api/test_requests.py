"""The ledger over the admin API."""

from __future__ import annotations

import csv
import io
import json

import httpx2
import pytest

from tests.gateway_process import wait_until
from tests.test_panel.conftest import PanelWorld

PATH = "/admin/api/requests"


@pytest.fixture(scope="module", autouse=True)
def _settled(signed_in: httpx2.Client) -> None:
    """What was called stands in the ledger within moments."""
    wait_until(lambda: len(signed_in.get(PATH).json()["data"]) >= 9, what="the calls in the ledger")


def test_calls_are_paged_and_filtered(signed_in: httpx2.Client, panel_world: PanelWorld) -> None:
    """Keyset pages, the newest first; every filter keeps only what fits."""
    first = signed_in.get(PATH, params={"limit": 4}).json()
    second = signed_in.get(PATH, params={"limit": 4, "after": first["next"]}).json()
    ids = [one["id"] for one in first["data"] + second["data"]]
    assert len(set(ids)) == 8
    one = first["data"][0]
    assert one["cost_usd"] != "0"
    for params in (
        {"client": one["client_id"]},
        {"model": one["model"]},
        {"outcome": "served"},
        {"status": 200},
        {"stream": str(one["stream"]).lower()},
        {"period": "24h"},
    ):
        field = {"client": "client_id", "period": ""}.get(name := next(iter(params)), name)
        found = signed_in.get(PATH, params=params).json()["data"]
        assert one["id"] in {other["id"] for other in found}, params
        assert not field or {other[field] for other in found} == {one[field]}
    assert signed_in.get(PATH, params={"min_nano": 10**15}).json()["data"] == []


def test_one_call_is_found_by_any_of_its_ids(signed_in: httpx2.Client) -> None:
    """What is not there is a 404 with a reason."""
    one = signed_in.get(PATH, params={"limit": 1}).json()["data"][0]
    for name in (one["id"], one["request_id"], one["generation_id"]):
        assert signed_in.get(f"{PATH}/{name}").json() == one
    missing = signed_in.get(f"{PATH}/none")
    assert (missing.status_code, missing.json()["hint"]) == (404, "Only the last days are kept.")


def test_a_period_that_is_none_is_told(signed_in: httpx2.Client) -> None:
    """With the field."""
    answer = signed_in.get(PATH, params={"period": "soon"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "period")


def test_the_export_holds_what_the_list_holds(signed_in: httpx2.Client) -> None:
    """As JSON lines and as CSV."""
    listed = {one["id"] for one in signed_in.get(PATH, params={"limit": 500}).json()["data"]}
    lines = signed_in.get(f"{PATH}/export")
    rows = signed_in.get(f"{PATH}/export", params={"format": "csv"})

    assert {json.loads(line)["id"] for line in lines.text.splitlines()} >= listed
    assert {row["id"] for row in csv.DictReader(io.StringIO(rows.text))} >= listed
    assert "attachment" in rows.headers["content-disposition"]


def test_each_look_at_what_was_said_is_noted_once(signed_in: httpx2.Client, panel_world: PanelWorld) -> None:
    """Where it is kept; to find the call is no look."""
    made = panel_world.gateway.create_client("api-talker", "--keep-bodies")
    panel_world.clients["api-talker"] = made.key
    panel_world.call("api-talker", text="a word to be kept")
    calls = wait_until(lambda: signed_in.get(PATH, params={"client": made.id}).json()["data"], what="the call")
    place = f"{PATH}/{calls[0]['request_id']}"

    def looks() -> int:
        on = {"on": calls[0]["request_id"], "deed": "read body"}
        return len(signed_in.get("/admin/api/audit", params=on).json()["data"])

    wait_until(lambda: signed_in.post(f"{place}/body").status_code == 200, what="what was said")
    assert looks() == 1
    said = signed_in.post(f"{place}/body").json()
    assert "a word to be kept" in said["asked"]
    assert (said["request_id"], said["asked_cut"], looks()) == (calls[0]["request_id"], False, 2)
    assert "a word to be kept" not in signed_in.get(place).text


def test_what_was_said_is_not_kept_unasked(signed_in: httpx2.Client) -> None:
    """Nor of a call that there is not; nothing is noted."""
    one = signed_in.get(PATH, params={"limit": 1, "outcome": "served", "stream": True}).json()["data"][0]
    for name in (one["request_id"], "nobody"):
        assert signed_in.post(f"{PATH}/{name}/body").status_code == 404
    assert signed_in.get("/admin/api/audit", params={"on": one["request_id"]}).json()["data"] == []
