"""Nothing of OpenTelemetry is there before somebody wants it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

LOOK = """
import sys
import app.main
from app.core.clock import SystemClock
from app.services.tracing import telemetry
assert telemetry("", "name", SystemClock()) is None
heavy = ("app.core.otel", "opentelemetry.exporter", "opentelemetry.proto", "google", "requests")
print(sorted(name for name in sys.modules if name.startswith(heavy)))
"""


def test_off_it_is_not_even_imported() -> None:
    """The whole program, without what sends. (redis-py looks at the library's metrics wherever it is installed.)"""
    seen = subprocess.run([sys.executable, "-c", LOOK], cwd=ROOT, capture_output=True, text=True, check=False)

    assert seen.stdout == "[]\n", seen.stderr
