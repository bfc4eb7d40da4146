"""The page of one client key."""

from __future__ import annotations

import httpx2
import pytest

from app.models.limits import Limit, Span, Unit
from app.panel.client_detail import TABS, pace
from app.services.money import Standing, Whose
from tests.gateway_process import wait_until
from tests.test_panel.conftest import PanelWorld

PATH = "/admin/client-keys"
# Tuesday, 24 November 2026, 06:00 UTC: a quarter of the day, and 23.25 of 30 days.
NOW = 1_795_500_000.0


@pytest.mark.parametrize(
    ("span", "used", "ends_in_h"),
    [(Span.DAY, 50, 6), (Span.DAY, 20, None), (Span.DAY, 0, None), (Span.DAY, 100, 0), (Span.MONTH, 50, None)],
)
def test_the_pace_of_a_budget(span: Span, used: int, ends_in_h: float | None) -> None:
    """When it is used up at the rate until now; nothing where it lasts."""
    midnight = NOW - NOW % 86_400
    limit = Limit(unit=Unit.USD, span=span, size=100)
    resets = midnight + 86_400 if span is Span.DAY else midnight + 7 * 86_400
    found = pace(Standing(Whose.KEY, limit, 100, used, resets), midnight + 6 * 3600)
    assert found == (None if ends_in_h is None else midnight + (6 + ends_in_h) * 3600)


@pytest.mark.parametrize("tab", TABS)
def test_every_part_shows(signed_in: httpx2.Client, panel_world: PanelWorld, tab: str) -> None:
    """Of a client that has called."""
    alice = signed_in.get("/admin/api/client-keys", params={"q": "alice"}).json()["data"][-1]["id"]
    answer = signed_in.get(f"{PATH}/{alice}", params={"tab": tab})
    assert answer.status_code == 200
    if tab == "requests":
        wait_until(lambda: "/admin/requests/" in signed_in.get(f"{PATH}/{alice}?tab=requests").text, what="its calls")
    if tab == "history":
        assert "create" in answer.text


def test_a_client_that_is_not_there(signed_in: httpx2.Client) -> None:
    """A page that says so."""
    answer = signed_in.get(f"{PATH}/ck_none")
    assert (answer.status_code, "no client key of that id" in answer.text) == (404, True)
