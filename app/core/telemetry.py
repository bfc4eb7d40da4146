"""What goes to an OpenTelemetry collector, in words of our own: who speaks of it need not load the library that sends
it. Knows no calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec

from app.core.metrics import Family

Value = str | int | float | bool | Sequence[str]
NOBODY: Final[Mapping[str, str]] = {}


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of work that has ended. Times are nanoseconds since the epoch."""

    name: str
    outside: bool = False
    """Whether it was done by somebody else, who was asked to."""
    began_ns: int
    ended_ns: int
    attributes: dict[str, Value]
    failed: bool = False


class Telemetry(Protocol):
    """`put` waits for nothing. `send` and `close` wait for a collector for a moment, and belong into a thread."""

    def put(self, span: Span, parts: Sequence[Span], context: Mapping[str, str] = NOBODY) -> None:
        """Sends a span and its parts, some time. `context`: the W3C headers that came with the work."""

    def send(self, families: Sequence[Family]) -> None:
        """Sends a picture of the metrics now."""

    def close(self) -> None:
        """Sends what waits, for as long as a stop may take."""
