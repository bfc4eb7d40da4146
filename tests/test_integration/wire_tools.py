"""HTTP with no library in between: an upstream of sockets that keeps every byte, and a client that sends any byte."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

Pairs = list[tuple[str, str]]


@dataclass
class Received:
    """One request as it reached the upstream, to the byte."""

    head: bytes
    body: bytes = b""
    at: float = field(default_factory=time.monotonic)

    @property
    def request_line(self) -> bytes:
        return self.head.split(b"\r\n", 1)[0]

    @property
    def method(self) -> str:
        return self.request_line.split(b" ")[0].decode()

    @property
    def target(self) -> bytes:
        return self.request_line.split(b" ")[1]

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        lines = self.head.split(b"\r\n")[1:]
        pairs = [line.partition(b":") for line in lines if line]
        return [(name.lower(), value.strip()) for name, _, value in pairs]

    def all(self, name: str) -> list[bytes]:
        """Every value of a header."""
        return [value for found, value in self.headers if found == name.encode()]


class Line:
    """The upstream's end of one connection, handed to the handler of a request."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.closed_at: float | None = None

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def answer(self, status: int, body: bytes = b"", headers: Pairs | None = None) -> None:
        lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in headers or [])]
        self.send(("\r\n".join([*lines, f"Content-Length: {len(body)}"]) + "\r\n\r\n").encode("latin-1") + body)

    def answer_json(self, value: Any, status: int = 200, headers: Pairs | None = None) -> None:
        body = json.dumps(value).encode()
        self.answer(status, body, [("Content-Type", "application/json"), *(headers or [])])

    def begin(self, content_type: str = "text/event-stream", headers: Pairs | None = None) -> None:
        """The head of a chunked answer."""
        pairs = [("Content-Type", content_type), ("Transfer-Encoding", "chunked"), *(headers or [])]
        self.send(("HTTP/1.1 200 OK\r\n" + "".join(f"{name}: {value}\r\n" for name, value in pairs) + "\r\n").encode())

    def chunk(self, data: bytes) -> None:
        self.send(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self) -> None:
        self.send(b"0\r\n\r\n")

    def wait_closed(self, within_s: float = 10.0) -> float:
        """Waits until the gateway hangs up; the moment at which it did."""
        self.connection.settimeout(within_s)
        with contextlib.suppress(ConnectionError):
            while self.connection.recv(65536):
                pass
        self.closed_at = time.monotonic()
        return self.closed_at

    def reset(self) -> None:
        """Ends the connection with RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


Handler = Callable[[Received, Line], None]
_KEY_FACTS = {"data": {"label": "sk-or-v1-abc...def", "limit": None, "usage": 0, "is_management_key": False}}


def plain_answer(request: Received, line: Line) -> None:
    """What a request meets that no test has spoken for."""
    line.answer_json({"ok": True})


def own_answer(request: Received) -> dict[str, Any] | None:
    """For what the gateway asks in its own name: its keys' state, what models cost, and what a call has cost."""
    if request.target == b"/api/v1/key":
        return _KEY_FACTS
    if request.target == b"/api/v1/models?output_modalities=all":
        return {"data": []}
    if request.target.startswith(b"/api/v1/generation?") and b"\r\nuser-agent: openrouter-middleware/" in request.head:
        return {"data": {"total_cost": 0, "usage": 0}}
    return None


