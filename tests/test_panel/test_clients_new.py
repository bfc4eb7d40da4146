"""Making client keys: the secret stands in one answer, and a form is good for one key."""

from __future__ import annotations

import json
import re
import secrets

import httpx2

from tests.test_panel.conftest import OpenPage, PanelWorld

PATH = "/admin/client-keys"


def nonce_of(client: httpx2.Client, path: str = f"{PATH}/new") -> str:
    found = re.search(r'name="nonce" value="([^"]+)"', client.get(path).text)
    assert found is not None
    return found[1]


def secret_in(text: str) -> str:
    found = re.search(r'<code id="secret"[^>]*>(gw_live_\w+)</code>', text)
    assert found is not None, text[:2000]
    return found[1]


def test_a_key_is_made_and_shown_once(signed_in: httpx2.Client, panel_world: PanelWorld) -> None:
    """The answer itself holds it, may not be kept, and the same form a second time makes no second key."""
    name = f"new-{secrets.token_hex(4)}"
    form = {"name": name, "nonce": nonce_of(signed_in), "usd_month": "5", "rpm": "60", "models_allowed": "openai/*"}
    answer = signed_in.post(PATH, data=form)
    secret = secret_in(answer.text)
    again = signed_in.post(PATH, data=form)

    assert answer.headers["cache-control"] == "no-store"
    assert again.status_code == 303
    assert len(signed_in.get("/admin/api/client-keys", params={"q": name}).json()["data"]) == 1
    page = signed_in.get(again.headers["location"]).text
    assert secret not in page
    assert "its secret is not shown again" in page
    panel_world.clients[name] = secret
    assert panel_world.call(name)["object"] == "chat.completion"
    assert secret not in panel_world.gateway.log()


def test_what_does_not_fit_is_kept_and_told(signed_in: httpx2.Client) -> None:
    """At its field; nothing was made."""
    name = f"bad-{secrets.token_hex(4)}"
    answer = signed_in.post(
        PATH, data={"name": name, "nonce": nonce_of(signed_in), "usd_month": "a lot", "owner": "Ana"}
    )

    assert answer.status_code == 422
    assert 'id="usd_month-error"' in answer.text
    assert 'value="a lot"' in answer.text
    assert 'value="Ana"' in answer.text
    assert signed_in.get("/admin/api/client-keys", params={"q": name}).json()["data"] == []


def test_a_secret_is_replaced(signed_in: httpx2.Client, panel_world: PanelWorld) -> None:
    """Both work during the overlap, and the page tells until when; an old revision is refused."""
    name = f"rot-{secrets.token_hex(4)}"
    made = signed_in.post("/admin/api/client-keys", json={"name": name}).json()
    place = f"{PATH}/{made['id']}/rotate"
    stale = signed_in.post(place, data={"nonce": nonce_of(signed_in, place), "overlap": "1h", "rev": "999"})
    assert stale.status_code == 409
    answer = signed_in.post(place, data={"nonce": nonce_of(signed_in, place), "overlap": "1h", "rev": str(made["rev"])})
    new = secret_in(answer.text)
    for secret in (made["key"], new):
        panel_world.clients[name] = secret
        assert panel_world.call(name)["object"] == "chat.completion"
    assert made["masked"] in signed_in.get(f"{PATH}/{made['id']}").text
    listed = json.loads(panel_world.gateway.cli("audit", "list", "--on", made["id"], "--json").stdout)
    assert [deed["deed"] for deed in listed] == ["rotate", "create"]


def test_a_key_is_made_by_the_keyboard_alone(panel_world: PanelWorld, open_page: OpenPage) -> None:
    """`g c`, `n`, a name, Enter; leaving the page asks."""
    page = open_page(panel_world, "/admin")
    page.keyboard.press("g")
    page.keyboard.press("c")
    page.wait_for_url("**/admin/client-keys")
    page.keyboard.press("n")
    page.wait_for_url("**/client-keys/new")
    page.locator("#name").focus()
    page.keyboard.type(f"keys-{secrets.token_hex(4)}")
    page.keyboard.press("Enter")
    page.locator("#secret").wait_for()
    assert page.locator("#secret").inner_text().startswith("gw_live_")
    page.locator("[data-leave]").click()
    page.wait_for_url("**/client-keys/ck_*")


def test_a_key_is_made_without_scripts(panel_world: PanelWorld, open_page: OpenPage) -> None:
    """The form is enough."""
    page = open_page(panel_world, f"{PATH}/new", script=False)
    page.fill("#name", f"plain-{secrets.token_hex(4)}")
    page.locator("main form button.main").click()
    assert page.locator("#secret").inner_text().startswith("gw_live_")
