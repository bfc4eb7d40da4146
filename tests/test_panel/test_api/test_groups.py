"""Groups over the admin API."""

from __future__ import annotations

import secrets

import httpx2

PATH = "/admin/api/groups"


def test_a_group_lives(signed_in: httpx2.Client) -> None:
    """Made, changed, joined, and not deleted while somebody belongs to it."""
    name = f"team-{secrets.token_hex(4)}"
    made = signed_in.post(PATH, json={"name": name, "limits": [{"unit": "usd", "span": "day", "size": 10**9}]})
    assert made.status_code == 201, made.text
    place = made.headers["location"]
    assert signed_in.patch(place, json={"note": "n"}).json()["note"] == "n"
    client = signed_in.post("/admin/api/client-keys", json={"name": name, "group": made.json()["id"]}).json()
    assert signed_in.get(place).json()["clients"] == 1
    assert [one["whose"] for one in signed_in.get(f"{place}/budgets").json()]
    assert signed_in.delete(place).status_code == 422
    signed_in.delete(f"/admin/api/client-keys/{client['id']}")
    assert signed_in.delete(place).status_code == 204
    assert signed_in.get(place).status_code == 404


def test_the_whole_gateway_is_a_group(signed_in: httpx2.Client) -> None:
    """Always there, if only without terms."""
    place = f"{PATH}/gateway"
    assert signed_in.get(place).json()["limits"] == []
    limit = {"unit": "usd", "span": "month", "size": 10**15}
    assert signed_in.patch(place, json={"limits": [limit]}).json()["limits"][0]["size"] == 10**15
    assert signed_in.delete(place).status_code == 204
    assert signed_in.get(place).json()["limits"] == []
