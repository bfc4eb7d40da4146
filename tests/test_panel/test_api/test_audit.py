"""The audit over the admin API."""

from __future__ import annotations

import secrets

import httpx2

PATH = "/admin/api/audit"


def test_deeds_are_found(signed_in: httpx2.Client) -> None:
    """By what they were done to, by whom, and page by page."""
    name = f"a-{secrets.token_hex(4)}"
    made = signed_in.post("/admin/api/client-keys", json={"name": name}).json()
    for note in ("one", "two"):
        signed_in.patch(f"/admin/api/client-keys/{made['id']}", json={"note": note})

    found = signed_in.get(PATH, params={"on": made["id"]}).json()["data"]
    assert [one["deed"] for one in found] == ["update", "update", "create"]
    assert found[0]["after"] == '{"note":"two"}'
    assert made["key"] not in str(found)
    first = signed_in.get(PATH, params={"on": name, "limit": 2}).json()
    second = signed_in.get(PATH, params={"on": name, "limit": 2, "after": first["next"]}).json()
    assert [one["entry"] for one in first["data"] + second["data"]] == [one["entry"] for one in found]
    assert signed_in.get(PATH, params={"on": name, "deed": "create", "by": "admin"}).json()["data"] == [found[2]]
    assert signed_in.get(PATH, params={"on": name, "kind": "group"}).json()["data"] == []


def test_the_chain_is_proved(signed_in: httpx2.Client) -> None:
    """Also against a hash of before."""
    check = signed_in.post(f"{PATH}/verify").json()
    assert (check["intact"], check["breaks"]) == (True, [])
    assert signed_in.post(f"{PATH}/verify", params={"known": check["hash"]}).json()["intact"]
    assert not signed_in.post(f"{PATH}/verify", params={"known": "0" * 64}).json()["intact"]
