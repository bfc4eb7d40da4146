"""The page of all client keys, and what one does to many at once."""

from __future__ import annotations

import csv
import io
import json
import secrets

import httpx2
import pytest

from tests.test_panel.conftest import PanelWorld

PATH = "/admin/client-keys"
PAYLOAD = "<img src=x onerror=alert(1)>"


def make(client: httpx2.Client, name: str, **fields: object) -> str:
    answer = client.post("/admin/api/client-keys", json={"name": name, **fields})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def test_the_list_is_searched_and_shows_texts_as_texts(signed_in: httpx2.Client) -> None:
    """Names are somebody's words, and never markup."""
    mark = secrets.token_hex(4)
    made = make(signed_in, f"{PAYLOAD}{mark}", owner=PAYLOAD, note=PAYLOAD)
    text = signed_in.get(PATH, params={"q": mark}).text

    assert f"{PATH}/{made}" in text
    assert PAYLOAD not in text
    assert "&lt;img src=x" in text
    assert "never used" in text
    assert PAYLOAD not in signed_in.get(f"{PATH}/{made}").text
    assert "No client key fits" in signed_in.get(PATH, params={"q": f"no{mark}"}).text


def test_the_export_is_what_is_shown(signed_in: httpx2.Client) -> None:
    """Without a secret, and no cell is a formula."""
    mark = secrets.token_hex(4)
    make(signed_in, f"=cmd|{mark}")
    (row,) = csv.DictReader(io.StringIO(signed_in.get(f"{PATH}/export", params={"q": mark}).text))
    assert row["name"] == f"'=cmd|{mark}"
    assert row["state"] == "unused"


def test_many_are_switched_at_once(signed_in: httpx2.Client, panel_world: PanelWorld) -> None:
    """To revoke them their number is typed; each stands once in the audit."""
    mark = secrets.token_hex(4)
    ids = [make(signed_in, f"many-{mark}-{number}") for number in range(2)]
    form = {"client": ids, "back": PATH}
    assert signed_in.post(f"{PATH}/bulk", data=form | {"deed": "disable"}).status_code == 303
    asked = signed_in.post(f"{PATH}/bulk", data=form | {"deed": "revoke"})
    assert asked.status_code == 200
    assert "Type their number" in asked.text
    signed_in.post(f"{PATH}/bulk", data=form | {"deed": "revoke", "typed": "2"})
    for one in ids:
        listed = json.loads(panel_world.gateway.cli("audit", "list", "--on", one, "--json").stdout)
        assert [deed["deed"] for deed in listed] == ["revoked", "disabled", "create"]


@pytest.mark.parametrize("deed", ["disable", "enable"])
def test_one_is_switched(signed_in: httpx2.Client, deed: str) -> None:
    """And told so; another word is no deed."""
    made = make(signed_in, f"one-{secrets.token_hex(4)}")
    answer = signed_in.post(f"{PATH}/{made}/{deed}", data={})
    assert (answer.status_code, answer.headers["location"]) == (303, f"{PATH}/{made}")
    assert signed_in.post(f"{PATH}/{made}/explode", data={}).status_code == 404


def test_an_empty_gateway_says_what_to_do(empty_world: PanelWorld) -> None:
    """With the address and the header that a client needs."""
    client = empty_world.sign_in()
    text = client.get(PATH).text
    client.close()
    assert "Make the first key" in text
    assert f"{empty_world.origin}/v1" in text
