"""Alerts over the admin API: what is due, who is told, and what is silent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx2
import pytest

from app.models.alerts import AlertKind
from tests.gateway_process import running_gateway
from tests.simulator_thread import running_simulator
from tests.test_panel.conftest import PanelWorld
from tests.test_panel.test_playground import sign_in_as
from tests.test_panel.test_settings_alerts import event, raise_alerts
from tests.test_services.test_webhooks import Receiver

PATH = "/admin/api/alerts"


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    one.thread.start()
    yield one
    one.server.shutdown()
    one.server.server_close()
    one.thread.join()


@pytest.fixture(scope="module")
def world(receiver: Receiver) -> Iterator[PanelWorld]:
    env = {"WEBHOOK_URL": f"{receiver.url},discord+{receiver.url}", "WEBHOOK_TO_PRIVATE": "true"}
    with running_simulator() as simulator, running_gateway(simulator.base_url, env=env) as gateway:
        yield PanelWorld(gateway, simulator)


@pytest.fixture(scope="module")
def admin(world: PanelWorld) -> Iterator[httpx2.Client]:
    with closing(world.sign_in()) as client:
        yield client


def found(client: httpx2.Client, where: str, name: str) -> dict[str, Any]:
    return next(one for one in client.get(f"{PATH}{where}").json() if one["id"] == name)


def silence(client: httpx2.Client, what: str, hours: object) -> httpx2.Response:
    return client.post(f"{PATH}/silences", json={"what": what, "hours": hours})


def test_what_was_told_and_what_is_due(world: PanelWorld, admin: httpx2.Client) -> None:
    """The same alert, with where it is mended and where it is explained."""
    raise_alerts(world, event("k1", AlertKind.KEY_USED_ELSEWHERE, place="/admin/openrouter-keys/k1", text="More."))
    told = found(admin, "", "key_used_elsewhere:k1")
    assert told["place"] == "/admin/openrouter-keys/k1"
    assert told["runbook"] == "docs/alerts.md#key_used_elsewhere"
    due = found(admin, "/active", "key_used_elsewhere:k1")
    assert (due["told"], due["silenced_until"], due["text"]) == (True, None, "More.")
    assert {name: due[name] for name in told} == told
    raise_alerts(world, event("k2"))
    assert [one["id"] for one in admin.get(PATH, params={"limit": 1}).json()] == ["books_differ:k2"]
    assert admin.get(PATH, params={"limit": 0}).status_code == 422


def test_receivers_are_tried_out(admin: httpx2.Client, receiver: Receiver) -> None:
    """One or all; of an address only the host is told, and what went wrong is the problem's detail."""
    assert admin.get(f"{PATH}/receivers").json() == [
        {"name": "webhook", "host": "localhost"},
        {"name": "discord", "host": "localhost"},
    ]
    before = len(receiver.got)
    assert admin.post(f"{PATH}/test").json() == {"delivered": True}
    assert admin.post(f"{PATH}/test", params={"receiver": "discord"}).json() == {"delivered": True}
    assert len(receiver.got) == before + 3
    assert "embeds" in json.loads(receiver.got[-1][2])
    receiver.status = 401
    refused = admin.post(f"{PATH}/test", params={"receiver": "webhook"})
    receiver.status = 204
    assert refused.status_code == 502
    assert refused.json()["detail"] == (
        "webhook (localhost) has not taken it: it does not let us in: the address or its token is wrong (401)."
    )
    unknown = admin.post(f"{PATH}/test", params={"receiver": "pager"})
    assert (unknown.status_code, unknown.headers["content-type"]) == (404, "application/problem+json")


def test_silences_are_made_listed_and_ended(world: PanelWorld, admin: httpx2.Client) -> None:
    """Of one alert, of a kind, or of everything; who did it stands beside it."""
    raise_alerts(world, event("k3"))
    for what in ("books_differ:k3", "key_spent", "all"):
        made = silence(admin, what, 0.5).json()
        assert (made["what"], made["by"].partition(" ")[0]) == (what, "admin")
    listed = admin.get(f"{PATH}/silences").json()
    assert [one["what"] for one in listed] == ["all", "books_differ:k3", "key_spent"]
    assert found(admin, "/active", "books_differ:k3")["silenced_until"] is not None
    for what in ("books_differ:k3", "key_spent", "all"):
        assert silence(admin, what, 0).status_code == 200
    assert admin.get(f"{PATH}/silences").json() == []
    assert found(admin, "/active", "books_differ:k3")["silenced_until"] is None


@pytest.mark.parametrize(("what", "hours"), [("nothing", 1), ("", 1), ("all", -1), ("all", 721), ("all", "x")])
def test_what_cannot_be_silenced_is_told(admin: httpx2.Client, what: str, hours: object) -> None:
    """With the field, and nothing is silenced."""
    answer = silence(admin, what, hours)
    assert answer.status_code == 422
    assert answer.json()["errors"]
    assert admin.get(f"{PATH}/silences").json() == []


def test_who_may_do_what(world: PanelWorld) -> None:
    """A viewer reads everything and does nothing."""
    with closing(sign_in_as(world, "vera-alerts-api", "viewer")) as viewer:
        for where in ("", "/active", "/receivers", "/silences"):
            assert viewer.get(f"{PATH}{where}").status_code == 200
        assert silence(viewer, "all", 1).status_code == 403
        assert viewer.post(f"{PATH}/test").status_code == 403
