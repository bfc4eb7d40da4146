"""Usage over the admin API."""

from __future__ import annotations

import csv
import io
from typing import Any

import httpx2
import pytest

from tests.gateway_process import wait_until
from tests.test_panel.conftest import PanelWorld

PATH = "/admin/api/usage"


def test_sums_are_what_was_billed(signed_in: httpx2.Client, panel_world: PanelWorld) -> None:
    """To the nano-dollar, and the rows of any grouping add up to them."""

    def agree() -> bool:
        rows = panel_world.simulator.control("bill")["rows"]
        total: dict[str, Any] = signed_in.get(PATH, params={"period": "24h"}).json()["total"]
        return bool(total["requests"] >= len(rows) >= 9)

    wait_until(agree, what="the sums")
    for by in ("client", "model", "key", "provider", "client,model"):
        told = signed_in.get(PATH, params={"period": "24h", "by": by, "top": 1000}).json()
        assert sum(row["requests"] for row in told["rows"]) == told["total"]["requests"]
        assert set(told["rows"][0]["by"]) == set(by.split(","))
    names = {row["name"] for row in signed_in.get(PATH, params={"by": "client"}).json()["rows"]}
    assert {"alice", "nightly-job"} <= names


def test_filters_and_steps(signed_in: httpx2.Client) -> None:
    """Only what was asked for, over time, beside the time before."""
    params = {"period": "24h", "step": "hour", "model": "openai/gpt-4o-mini", "compare": "true"}
    told = signed_in.get(PATH, params=params).json()

    assert told["step"] == "hour"
    assert sum(one["requests"] for one in told["series"]) == told["total"]["requests"] > 0
    assert told["before"]["requests"] == 0


def test_it_is_a_table_too(signed_in: httpx2.Client) -> None:
    """For spreadsheets."""
    rows = list(csv.DictReader(io.StringIO(signed_in.get(PATH, params={"by": "model", "format": "csv"}).text)))
    assert {row["model"] for row in rows} >= {"openai/gpt-4o-mini"}


@pytest.mark.parametrize(
    ("params", "field"),
    [({"period": "soon"}, "period"), ({"by": "mood"}, "by"), ({"order": "luck"}, "order"), ({"top": 0}, "top")],
)
def test_what_cannot_be_asked_is_told(signed_in: httpx2.Client, params: dict[str, Any], field: str) -> None:
    """With the field."""
    answer = signed_in.get(PATH, params=params)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
