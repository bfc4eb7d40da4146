"""A collector of OpenTelemetry: keeps what it is sent by OTLP over HTTP, or refuses, or says nothing."""

from __future__ import annotations

import contextlib
import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from tests.gateway_process import wait_until


class Receiver:
    """`status`: what it answers with. While `silent` is set it takes requests and says nothing."""

    def __init__(self) -> None:
        self.status = 200
        self.silent = threading.Event()
        self.ended = threading.Event()
        self.traces: list[Any] = []
        self.metrics: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.raw = b""
        self.url = ""

    def take(self, path: str, headers: dict[str, str], body: bytes) -> int:
        if self.silent.is_set():
            self.ended.wait(30)
        self.headers.append(headers)
        if self.status == 200:
            raw = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
            self.raw += raw
            if path == "/v1/traces":
                self.traces.append(ExportTraceServiceRequest.FromString(raw))
            elif path == "/v1/metrics":
                self.metrics.append(ExportMetricsServiceRequest.FromString(raw))
            else:
                return 404
        return self.status

    @property
    def spans(self) -> list[Any]:
        found = [group for sent in self.traces for resource in sent.resource_spans for group in resource.scope_spans]
        return [span for group in found for span in group.spans]

    def wait_spans(self, count: int) -> list[Any]:
        wait_until(lambda: len(self.spans) >= count, what=f"{count} spans")
        return self.spans

    def resource(self) -> dict[str, Any]:
        return attributes(self.traces[0].resource_spans[0].resource)

    def points(self, name: str) -> list[Any]:
        """Of the last picture."""
        scopes = [scope for resource in self.metrics[-1].resource_metrics for scope in resource.scope_metrics]
        (metric,) = [metric for scope in scopes for metric in scope.metrics if metric.name == name]
        return list(getattr(metric, metric.WhichOneof("data")).data_points)


def attributes(of: Any) -> dict[str, Any]:
    """Of a span, a resource or a point."""
    return {pair.key: _value(pair.value) for pair in of.attributes}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    return [_value(one) for one in value.array_value.values] if kind == "array_value" else getattr(value, kind or "")


@contextlib.contextmanager
def running_receiver() -> Iterator[Receiver]:
    """Listens until the end of the block."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", "0")))
            status = receiver.take(self.path, headers, body)
            with contextlib.suppress(OSError):
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    receiver.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield receiver
    finally:
        receiver.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
