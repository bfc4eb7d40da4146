"""Nothing of OpenTelemetry is there before somebody wants it."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from app.core.clock import SystemClock
from app.core.telemetry import telemetry

ROOT = Path(__file__).parents[2]

LOOK = """
import sys
import app.main
from app.core.clock import SystemClock
from app.core.telemetry import telemetry
assert telemetry("", "name", SystemClock()) is None
heavy = ("app.core.otel", "opentelemetry.exporter", "opentelemetry.proto", "google", "requests")
print(sorted(name for name in sys.modules if name.startswith(heavy)))
"""


def test_off_it_is_not_even_imported() -> None:
    """The whole program, without what sends. (redis-py looks at the library's metrics wherever it is installed.)"""
    seen = subprocess.run([sys.executable, "-c", LOOK], cwd=ROOT, capture_output=True, text=True, check=False)

    assert seen.stdout == "[]\n", seen.stderr


def test_without_the_library_calls_are_served_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And the log says how to get it."""
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    monkeypatch.delitem(sys.modules, "app.core.otel", raising=False)
    with caplog.at_level(logging.WARNING):
        assert telemetry("http://127.0.0.1:9", "name", SystemClock()) is None

    assert caplog.messages == ["opentelemetry is missing"]
    assert "openrouter-middleware[otel]" in caplog.records[0].detail  # type: ignore[attr-defined]
