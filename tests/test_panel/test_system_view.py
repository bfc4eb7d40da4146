"""What the page of the system tells, from facts."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.config import Settings
from app.panel.system_view import Line, persistence, readiness, service, tasks, warnings
from app.services.beats import Beat
from app.services.health import Health
from app.services.vitals import RedisFacts

SECRET = "0123456789abcdef0123456789abcdef"
KEYS = {"total": 2, "ready": 2, "resting": 0}


def health(**facts: Any) -> Health:
    given: dict[str, Any] = {
        "redis_ms": 1.0, "openrouter_keys": KEYS, "client_keys": 1, "draining": False, "loaded": True,
    }  # fmt: skip
    return Health(**given | facts)


@pytest.mark.parametrize(
    "facts", [{}, {"redis_ms": None}, {"loaded": False}, {"store_reset": True}, {"draining": True}, {"client_keys": 0}]
)
def test_the_lines_are_what_readiness_asks(facts: dict[str, Any]) -> None:
    """All of them good, and only then, is it ready."""
    found = health(**facts)
    assert all(line.tone == "ok" for line in readiness(found)) is found.ready


def test_what_callers_need_besides() -> None:
    """Keys that rest come back; no key at all is worse."""
    assert [line.tone for line in service(health())] == ["ok", "ok", "ok"]
    resting = health(openrouter_keys={"ready": 0, "resting": 2}, client_keys=0, incident=True)
    assert [line.tone for line in service(resting)] == ["warn", "idle", "bad"]
    assert service(health(openrouter_keys={}))[0] == Line("keys", "bad", "0")


@pytest.mark.parametrize(
    ("settings", "facts", "redis", "kinds"),
    [
        ({"session_secret_key": SECRET}, {}, {}, []),
        ({}, {}, {}, ["generated"]),
        ({"session_secret_key": "ab" * 20}, {}, {}, ["weak"]),
        ({"session_secret_key": SECRET, "debug": True}, {"warnings": ("no file",)}, {}, ["said", "debug"]),
        ({"session_secret_key": SECRET}, {"warnings": ("no file",)}, {"write_failed": True}, ["write_failed", "said"]),
        (
            {
                "session_secret_key": SECRET,
                "allow_plain_http_upstream": True,
                "openrouter_base_url": "http://10.0.0.1/api/v1",
            },
            {},
            {},
            ["plain_upstream"],
        ),
    ],
)
def test_what_is_risky(
    settings: dict[str, Any], facts: dict[str, Any], redis: dict[str, Any], kinds: list[str]
) -> None:
    """The gravest first."""
    given = Settings(_env_file=None, **settings)
    found = warnings(given, health(**facts), RedisFacts(**redis), secure=True, host="gw.example")
    assert [line.kind for line in found] == kinds
    assert not [line for line in found if SECRET in line.text]


@pytest.mark.parametrize(("host", "tone"), [("gw.example", "bad"), ("127.0.0.1", "idle"), ("localhost", "idle")])
def test_plain_http(host: str, tone: str) -> None:
    """On the own machine nobody listens in."""
    given = Settings(_env_file=None, session_secret_key=SECRET)
    assert warnings(given, health(), RedisFacts(), secure=False, host=host) == [Line("plain_http", tone)]


def test_tasks_at_work_resting_and_failed() -> None:
    """One that rests long is no fault."""
    beats = [Beat("a", 1.0, failed=True), Beat("b", 50.0), Beat("c", 999.0)]
    assert [tone for _, tone in tasks(beats, 1000.0)] == ["bad", "idle", "ok"]


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({}, Line("unknown", "idle")),
        ({"appends": True}, Line("appends", "ok")),
        ({"appends": True, "write_failed": True}, Line("appends", "bad")),
        ({"appends": False, "snapshot_s": 999_990.0}, Line("snapshots", "warn")),
        ({"appends": False, "snapshot_s": 1.0}, Line("nothing", "bad")),
        ({"appends": False}, Line("nothing", "bad")),
    ],
)
def test_what_outlives_the_machine(facts: dict[str, Any], line: Line) -> None:
    """Of Redis, by what it says of itself."""
    assert persistence(RedisFacts(**facts), 1_000_000.0) == line
