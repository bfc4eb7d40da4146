"""Hands each closed call to a collector, under the trace that its caller began. Exists only where there is one."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from app.core.clock import Clock
from app.core.telemetry import NOBODY, Telemetry
from app.models.ledger import Entry
from app.services.call import Call
from app.services.call_spans import spans_of

log = logging.getLogger(__name__)

_MOST_OPEN: Final = 100_000
_CONTEXT: Final = {b"traceparent": "traceparent", b"tracestate": "tracestate"}


def telemetry(endpoint: str, service: str, clock: Clock) -> Telemetry | None:
    """None without an address, or where the library is missing: calls are served all the same."""
    if not endpoint:
        return None
    try:
        from app.core.otel import Otlp  # only who uses it pays for it
    except ImportError:
        log.warning("opentelemetry is missing", extra={"next": "pip install 'openrouter-middleware[otel]'"})
        return None
    return Otlp(endpoint, service, clock)


class Tracing:
    """One for each worker. `host` and `port` are OpenRouter's."""

    def __init__(self, telemetry: Telemetry, host: str, port: int) -> None:
        self._telemetry = telemetry
        self._server = (host, port)
        self._contexts: dict[str, dict[str, str]] = {}

    def opened(self, call: Call) -> None:
        """Keeps what the caller says of its trace until the call is closed."""
        found: dict[str, str] | None = None
        for name, value in call.headers:
            if name in _CONTEXT:
                found = found or {}
                found[_CONTEXT[name]] = value.decode("latin-1")
        if found is not None:
            if len(self._contexts) >= _MOST_OPEN:
                del self._contexts[next(iter(self._contexts))]
            self._contexts[call.account.id] = found

    def take(self, entry: Entry) -> None:
        """A call that is closed."""
        context = self._contexts.pop(entry.id, NOBODY)
        span, tries = spans_of(entry, *self._server)
        self._telemetry.put(span, tries, context)

    async def close(self) -> None:
        await asyncio.to_thread(self._telemetry.close)
