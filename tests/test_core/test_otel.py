"""What a collector gets, and that it can hold up nobody."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator

import pytest

from app import __version__
from app.core.clock import SystemClock
from app.core.metrics import Counter
from app.core.otel import Otlp
from app.core.telemetry import Span
from tests.gateway_process import free_port, wait_until
from tests.otlp_receiver import Receiver, attributes, running_receiver

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CALL = Span(name="chat a/b", began_ns=1_000_000_000, ended_ns=4_000_000_000, attributes={"one": 1, "words": ["a"]})
TRY = Span(
    name="openrouter chat", outside=True, began_ns=2_000_000_000, ended_ns=3_000_000_000, attributes={}, failed=True
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's own settings: send often, and not much at a time."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "64")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "32")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as running:
        yield running


@contextlib.contextmanager
def sending_to(url: str) -> Iterator[Otlp]:
    otlp = Otlp(url, "gateway-7", SystemClock())
    try:
        yield otlp
    finally:
        otlp.close()


def test_a_call_and_its_parts_arrive(receiver: Receiver) -> None:
    """With their times, what they are part of, and who sent them."""
    with sending_to(receiver.url) as otlp:
        otlp.put(CALL, [TRY])
        spans = {span.name: span for span in receiver.wait_spans(2)}
    call, tried = spans["chat a/b"], spans["openrouter chat"]

    assert (call.start_time_unix_nano, call.end_time_unix_nano) == (1_000_000_000, 4_000_000_000)
    assert (tried.start_time_unix_nano, tried.end_time_unix_nano) == (2_000_000_000, 3_000_000_000)
    assert (call.kind, tried.kind) == (2, 3)  # server, client
    assert (call.parent_span_id, tried.parent_span_id) == (b"", call.span_id)
    assert call.trace_id == tried.trace_id
    assert (call.status.code, tried.status.code) == (0, 2)
    assert attributes(call) == {"one": 1, "words": ["a"]}
    resource = receiver.resource()
    assert (resource["service.name"], resource["service.version"]) == ("gateway-7", __version__)


def test_a_trace_of_the_caller_goes_on(receiver: Receiver) -> None:
    """Its id, its span as the parent, and its vendors' notes."""
    with sending_to(receiver.url) as otlp:
        otlp.put(CALL, [], {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"})
        (span,) = receiver.wait_spans(1)

    assert span.trace_id.hex() == TRACE
    assert span.parent_span_id.hex() == PARENT
    assert span.trace_state == "vendor=1"


def test_what_the_caller_does_not_record_is_not_sent(receiver: Receiver) -> None:
    """Its flag decides, as W3C says."""
    with sending_to(receiver.url) as otlp:
        otlp.put(CALL, [TRY], {"traceparent": f"00-{TRACE}-{PARENT}-00"})
        otlp.put(CALL, [])
        (span,) = receiver.wait_spans(1)
    assert len(receiver.spans) == 1
    assert span.trace_id.hex() != TRACE


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "00",
        f"00-{TRACE}-{PARENT}",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        "00-Ärger",
        "\x00" * 60,
    ],
)
def test_nonsense_begins_a_trace_of_its_own(receiver: Receiver, sent: str) -> None:
    """A caller cannot break the sending."""
    with sending_to(receiver.url) as otlp:
        otlp.put(CALL, [], {"traceparent": sent, "tracestate": "=,=;" * 100})
        (span,) = receiver.wait_spans(1)

    assert span.parent_span_id == b""
    assert span.trace_id.hex() not in (TRACE, "0" * 32)


def test_the_librarys_own_settings_hold(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key for the collector, sampling, more about the sender."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=collector-secret")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
    with sending_to(receiver.url) as otlp:
        otlp.put(CALL, [TRY])
        otlp.put(CALL, [], {"traceparent": f"00-{TRACE}-{PARENT}-01"})
        (span,) = receiver.wait_spans(1)

    assert span.trace_id.hex() == TRACE
    assert receiver.headers[0]["x-api-key"] == "collector-secret"
    assert receiver.resource()["deployment.environment"] == "test"


def test_what_waits_is_sent_at_the_end(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost by an orderly stop."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
    with sending_to(receiver.url) as otlp:
        otlp.put(CALL, [TRY])
        assert receiver.spans == []

    assert len(receiver.spans) == 2


def batch_threads() -> int:
    return sum(thread.name.startswith("OtelBatch") for thread in threading.enumerate())


def test_a_silent_collector_holds_up_nobody(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand calls later only what the queue holds is kept, and a stop does not wait for it."""
    monkeypatch.setattr("app.core.otel._PATIENCE_S", 0.1)
    receiver.silent.set()
    otlp = Otlp(receiver.url, "x", SystemClock())
    for _ in range(2_000):
        otlp.put(CALL, [TRY])
    otlp.close()
    receiver.silent.clear()
    receiver.ended.set()
    wait_until(lambda: batch_threads() == 0, what="the end of the thread")
    assert len(receiver.spans) <= 64 + 2 * 32


def test_a_collector_that_is_away_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """And its return; calls notice neither."""
    port = free_port()
    with caplog.at_level(logging.INFO), sending_to(f"http://127.0.0.1:{port}") as otlp:
        otlp._spans._exporter._client._timeout = 0.1
        for _ in range(3):
            otlp.put(CALL, [])
            wait_until(lambda: "collector not reached" in caplog.messages, what="the warning")
        otlp._spans._tell(True)
    told = [(record.message, record.signal) for record in caplog.records if record.name == "app.core.otel"]  # type: ignore[attr-defined]

    assert told[:2] == [("collector not reached", "traces"), ("collector takes again", "traces")]
    assert {record.name for record in caplog.records} == {"app.core.otel"}


def test_metrics_arrive(receiver: Receiver) -> None:
    """As counted, and again with the next picture; a refusal is told once."""
    counter = Counter("calls", "Words.", "of", parts=10)
    counter.add(("x",), 25)
    with sending_to(receiver.url) as otlp:
        otlp.send([counter.picture()])
        counter.add(("x",), 5)
        otlp.send([counter.picture()])

    assert len(receiver.metrics) == 2
    (point,) = receiver.points("calls")
    assert point.as_double == 3.0
    assert attributes(point) == {"of": "x"}
    assert 0 < point.start_time_unix_nano < point.time_unix_nano


def test_a_picture_that_hangs_is_waited_for_once(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next ones are left out until it is through: a stop loses no time with them."""
    monkeypatch.setattr("app.core.otel._PATIENCE_S", 0.1)
    receiver.silent.set()
    counter = Counter("calls", "Words.")
    with sending_to(receiver.url) as otlp:
        otlp.send([counter.picture()])
        hanging = otlp._sending
        otlp.send([counter.picture()])
        assert otlp._sending is hanging
        receiver.silent.clear()
        receiver.ended.set()
        assert hanging is not None
        hanging.join(10)
        counter.add()
        otlp.send([counter.picture()])

    assert [point.as_double for point in receiver.points("calls")] == [1]
    assert len(receiver.metrics) == 2


def test_refused_metrics_are_told_once(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """Not with every picture."""
    receiver.status = 400
    with caplog.at_level(logging.INFO), sending_to(receiver.url) as otlp:
        otlp.send([])
        otlp.send([])
        receiver.status = 200
        otlp.send([])

    assert caplog.messages == ["collector not reached", "collector takes again"]
