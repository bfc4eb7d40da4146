"""How the gateway feels, over the admin API."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx2

from tests.test_panel.conftest import PanelWorld

PATH = "/admin/api"


def test_the_status_is_that_of_health(signed_in: httpx2.Client, panel_world: PanelWorld) -> None:
    """And says how much the ledger holds."""
    status, health = signed_in.get(f"{PATH}/system-status").json(), panel_world.gateway.health()

    assert status["healthy"] is True
    assert status["openrouter_keys"]["ready"] == health["openrouter_keys"]["ready"]
    assert status["ledger_entries"] >= 9
    assert status["ledger_bytes"] > 0


def test_the_dashboard_counts(signed_in: httpx2.Client, panel_world: PanelWorld) -> None:
    """No figure is made up: a further call is one more."""
    before = signed_in.get(f"{PATH}/dashboard-data").json()["last_24h"]["requests"]
    panel_world.call("alice")
    from tests.gateway_process import wait_until

    def counted() -> bool:
        return bool(signed_in.get(f"{PATH}/dashboard-data").json()["last_24h"]["requests"] == before + 1)

    wait_until(counted, what="the call in the sums")


def test_the_strategy_is_switched_and_given_back(signed_in: httpx2.Client) -> None:
    """The answer tells what it was before."""
    first = signed_in.put(f"{PATH}/strategy", json={"strategy": "round_robin"}).json()
    second = signed_in.put(f"{PATH}/strategy", json={"strategy": None}).json()

    assert (first["before"], first["strategy"], first["switched"]) == ("balanced", "round_robin", True)
    assert (second["before"], second["strategy"], second["switched"]) == ("round_robin", "balanced", False)
    assert signed_in.put(f"{PATH}/strategy", json={"strategy": "guess"}).status_code == 422


def test_the_books_are_compared_on_demand(signed_in: httpx2.Client) -> None:
    """Today's against OpenRouter's, key by key; a day too far away is refused."""
    today = str(datetime.now(UTC).date())
    compared = signed_in.post(f"{PATH}/reconciliation/{today}").json()

    assert compared
    assert {one["finding"] for one in compared} <= {"agrees", "not_compared", "elsewhere"}
    stored = signed_in.get(f"{PATH}/reconciliation/{today}").json()
    assert sorted(stored, key=lambda one: one["key_id"]) == sorted(compared, key=lambda one: one["key_id"])
    assert signed_in.post(f"{PATH}/reconciliation/2020-01-01").status_code == 422


def test_a_test_alert_without_a_receiver_says_so(signed_in: httpx2.Client) -> None:
    """And what to set."""
    answer = signed_in.post(f"{PATH}/alerts/test")

    assert (answer.status_code, answer.json()["detail"]) == (
        502,
        "There is no receiver: set WEBHOOK_URL, or SMTP_URL and ALERT_EMAIL_TO.",
    )
    assert signed_in.get(f"{PATH}/alerts").status_code == 200
    assert set(signed_in.post(f"{PATH}/system/cleanup").json()) == {"ledger_entries_forgotten"}
