"""The paths that users of earlier gateways know: they work, and none of them for strangers."""

from __future__ import annotations

import httpx2
import pytest

from tests.test_panel.conftest import PanelWorld

READ = (
    "/session-status",
    "/check-auth",
    "/session-info",
    "/proxy/health",
    "/proxy/stats",
    "/proxy/keys/status",
    "/proxy/circuit-breakers",
    "/proxy/rotation/strategy",
)


@pytest.mark.parametrize("path", READ)
def test_they_answer_who_is_signed_in(signed_in: httpx2.Client, path: str) -> None:
    """As JSON."""
    assert signed_in.get(path).status_code == 200
    assert signed_in.get(path).json() is not None


@pytest.mark.parametrize("path", [path for path in READ if path != "/session-status"])
def test_strangers_learn_nothing(panel_world: PanelWorld, path: str) -> None:
    """Not even the state of the keys."""
    answer = httpx2.get(f"{panel_world.origin}{path}")
    assert answer.status_code == 401
    assert answer.json()["title"] == "Unauthorized"


def test_strangers_cannot_control(panel_world: PanelWorld) -> None:
    """Neither the strategy nor a breaker."""
    for path in ("/proxy/rotation/strategy/random", "/proxy/circuit-breakers/x/reset", "/validate-credentials"):
        assert httpx2.post(f"{panel_world.origin}{path}").status_code in (401, 403)


def test_the_session_tells_of_itself(signed_in: httpx2.Client, panel_world: PanelWorld) -> None:
    """Nothing of its secret; without one it says so."""
    told = signed_in.get("/session-info").json()
    assert (told["authenticated"], told["user"], told["role"]) == (True, "admin", "admin")
    assert told["created_at"] <= told["last_activity"] < told["expires_at"]
    assert signed_in.cookies["session"] not in str(told)
    assert signed_in.post("/extend-session").json()["authenticated"] is True
    assert httpx2.get(f"{panel_world.origin}/session-status").json()["authenticated"] is False


def test_there_is_no_password_oracle(signed_in: httpx2.Client) -> None:
    """Not for those inside either."""
    answer = signed_in.post("/validate-credentials", json={"username": "admin", "password": "x"})
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (410, "gone")


def test_keys_and_strategy_are_worked_on(signed_in: httpx2.Client) -> None:
    """A test asks OpenRouter; a strategy that is none is refused."""
    key = signed_in.get("/proxy/keys/status").json()[0]["id"]
    assert signed_in.post(f"/proxy/keys/{key}/test").json()["good"] is True
    assert signed_in.post(f"/proxy/circuit-breakers/{key}/reset").json()["marks"] == []
    told = signed_in.post("/proxy/rotation/strategy/least_used").json()
    assert (told["before"], told["strategy"]) == ("balanced", "least_used")
    assert signed_in.post("/proxy/rotation/strategy/luck").status_code == 422
    signed_in.put("/admin/api/strategy", json={"strategy": None})
