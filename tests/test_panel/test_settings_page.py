"""The page of settings and of the system."""

from __future__ import annotations

import json

import httpx2

from tests.gateway_process import ADMIN_PASSWORD, wait_until
from tests.test_panel.conftest import PanelWorld

PATH = "/admin/settings"


def test_it_tells_of_everything_but_secrets(signed_in: httpx2.Client, panel_world: PanelWorld) -> None:
    """Every setting, Redis, readiness; not the password that this gateway was started with."""
    text = signed_in.get(PATH).text
    for word in ("REDIS_URL", "ADMIN_PASSWORD", "MAX_ATTEMPTS", "Is it ready?", "append-only file"):
        assert word in text
    assert ADMIN_PASSWORD not in text
    assert not any(key in text for key in panel_world.clients.values())


def test_a_live_setting_holds_at_once(signed_in: httpx2.Client, panel_world: PanelWorld) -> None:
    """With the button it is back; each change stands once in the audit."""
    before = len(json.loads(panel_world.gateway.cli("audit", "list", "--on", "max_attempts", "--json").stdout))
    answer = signed_in.post(PATH, data={"name": "max_attempts", "value": "7"})
    assert answer.status_code == 303
    wait_until(lambda: 'value="7"' in signed_in.get(PATH).text, what="the change")
    signed_in.post(PATH, data={"name": "max_attempts", "value": "7"})
    signed_in.post(PATH, data={"name": "max_attempts", "default": "1"})
    assert 'value="3"' in signed_in.get(PATH).text
    after = len(json.loads(panel_world.gateway.cli("audit", "list", "--on", "max_attempts", "--json").stdout))
    assert after == before + 2


def test_what_does_not_fit_is_told(signed_in: httpx2.Client) -> None:
    """At its field; what is read at the start only cannot be set here."""
    answer = signed_in.post(PATH, data={"name": "max_attempts", "value": "99"})
    assert (answer.status_code, 'id="max_attempts-error"' in answer.text) == (422, True)
    assert signed_in.post(PATH, data={"name": "redis_url", "value": "redis://x"}).status_code == 422
