"""Changing and ending client keys from the panel."""

from __future__ import annotations

import secrets
from typing import Any

import httpx2
import pytest

PATH = "/admin/client-keys"


@pytest.fixture
def made(signed_in: httpx2.Client) -> dict[str, Any]:
    """A client key of the test's own."""
    limits = [{"unit": "usd", "span": "day", "size": 10**9}]
    body = {"name": f"e-{secrets.token_hex(4)}", "limits": limits}
    return dict(signed_in.post("/admin/api/client-keys", json=body).json())


def now(client: httpx2.Client, made: dict[str, Any]) -> dict[str, Any]:
    return dict(client.get(f"/admin/api/client-keys/{made['id']}").json())


def test_terms_are_changed(signed_in: httpx2.Client, made: dict[str, Any]) -> None:
    """What the form sends is what holds."""
    place = f"{PATH}/{made['id']}/edit"
    assert 'name="usd_day" value="1"' in signed_in.get(place).text
    form = {"name": made["name"], "rev": str(made["rev"]), "usd_day": "2.5", "clamp": "1", "note": "n"}
    assert signed_in.post(place, data=form).status_code == 303
    after = now(signed_in, made)
    assert (after["limits"][0]["size"], after["clamp"], after["note"]) == (2_500_000_000, True, "n")


def test_two_people_at_one_key(signed_in: httpx2.Client, made: dict[str, Any]) -> None:
    """The second one is told, keeps what they typed, and sees what is set now."""
    place = f"{PATH}/{made['id']}/edit"
    form = {"name": made["name"], "rev": str(made["rev"]), "usd_day": "1"}
    assert signed_in.post(place, data=form | {"note": "first"}).status_code == 303
    second = signed_in.post(place, data=form | {"note": "second"})
    assert second.status_code == 409
    assert 'value="second"' in second.text
    assert "Set now: first" in second.text
    assert now(signed_in, made)["note"] == "first"


def test_what_does_not_fit_changes_nothing(signed_in: httpx2.Client, made: dict[str, Any]) -> None:
    """Also where the other fields would."""
    form = {"name": made["name"], "rev": str(made["rev"]), "note": "n", "rpm": "many"}
    answer = signed_in.post(f"{PATH}/{made['id']}/edit", data=form)
    assert (answer.status_code, 'id="rpm-error"' in answer.text) == (422, True)
    assert now(signed_in, made)["note"] == ""


def test_a_limit_is_raised_for_a_time(signed_in: httpx2.Client, made: dict[str, Any]) -> None:
    """The page of limits offers it."""
    assert 'value="usd/day"' in signed_in.get(f"{PATH}/{made['id']}?tab=limits").text
    form = {"limit": "usd/day", "size": "9", "until": "2h"}
    assert signed_in.post(f"{PATH}/{made['id']}/raise", data=form).status_code == 303
    assert now(signed_in, made)["limits"][0]["raised_to"] == 9 * 10**9


@pytest.mark.parametrize("deed", ["revoke", "delete"])
def test_an_end_needs_the_name(signed_in: httpx2.Client, made: dict[str, Any], deed: str) -> None:
    """Typed as it is."""
    place = f"{PATH}/{made['id']}/end"
    wrong = signed_in.post(place, data={"deed": deed, "typed": "other"})
    assert (wrong.status_code, now(signed_in, made)["state"]) == (422, "enabled")
    assert signed_in.post(place, data={"deed": deed, "typed": made["name"]}).status_code == 303
    after = signed_in.get(f"/admin/api/client-keys/{made['id']}")
    assert after.status_code == 404 if deed == "delete" else after.json()["state"] == "revoked"
