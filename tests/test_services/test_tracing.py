"""Each closed call goes to the collector once, under its caller's trace."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest

from app.core.clock import SystemClock
from app.core.metrics import Family
from app.core.telemetry import NOBODY, Span
from app.models.exchange import Route, RouteKind, Skin
from app.models.ledger import Entry
from app.services import tracing as module
from app.services.account import Account
from app.services.call import Call
from app.services.tracing import Tracing, telemetry

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ROUTE = Route(RouteKind.FORWARD, b"/v1/chat/completions", "chat/completions", Skin.OPENROUTER, inference=True)


class Collector:
    """Remembers what it was given."""

    def __init__(self) -> None:
        self.got: list[tuple[Span, int, dict[str, str]]] = []
        self.closed = 0

    def put(self, span: Span, parts: Sequence[Span], context: Mapping[str, str] = NOBODY) -> None:
        self.got.append((span, len(parts), dict(context)))

    def send(self, families: Sequence[Family]) -> None:
        raise AssertionError(families)

    def close(self) -> None:
        self.closed += 1


def call(number: int, *headers: tuple[bytes, bytes]) -> Call:
    client: Any = msgspec.convert(None, Any)
    made = Call(
        method="POST", route=ROUTE, query=b"", headers=headers, content_type=b"", client=client, public_base=b""
    )
    made.account = Account(number, "j")
    return made


def entry(of: Call) -> Entry:
    return Entry(id=of.account.id, request_id="r", at_s=1.0, client_id="c", route="chat/completions", model_asked="a/b")


@pytest.mark.parametrize(
    ("headers", "context"),
    [
        ([], {}),
        ([(b"content-type", b"text/plain")], {}),
        ([(b"traceparent", PARENT.encode())], {"traceparent": PARENT}),
        (
            [(b"tracestate", b"v=1"), (b"traceparent", PARENT.encode())],
            {"traceparent": PARENT, "tracestate": "v=1"},
        ),
        ([(b"traceparent", b"\xff\x00")], {"traceparent": "\xff\x00"}),
    ],
)
def test_the_callers_trace_goes_with_its_call(headers: list[tuple[bytes, bytes]], context: dict[str, str]) -> None:
    """Kept from the call's opening to its end, and no longer."""
    collector = Collector()
    tracing = Tracing(collector, "openrouter.ai", 443)
    made = call(1, *headers)
    tracing.opened(made)
    tracing.take(entry(made))
    tracing.take(entry(made))

    assert [got[2] for got in collector.got] == [context, {}]
    assert collector.got[0][0].attributes["server.address"] == "openrouter.ai"
    assert tracing._contexts == {}


def test_calls_that_never_close_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is forgotten."""
    monkeypatch.setattr(module, "_MOST_OPEN", 3)
    collector = Collector()
    tracing = Tracing(collector, "h", 1)
    calls = [call(number, (b"traceparent", PARENT.encode())) for number in range(5)]
    for made in calls:
        tracing.opened(made)
    for made in calls:
        tracing.take(entry(made))

    assert [bool(got[2]) for got in collector.got] == [False, False, True, True, True]


async def test_closing_sends_what_waits() -> None:
    """In a thread, for it may take its time."""
    collector = Collector()
    await Tracing(collector, "h", 1).close()

    assert collector.closed == 1


def test_without_the_library_calls_are_served_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And the log says how to get it."""
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    monkeypatch.delitem(sys.modules, "app.core.otel", raising=False)
    with caplog.at_level(logging.WARNING):
        assert telemetry("http://127.0.0.1:9", "name", SystemClock()) is None

    assert caplog.messages == ["opentelemetry is missing"]
    assert "openrouter-middleware[otel]" in caplog.records[0].next  # type: ignore[attr-defined]
