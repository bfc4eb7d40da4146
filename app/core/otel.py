"""Sends spans and metrics to a collector by OTLP over HTTP, with OpenTelemetry's own library: spans from a bounded
queue in a thread. A collector that is away costs spans, and nothing else.

The library reads further `OTEL_…` variables by itself: headers, sampling, the queue's size. Imported only when used.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import MetricExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app import __version__
from app.core.clock import Clock
from app.core.metrics import Family
from app.core.otel_metrics import metrics_data
from app.core.telemetry import NOBODY, Span

log = logging.getLogger(__name__)

_NAME: Final = "openrouter-middleware"
_PATIENCE_S: Final = 2.0
_FAILED: Final = Status(StatusCode.ERROR)
_ROOT: Final = Context()
_read_context: Final = TraceContextTextMapPropagator().extract


class Otlp:
    """`endpoint`: without the path of a signal."""

    def __init__(self, endpoint: str, service: str, clock: Clock) -> None:
        # What it says of a collector that is away is said here, once.
        logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
        self._clock = clock
        named = {"service.name": service, "service.version": __version__, "service.instance.id": secrets.token_hex(8)}
        self._resource = Resource.create(named)
        self._spans = _Watched(OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces"))
        self._metrics = OTLPMetricExporter(endpoint=f"{endpoint}/v1/metrics")
        self._tell_metrics = _Complaint("metrics")
        self._provider = TracerProvider(resource=self._resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._spans))
        self._tracer = self._provider.get_tracer(_NAME, __version__)
        self._began_ns = self._now_ns()
        self._sending: threading.Thread | None = None

    def put(self, span: Span, parts: Sequence[Span], context: Mapping[str, str] = NOBODY) -> None:
        above = _read_context(context, _ROOT) if context else _ROOT
        whole = self._tracer.start_span(span.name, above, SpanKind.SERVER, span.attributes, start_time=span.began_ns)
        if whole.is_recording():
            inside = trace.set_span_in_context(whole, _ROOT)
            for part in parts:
                kind = SpanKind.CLIENT if part.outside else SpanKind.INTERNAL
                _end(self._tracer.start_span(part.name, inside, kind, part.attributes, start_time=part.began_ns), part)
        _end(whole, span)

    def send(self, families: Sequence[Family]) -> None:
        if self._sending is not None and self._sending.is_alive():
            return  # this picture will be part of the next one
        data = metrics_data(families, self._resource, (_NAME, __version__), self._began_ns, self._now_ns())
        self._sending = _in_time(lambda: self._tell_metrics(self._metrics.export(data) is MetricExportResult.SUCCESS))

    def _now_ns(self) -> int:
        return int(self._clock.wall_s() * 1e9)

    def close(self) -> None:
        if _in_time(self._provider.shutdown).is_alive():
            self._spans.shutdown()
        self._metrics.shutdown()


def _in_time(work: Callable[[], None]) -> threading.Thread:
    """Waits a while for it. The library has no end to its patience, and a process waits for usual threads."""
    thread = threading.Thread(target=work, name="telemetry", daemon=True)
    thread.start()
    thread.join(_PATIENCE_S)
    return thread


def _end(span: trace.Span, facts: Span) -> None:
    if facts.failed:
        span.set_status(_FAILED)
    span.end(facts.ended_ns)


class _Complaint:
    """Tells of a change, once."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._well = True

    def __call__(self, well: bool) -> None:
        if well is not self._well:
            self._well = well
            level, words = (
                (logging.INFO, "collector takes again") if well else (logging.WARNING, "collector not reached")
            )
            log.log(level, words, extra={"signal": self._what})


class _Watched(SpanExporter):
    """Says what becomes of spans."""

    def __init__(self, exporter: OTLPSpanExporter) -> None:
        self._exporter = exporter
        self._tell: Callable[[bool], None] = _Complaint("traces")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        self._tell(result is SpanExportResult.SUCCESS)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]