class RawUpstream:
    """A threaded HTTP/1.1 server of sockets. `handler` answers; `received` keeps all but the gateway's own probes."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.handler: Handler = plain_answer
        self.connections = 0
        self.errors: list[BaseException] = []
        upstream = self

        class Connection(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                upstream.connections += 1
                with contextlib.suppress(OSError):
                    upstream._serve(self.request)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Connection, bind_and_activate=False)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._server.allow_reuse_address = True
        self._server.request_queue_size = 128
        self._server.server_bind()
        self._server.server_activate()
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def base_url(self) -> str:
        return f"{self.origin}/api/v1"

    def start(self) -> RawUpstream:
        self._thread.start()
        return self

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def clear(self) -> None:
        self.received.clear()
        self.errors.clear()
        self.handler = plain_answer

    @property
    def last(self) -> Received:
        return self.received[-1]

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        rest = b""
        while True:
            request, rest = _read_request(connection, rest)
            if request is None:
                return
            line = Line(connection)
            if (own := own_answer(request)) is not None:
                line.answer_json(own)
                continue
            self.received.append(request)
            try:
                self.handler(request, line)
            except AssertionError as error:
                self.errors.append(error)
                return
            if line.closed_at is not None or connection.fileno() < 0:
                return


def _read_request(connection: socket.socket, rest: bytes) -> tuple[Received | None, bytes]:
    while b"\r\n\r\n" not in rest:
        piece = connection.recv(65536)
        if not piece:
            return None, b""
        rest += piece
    head, _, rest = rest.partition(b"\r\n\r\n")
    request = Received(head)
    length = int((request.all("content-length") or [b"0"])[0])
    assert not request.all("transfer-encoding"), "the gateway sends bodies with their length"
    pieces, size = [rest], len(rest)
    while size < length:
        piece = connection.recv(1 << 20)
        if not piece:
            return None, b""
        pieces.append(piece)
        size += len(piece)
    whole = b"".join(pieces)
    request.body = whole[:length]
    return request, whole[length:]


@contextlib.contextmanager
def running_raw_upstream() -> Iterator[RawUpstream]:
    upstream = RawUpstream().start()
    try:
        yield upstream
    finally:
        upstream.stop()


@dataclass(frozen=True)
class Reply:
    """One answer as a client got it."""

    status: int
    headers: Pairs
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for found, value in self.headers if found.lower() == name.lower()]

    def first(self, name: str) -> str:
        return (self.all(name) or [""])[0]

    def json(self) -> Any:
        return json.loads(self.body)


def call(
    port: int,
    method: str,
    target: str,
    *,
    headers: Pairs | None = None,
    body: bytes | None = None,
    key: str = "",
    length: bool = True,
    timeout: float = 30.0,
) -> Reply:
    """One request with exactly these header lines (besides Host, the length and `key` as a bearer)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    with contextlib.closing(connection):
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in headers or []:
            connection.putheader(name, value)
        if key:
            connection.putheader("Authorization", f"Bearer {key}")
        if body is not None and length:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders()
        # A refusal may come, and the connection end, before the whole body is sent.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if body:
                connection.send(body)
        with connection.getresponse() as answer:
            return Reply(answer.status, answer.getheaders(), answer.read())


def call_json(port: int, target: str, value: Any, *, key: str, headers: Pairs | None = None) -> Reply:
    """A POST of a JSON body."""
    pairs = [("Content-Type", "application/json"), *(headers or [])]
    return call(port, "POST", target, headers=pairs, body=json.dumps(value).encode(), key=key)


def raw_call(port: int, data: bytes, *, timeout: float = 10.0) -> bytes:
    """Sends these very bytes; everything that comes back until the gateway closes (ask for it: Connection: close)."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        connection.sendall(data)
        return read_to_end(connection)


def read_to_end(connection: socket.socket) -> bytes:
    pieces: list[bytes] = []
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            pieces.append(piece)
    return b"".join(pieces)


def read_until(connection: socket.socket, mark: bytes) -> bytes:
    """Everything up to the first bytes that contain `mark`."""
    seen = b""
    while mark not in seen:
        piece = connection.recv(65536)
        assert piece, f"closed before {mark!r}: {seen!r}"
        seen += piece
    return seen


def status_of(answer: bytes) -> int:
    """The status of a raw answer, 0 where there is none."""
    return int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else 0


def unzipped(reply: Reply) -> bytes:
    """The body as it was before it was compressed."""
    coding = reply.first("content-encoding")
    assert coding in ("", "identity", "gzip"), coding
    return gzip.decompress(reply.body) if coding == "gzip" else reply.body


def is_error_of(skin: str, reply: Reply) -> bool:
    """Whether an error answer has the shape that clients of this API understand."""
    value = reply.json()
    if skin == "anthropic":
        return bool(value["type"] == "error" and isinstance(value["error"]["type"], str) and value["error"]["message"])
    error = cast("dict[str, Any]", value["error"])
    return bool(error["code"] == reply.status and isinstance(error["message"], str) and error["message"])
