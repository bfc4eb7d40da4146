"""A real uvicorn in a thread for one ASGI application, and raw sockets to speak to it."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


@dataclass
class Raw:
    """One answer as it came."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


@dataclass
class Echo:
    """An application that answers every request with 200 and remembers what it has seen."""

    seen: list[tuple[str, bytes, bytes, bytes]] = field(default_factory=list)
    headers: list[list[tuple[bytes, bytes]]] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            more = message["more_body"]
        self.seen.append((scope["method"], scope["raw_path"], scope["query_string"], body))
        self.headers.append(scope["headers"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


@contextlib.contextmanager
def serving(app: Any, protocol: Any = HttpToolsProtocol, *, loop: str = "uvloop") -> Iterator[int]:
    """The port of a server that is ready and is stopped afterwards."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, http=protocol, ws="none", loop=loop, lifespan="off", log_config=None,
        access_log=False, server_header=False, timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started:
        assert time.monotonic() < deadline, "uvicorn does not start"
        time.sleep(0.005)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)


class Wire:
    """A client's end of a connection, for bytes that no client library would send."""

    def __init__(self, port: int, timeout_s: float = 5.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(data)

    def answer(self, *, head_only: bool = False) -> Raw | None:
        """The next final answer, or None where the server has closed without one."""
        while b"\r\n\r\n" not in self._buffer:
            if not self._more():
                return None
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        status = int(re.match(rb"HTTP/1\.1 (\d{3})", head)[1])
        if status == 100:
            return self.answer()
        headers = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
        if headers.get(b"transfer-encoding") == b"chunked" and not head_only:
            return Raw(status, headers, self._chunks())
        length = 0 if head_only or status in (204, 304) else int(headers.get(b"content-length", 0))
        while len(self._buffer) < length:
            if not self._more():
                break
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return Raw(status, headers, body)

    def _chunks(self) -> bytes:
        """A chunked body, as far as it came."""
        pieces = []
        while True:
            while b"\r\n" not in self._buffer:
                if not self._more():
                    return b"".join(pieces)
            size, _, self._buffer = self._buffer.partition(b"\r\n")
            length = int(size, 16)
            while len(self._buffer) < length + 2:
                if not self._more():
                    return b"".join(pieces)
            pieces.append(self._buffer[:length])
            self._buffer = self._buffer[length + 2 :]
            if not length:
                return b"".join(pieces)

    def interim(self) -> bytes:
        """What has come so far, unread."""
        self._more()
        return self._buffer

    def closed(self) -> bool:
        """Whether the server ends the connection, waiting for it, without another byte."""
        try:
            return not self._more()
        except TimeoutError:
            return False

    def _more(self) -> bool:
        try:
            data = self.socket.recv(65536)
        except ConnectionError:
            return False
        self._buffer += data
        return bool(data)


def ask(port: int, payload: bytes) -> Raw | None:
    """One request on a connection of its own, and its answer."""
    with Wire(port) as wire:
        wire.send(payload)
        return wire.answer()
