"""Settings over the admin API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.gateway_process import ADMIN_PASSWORD
from tests.test_panel.conftest import PanelWorld

PATH = "/admin/api/settings"


@pytest.fixture
def admin(signed_in: httpx2.Client) -> Iterator[httpx2.Client]:
    """Who leaves everything as it was."""
    yield signed_in
    assert signed_in.post(f"{PATH}/reset").status_code == 200


def switched(client: httpx2.Client) -> list[tuple[str, str, str]]:
    """The deeds on settings, the newest first."""
    found = client.get("/admin/api/audit", params={"kind": "setting", "limit": 500}).json()["data"]
    assert all(one["by"].startswith("admin (panel, ") for one in found)
    return [(one["id"], one["before"], one["after"]) for one in found]


def row(client: httpx2.Client, name: str) -> dict[str, Any]:
    return next(dict(one) for one in client.get(PATH).json() if one["name"] == name)


def test_what_is_set_and_where(admin: httpx2.Client, panel_world: PanelWorld) -> None:
    """Of a secret only that it is set."""
    assert ADMIN_PASSWORD not in admin.get(PATH).text
    password = row(admin, "admin_password")
    assert (password["value"], password["secret"], password["live"]) == ("set", True, False)
    assert password["source"] == "environment"
    assert row(admin, "max_attempts") | {"help": "", "group": ""} == {
        "name": "max_attempts", "group": "", "value": "3", "given": "3", "source": "default", "live": True,
        "secret": False, "choices": [], "help": "",
    }  # fmt: skip


def test_several_are_changed_and_given_back(admin: httpx2.Client) -> None:
    """A deed for each that is another by it; the same again is none."""
    before = len(switched(admin))
    answer = admin.patch(PATH, json={"max_attempts": 7, "playground": True, "pool_strategy": "tiers"})
    assert answer.status_code == 200, answer.text
    assert {one["name"]: (one["value"], one["source"]) for one in answer.json()} == {
        "max_attempts": ("7", "panel"), "playground": ("true", "default"), "pool_strategy": ("tiers", "panel"),
    }  # fmt: skip
    assert admin.get("/admin/api/strategy").json()["strategy"] == "tiers"
    admin.patch(PATH, json={"max_attempts": "7"})
    admin.patch(PATH, json={"max_attempts": None, "alert_at": None})
    assert row(admin, "max_attempts")["source"] == "default"
    admin.post(f"{PATH}/reset")
    assert admin.get("/admin/api/strategy").json()["switched"] is False
    assert switched(admin)[: -before or None] == [
        ("pool_strategy", "tiers", ""), ("max_attempts", "7", ""), ("pool_strategy", "", "tiers"),
        ("max_attempts", "", "7"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"max_attempts": 0, "pool_strategy": "luck", "alert_at": "80"}, ["max_attempts", "pool_strategy"]),
        ({"max_attempts": 3, "redis_url": "redis://elsewhere"}, ["redis_url"]),
        ({"session_secret_key": "x"}, ["session_secret_key"]),
        ({"max_attempts": True}, ["max_attempts"]),
        ({"max_attempts": [3], "playground": ""}, ["max_attempts", "playground"]),
        ({"alert_at": "\ud800", "playground": "9" * 2001}, ["alert_at", "playground"]),
        ({"rescue_deadline_s": float("nan")}, ["rescue_deadline_s"]),
        ({"\ud800": 1}, None),
        ({"a" * 101: 1}, None),
        ([], None),
    ],
)
def test_all_of_it_or_nothing(admin: httpx2.Client, body: Any, fields: list[str] | None) -> None:
    """What cannot be set is named, and nothing else is set either."""
    before = switched(admin)
    answer = admin.patch(PATH, content=json.dumps(body), headers={"content-type": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    if fields is not None:
        assert [error["field"] for error in answer.json()["errors"]] == fields
    assert switched(admin) == before
