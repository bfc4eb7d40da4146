"""The playground runs through the gateway's own ways."""

from __future__ import annotations

import html
import secrets
from typing import Any

import httpx2

from tests.gateway_process import wait_until
from tests.test_panel.conftest import OpenPage, PanelWorld

PATH = "/admin/playground"
ASKED = {"model": "openai/gpt-4o-mini", "message": "Say <b>hello</b>"}


def calls(browser: httpx2.Client, **params: Any) -> list[dict[str, Any]]:
    return list(browser.get("/admin/api/requests", params=params).json()["data"])


def test_it_works_as_a_plain_form(signed_in: httpx2.Client) -> None:
    """The answer is on the page, as text."""
    text = signed_in.post(PATH, data=ASKED).text
    assert "<b>hello</b>" not in text
    assert "hello" in html.unescape(text)
    wait_until(lambda: calls(signed_in, client="panel"), what="the call in the ledger")


def test_a_stream_comes_as_upstream_sent_it(signed_in: httpx2.Client) -> None:
    """Events, their end, and what tried it."""
    answer = signed_in.post(f"{PATH}/run", data=ASKED | {"stream": "1"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.rstrip().endswith("data: [DONE]")
    assert "tried=" in answer.headers["x-gateway-trace"]


def test_a_clients_limits_hold(signed_in: httpx2.Client) -> None:
    """Acting as somebody is being them: their models, their state, their budget."""
    made = signed_in.post(
        "/admin/api/client-keys", json={"name": f"p-{secrets.token_hex(4)}", "models_allowed": ["anthropic/*"]}
    ).json()
    as_client = ASKED | {"client": made["id"]}
    assert signed_in.post(f"{PATH}/run", data=as_client).status_code == 403
    good = as_client | {"model": "anthropic/claude-sonnet-4.5"}
    assert signed_in.post(f"{PATH}/run", data=good).status_code == 200
    wait_until(lambda: calls(signed_in, client=made["id"], outcome="served"), what="the call of the client")
    signed_in.patch(f"/admin/api/client-keys/{made['id']}/deactivate")
    assert signed_in.post(f"{PATH}/run", data=good).status_code in (401, 403)


def test_a_key_is_pinned(signed_in: httpx2.Client) -> None:
    """Every call runs on it."""
    key = signed_in.get("/admin/api/openrouter-keys").json()["data"][-1]
    for _ in range(4):
        answer = signed_in.post(f"{PATH}/run", data=ASKED | {"key": key["id"][:16]})
        assert key["masked"].replace("…", "...")[-4:] in answer.headers["x-gateway-trace"]


def test_what_does_not_fit_is_told(signed_in: httpx2.Client) -> None:
    """Upstream's refusal as it is, and ours in a sentence."""
    unknown = signed_in.post(f"{PATH}/run", data=ASKED | {"model": "no/model"})
    assert (unknown.status_code, "not a valid model" in unknown.text) == (400, True)
    for bad in ({"model": ""}, {"temperature": "warm"}, {"tools": "["}, {"client": "ck_none"}, {"key": "0" * 16}):
        assert signed_in.post(f"{PATH}/run", data=ASKED | bad).status_code == 422


def test_it_can_be_switched_off(signed_in: httpx2.Client) -> None:
    """At once."""
    signed_in.post("/admin/settings", data={"name": "playground", "value": "false"})
    assert signed_in.get(PATH).status_code == 404
    assert signed_in.post(f"{PATH}/run", data=ASKED).status_code == 404
    signed_in.post("/admin/settings", data={"name": "playground", "default": "1"})
    assert signed_in.get(PATH).status_code == 200


def test_it_works_in_a_browser(panel_world: PanelWorld, open_page: OpenPage) -> None:
    """Words come in, figures follow."""
    page = open_page(panel_world, f"{PATH}?model=openai/gpt-4o-mini")
    page.fill("textarea[name=message]", "Hello")
    page.locator("#play button.main").click()
    page.wait_for_function("document.getElementById('facts').textContent.includes('200')")
    assert page.locator("#said").inner_text().strip()
