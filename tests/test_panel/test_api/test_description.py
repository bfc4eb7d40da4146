"""The admin API's description of itself, and what it promises tried against it."""

from __future__ import annotations

import re
from contextlib import closing
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from app.middleware.panel_refusal import EARLIER
from tests.test_panel.conftest import PanelWorld

DOCUMENT = "/admin/api/openapi.json"
# What ends the session that the test calls with, or runs long.
LEFT_OUT = r"/admin/api/(logs/live|sessions/end-)"
EXPECTED = {"POST /admin/api/alerts/test": (502,)}
"""There is no receiver in this test."""
BY_THE_GUARD = (400, 404, 405, 414, 431)
"""What is no sound request, or leads nowhere, is refused before anybody knows whose path it is."""


@pytest.fixture(scope="module")
def document(signed_in: httpx2.Client) -> dict[str, Any]:
    return dict(signed_in.get(DOCUMENT).json())


def test_every_route_of_the_api_is_described(document: dict[str, Any]) -> None:
    """With its errors as problems, and nothing of the pages."""
    assert all(path.startswith(("/admin/api/", *EARLIER)) for path in document["paths"])
    assert {"/admin/api/openrouter-keys", "/admin/api/client-keys", "/admin/api/requests"} <= set(document["paths"])
    for operations in document["paths"].values():
        for operation in operations.values():
            assert "application/problem+json" in operation["responses"]["422"]["content"]


def test_the_page_tells_the_same(signed_in: httpx2.Client, document: dict[str, Any]) -> None:
    """Every path stands on it."""
    text = signed_in.get("/admin/api/docs").text
    assert all(path.replace("{", "{") in text for path in document["paths"])


def test_whatever_is_sent_nothing_breaks(panel_world: PanelWorld, document: dict[str, Any]) -> None:
    """Fitting and unfitting values of every field of every operation: never a 5xx, and errors are problems."""
    # Who calls is set below: credentials out of thin air would only prove that they do not fit.
    signed_in = {name: value for name, value in document.items() if name != "security"}
    found = schemathesis.openapi.from_dict(signed_in).get_all_operations()
    operations = [one.ok() for one in found if not re.search(LEFT_OUT, one.ok().path)]
    assert len(operations) > 30
    with closing(panel_world.sign_in()) as client:
        cookies = {cookie.name: str(cookie.value) for cookie in client.cookies.jar}
        try:
            for operation in operations:
                _try(operation, panel_world.origin, cookies)
        finally:
            # What fitted by chance must not hold for other tests.
            client.post("/admin/api/settings/reset")


def _try(operation: Any, origin: str, cookies: dict[str, str]) -> None:
    modes = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]

    @settings(max_examples=8, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in modes)))
    def run(case: Any) -> None:
        answer = case.call(base_url=origin, headers={"sec-fetch-site": "same-origin"}, cookies=cookies, timeout=20)
        told = f"{case.method} {case.formatted_path}: {answer.status_code} {answer.content[:500]!r}"
        assert answer.status_code < 500 or answer.status_code in EXPECTED.get(operation.label, ()), told
        assert answer.status_code != 401, told
        if answer.status_code >= 400 and answer.status_code not in BY_THE_GUARD:
            assert answer.headers["content-type"] == ["application/problem+json"], told

    run()
