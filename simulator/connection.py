"""HTTP/1.1 as a server, down to the bytes: every chunk border, cut and reset is the caller's choice. Knows no API."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from typing import cast
from urllib.parse import parse_qsl, unquote

import httptools

log = logging.getLogger(__name__)

Headers = Iterable[tuple[str, str]]
_PIPELINED = 4  # requests held before reading stops
_HIGH_WATER = 256 * 1024


class ClientGone(Exception):  # noqa: N818 - an event, not a mistake
    """The client closed its connection."""


@dataclass(frozen=True)
class Request:
    """One request exactly as it was received."""

    method: str
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    keep_alive: bool
    version: str

    def header(self, name: str) -> str | None:
        wanted = name.lower().encode()
        return next((value.decode("latin-1") for key, value in self.headers if key.lower() == wanted), None)

    @cached_property
    def path(self) -> str:
        return unquote(self.target.partition(b"?")[0].decode("latin-1"))

    @cached_property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.target.partition(b"?")[2].decode("latin-1"), keep_blank_values=True))


class Exchange:
    """The answer to one request: a head, chunks, an end; or one of the ways in which answers fail to arrive."""

    def __init__(self, connection: Connection, request: Request) -> None:
        self._connection = connection
        self.request = request
        self.status = 0
        self.ended = False
        self._chunked = True
        self._keep = request.keep_alive
        self.cut_after = -1  # body bytes after which a cutting fault closes the connection
        self.recut = 0  # size of the pieces in which body bytes are sent, whatever the events; 0: one per write

    @property
    def gone(self) -> bool:
        return self._connection.lost.done()

    @property
    def reusable(self) -> bool:
        return self.ended and self._keep

    @property
    def peer(self) -> str:
        return self._connection.peer

    def head(self, status: int, headers: Headers, *, length: int | None = None) -> None:
        """Sends the head: chunked as OpenRouter always answers, unless a length is promised."""
        self.status = status
        lines = [f"HTTP/1.1 {status} {_phrase(status)}", *(f"{name}: {value}" for name, value in headers)]
        self._chunked = length is None and self.request.version != "1.0"
        if length is not None:
            lines.append(f"Content-Length: {length}")
        elif self._chunked:
            lines.append("Transfer-Encoding: chunked")
        else:
            self._keep = False
        lines.append("Connection: keep-alive" if self._keep else "Connection: close")
        self._connection.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    def write(self, data: bytes) -> None:
        """One chunk of the body (or several, when the borders are to be wrong)."""
        if not data or self.request.method == "HEAD":
            return
        step = self.recut or len(data)
        for start in range(0, len(data), step):
            piece = data[start : start + step]
            self._connection.send(b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece)

    def raw(self, data: bytes) -> None:
        """Bytes with no framing at all."""
        self._keep = False
        self._connection.send(data)

    def end(self) -> None:
        if self._chunked and self.request.method != "HEAD":
            self._connection.send(b"0\r\n\r\n")
        self.ended = True

    def answer(self, status: int, headers: Headers, body: bytes, *, length: bool = False) -> None:
        self.head(status, headers, length=len(body) if length else None)
        self.write(body)
        self.end()

    async def drain(self) -> None:
        """Waits until a slow reader has caught up."""
        await self._connection.writable.wait()
        if self.gone:
            raise ClientGone

    async def sleep(self, seconds: float) -> None:
        """Sleeps, but wakes at once when the client leaves."""
        if seconds <= 0:
            await asyncio.sleep(0)
        else:
            await asyncio.wait((self._connection.lost,), timeout=seconds)
        if self.gone:
            raise ClientGone

    async def forever(self) -> None:
        await asyncio.wait((self._connection.lost,))
        raise ClientGone

    def cut(self) -> None:
        """What was written leaves, then the connection closes in the middle of the body."""
        self._connection.close()

    def reset(self) -> None:
        self._connection.reset()


class Connection(asyncio.Protocol):
    """One client connection: requests in order, one handler at a time."""

    def __init__(self, handler: Callable[[Exchange], Awaitable[None]], tasks: set[asyncio.Task[None]]) -> None:
        self._handler = handler
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._requests: deque[Request] = deque()
        self._running = False
        self.lost: asyncio.Future[None] = self._loop.create_future()
        self.writable = asyncio.Event()
        self.writable.set()
        self.peer = ""
        self.on_message_begin()

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_HIGH_WATER)
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if isinstance(peer, tuple) else "127.0.0.1"

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None
        if not self.lost.done():
            self.lost.set_result(None)
        self.writable.set()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.close()
        except httptools.HttpParserError:
            self.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            self.close()

    # --- httptools' callbacks

    def on_message_begin(self) -> None:
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if any(name.lower() == b"expect" and value.lower() == b"100-continue" for name, value in self._headers):
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode("ascii")
        self._requests.append(
            Request(
                method,
                self._target,
                tuple(self._headers),
                b"".join(self._body),
                self._parser.should_keep_alive(),
                self._parser.get_http_version(),
            )
        )
        if not self._running:
            self._running = True
            task = self._loop.create_task(self._serve())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif len(self._requests) >= _PIPELINED and self._transport is not None:
            self._transport.pause_reading()

    # --- answering

    async def _serve(self) -> None:
        try:
            while self._requests and not self.lost.done():
                exchange = Exchange(self, self._requests.popleft())
                if self._transport is not None:
                    self._transport.resume_reading()
                try:
                    await self._handler(exchange)
                except ClientGone:
                    return
                except Exception:  # the supervisor of one connection: the others go on
                    log.exception("simulator handler failed")
                    self.reset()
                    return
                if not exchange.reusable:
                    self.close()
                    return
        finally:
            self._running = False

    def send(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            raise ClientGone
        self._transport.write(data)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        """Closes with RST instead of FIN."""
        if self._transport is None:
            return
        raw = self._transport.get_extra_info("socket")
        with contextlib.suppress(OSError, AttributeError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
