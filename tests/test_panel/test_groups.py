"""The pages of groups."""

from __future__ import annotations

import secrets

import httpx2

PATH = "/admin/groups"


def test_a_group_is_made_changed_and_deleted(signed_in: httpx2.Client) -> None:
    """While a client belongs to it it stays."""
    name = f"<b>team</b> {secrets.token_hex(4)}"
    answer = signed_in.post(PATH, data={"name": name, "usd_month": "10"})
    place = answer.headers["location"]
    group_id = place.rpartition("/")[2]
    page = signed_in.get(place).text
    assert "<b>team" not in page
    assert "$10.00" in page
    assert signed_in.post(f"{place}/edit", data={"name": name, "usd_month": "20", "rev": "999"}).status_code == 409
    rev = signed_in.get(f"/admin/api/groups/{group_id}").json()["rev"]
    assert signed_in.post(f"{place}/edit", data={"name": name, "usd_month": "20", "rev": str(rev)}).status_code == 303
    client = signed_in.post("/admin/api/client-keys", json={"name": name, "group": group_id}).json()
    assert signed_in.post(f"{place}/delete", data={}).status_code == 422
    signed_in.delete(f"/admin/api/client-keys/{client['id']}")
    assert signed_in.post(f"{place}/delete", data={}).headers["location"] == PATH
    assert signed_in.get(place).status_code == 404


def test_what_does_not_fit_is_told(signed_in: httpx2.Client) -> None:
    """At its field, with what was typed."""
    answer = signed_in.post(PATH, data={"name": "", "usd_day": "much"})
    assert answer.status_code == 422
    assert 'id="name-error"' in answer.text
    assert 'value="much"' in answer.text


def test_the_whole_gateway_has_limits_too(signed_in: httpx2.Client) -> None:
    """Set, raised for a time, and taken away."""
    place = f"{PATH}/gateway"
    assert signed_in.post(f"{place}/edit", data={"usd_month": "100000", "rev": "0"}).status_code == 303
    assert (
        signed_in.post(f"{place}/raise", data={"limit": "usd/month", "size": "200000", "until": "1h"}).status_code
        == 303
    )
    assert "$100,000" in signed_in.get(PATH).text or "$200,000" in signed_in.get(PATH).text
    assert signed_in.post(f"{place}/delete", data={}).status_code == 303
