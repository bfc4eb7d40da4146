"""uvicorn's HTTP/1.1 protocol with what it lacks: bounded heads, time limits, and refusals in JSON.

Owns what can be seen only before there is an ASGI scope; the guard judges everything else. Knows no routes and no keys.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.api.lane import Lane, Ticket
from app.api.lane_call import LaneCall
from app.api.render import render
from app.core.errors import GatewayError
from app.core.write_batch import batch_of
from app.middleware.facts import request_id
from app.models.exchange import Skin

log = logging.getLogger(__name__)

_BAD_REQUEST = GatewayError(400, "invalid_request", "This is not a valid HTTP request.", "Speak HTTP/1.1.", close=True)
_BAD_TARGET = GatewayError(
    400,
    "invalid_request",
    "The request's target must be a path.",
    "Call the gateway itself instead of using it as an HTTP proxy.",
    close=True,
)
_LONG_URL = GatewayError(414, "uri_too_long", "The path and query are too long.", "Send less.", close=True)
_LONG_HEAD = GatewayError(431, "headers_too_large", "The headers are too long.", "Send fewer of them.", close=True)
_SLOW_HEAD = GatewayError(408, "request_timeout", "The headers did not arrive in time.", close=True)
_NO_TUNNEL = GatewayError(
    405,
    "method_not_allowed",
    "This method is not allowed.",
    headers=((b"allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),),
    close=True,
)

_LINGER_S = 1.0
# When the gateway stops: a kept connection may bring one more call, which its client has perhaps sent already.
_LEAVE_S = 0.5
# Each costs a copy of the bytes behind it; a client that waits for its answers sends one.
_UPGRADES_IN_A_READ = 4
# uvicorn lets one request run at a time; more than these wait only if somebody means harm.
_PIPELINED = 256
_OFFERS = frozenset({b"upgrade", b"http2-settings"})


class _RefusedError(Exception):
    """Stops the parser; what is wrong stands in the protocol."""


class Departure:
    """Lets one request know that its client has left, without a task that waits for it."""

    __slots__ = ("lost", "on_leave", "whole")

    def __init__(self) -> None:
        self.on_leave: Callable[[], None] | None = None
        self.lost = False
        self.whole = False
        """Whether the whole request has arrived."""

    def leave(self) -> None:
        self.lost = True
        if self.on_leave is not None:
            self.on_leave()


class JoiningTransport:
    """A transport that keeps the head of an answer back for what is written next, or else for the loop's next turn."""

    __slots__ = ("_head", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""

    def write(self, data: bytes) -> None:
        if self._head:
            data, self._head = self._head + data, b""
            self._transport.write(data)
        elif data.startswith(b"HTTP/1.1 "):
            self._head = data
            self._loop.call_soon(self._flush)
        elif data:
            self._transport.write(data)

    def _flush(self) -> None:
        if self._head:
            data, self._head = self._head, b""
            self._transport.write(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def write_eof(self) -> None:
        self._flush()
        self._transport.write_eof()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class GatewayHttpProtocol(HttpToolsProtocol):
    """Hard bounds of what is kept of a request before it is judged; the guard's own limits are tighter."""

    max_url_bytes = 65_535
    max_head_bytes = 262_144
    head_timeout_s = 10.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_began_s = 0.0
        self._head_bytes = 0
        self._stray_since_s = 0.0
        self._error: GatewayError | None = None
        self._ended = False
        self._watch: asyncio.TimerHandle | None = None
        self._departures: deque[Departure] = deque(maxlen=_PIPELINED)
        self._lane: Lane | None = getattr(self.app, "lane", None)
        self._ticket: Ticket | None = None
        self._last_ticket: Ticket | None = None
        self._ticket_since_s = 0.0
        self._pieces: list[bytes] = []
        self._idle_since_s = 0.0
        self._leaving = False
        self._batch = batch_of(self.loop)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._raw_transport = transport
        # uvicorn writes an answer's head and its body apart, each a system call: here they leave together.
        self.transport = JoiningTransport(transport, self.loop)  # type: ignore[assignment]
        self._stray_since_s = self.loop.time()
        self._look_later()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        for departure in self._departures:
            departure.leave()
        self._departures.clear()
        if isinstance(self.cycle, LaneCall):
            self.cycle.leave()
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        self._idle_since_s = 0.0
        began = self._head_began_s
        for _ in range(_UPGRADES_IN_A_READ):
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as stop:
                # The parser takes what follows for another protocol. None is spoken here, so the offer is left out.
                data = self._head_without_offer() + data[stop.args[0] :]
            except httptools.HttpParserError:
                self._refuse(self._error or _BAD_REQUEST)
                return
            else:
                break
        else:
            self._refuse(_BAD_REQUEST)
            return
        if began and self._head_began_s == began:
            self._head_bytes += len(data)
            if self._head_bytes > self.max_head_bytes:
                self._refuse(_LONG_HEAD)

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self._head_began_s = self.loop.time()
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > self.max_url_bytes:
            self._stop(_LONG_URL)

    def on_headers_complete(self) -> None:
        self._head_began_s = 0.0
        lane, parser = self._lane, self.parser
        if parser.should_upgrade():
            if parser.get_method() == b"CONNECT":
                self._stop(_NO_TUNNEL)
            return  # it comes again without the offer
        if lane is not None and (self.cycle is None or self.cycle.response_complete):
            ticket, method = self._last_ticket, parser.get_method()
            if ticket is None or not lane.again(ticket, method, self.url, self.headers):
                ticket = self._last_ticket = lane.admit(method, self.url, self.headers)
            if ticket is not None and parser.get_http_version() == "1.1":
                self._ticket, self._ticket_since_s = ticket, self.loop.time()
                self._pieces = []
                return
        self._take_the_long_way()

    def _take_the_long_way(self) -> None:
        """The request whose head has just been read goes through ASGI."""
        url, headers = self.url, self.headers
        if not url.startswith(b"/") or b"#" in url:
            self._stop(_BAD_TARGET)
        super().on_message_begin()
        self.url = url
        self.expect_100_continue = any(pair[0] == b"expect" and pair[1].lower() == b"100-continue" for pair in headers)
        self.headers = self.scope["headers"] = headers
        departure = Departure()
        self._departures.append(departure)
        self.scope["gateway.departure"] = departure  # type: ignore[typeddict-unknown-key]
        super().on_headers_complete()
        self.cycle.keep_alive = self.cycle.keep_alive and not self._leaving

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_began_s:  # else a trailer: nobody asked for one, and it comes after the head was judged
            self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        if self._ticket is not None:
            self._pieces.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        ticket = self._ticket
        if ticket is not None and self._lane is not None:
            self._ticket = None
            pieces, self._pieces = self._pieces, []
            body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            keep_alive = self.parser.should_keep_alive() and not self._leaving
            call = LaneCall(self._lane, ticket, body, self, keep_alive=keep_alive)
            self.cycle = call  # type: ignore[assignment]
            call.start(self.tasks)
            return
        if self._departures:
            self._departures[-1].whole = True
        super().on_message_complete()

    def _leave_the_lane(self) -> None:
        """A body that comes slowly is not waited for here: the long way knows how long it may take."""
        pieces, self._pieces = self._pieces, []
        self._ticket = None
        self._take_the_long_way()
        for piece in pieces:
            super().on_body(piece)

    def on_response_complete(self) -> None:
        if self._departures:
            self._departures.popleft()
        self._next()

    def began(self) -> None:
        """A call in the lane runs."""
        self._batch.running += 1

    def answered(self, *, reusable: bool) -> None:
        """It is over."""
        self._batch.running -= 1
        if reusable:
            self._next()
        else:
            self._batch.close(self._raw_transport)

    def send(self, data: bytes) -> None:
        """Writes for a call in the lane."""
        self._batch.write(self._raw_transport, data)

    def _next(self) -> None:
        """Goes on with the request that waits behind, if there is one. (uvicorn sets a timer for each pause.)"""
        self.server_state.total_requests += 1
        if self._raw_transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._idle_since_s = self.loop.time()
            if self._leaving:
                self.loop.call_later(_LEAVE_S, self._leave)

    def shutdown(self) -> None:
        """The gateway stops. What runs or arrives is served, and its client is told not to come again; closing under a
        client that has just sent a call would lose it.
        """
        self._leaving = True
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            self.loop.call_later(_LEAVE_S, self._leave)
        elif not cycle.response_started:
            cycle.keep_alive = False

    def _leave(self) -> None:
        busy = self.cycle is not None and not self.cycle.response_complete
        if not busy and self._ticket is None and not self._head_began_s:
            self.transport.close()

    @property
    def date_headers(self) -> list[tuple[bytes, bytes]]:
        return self.server_state.default_headers

    @property
    def write_paused(self) -> bool:
        return self.flow.write_paused

    async def writable(self) -> None:
        await self.flow.drain()

    def _should_upgrade(self) -> bool:
        # uvicorn's callbacks leave such a request alone; it comes again without the offer.
        return True

    def _stop(self, error: GatewayError) -> None:
        self._error = error
        raise _RefusedError

    def _head_without_offer(self) -> bytes:
        """The head that was just parsed, as if its client had offered no other protocol, for a new parser."""
        version = self.parser.get_http_version().encode()
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/" + version]
        for name, value in self.headers:
            if name == b"connection":
                tokens = [token.strip() for token in value.split(b",")]
                value = b", ".join(token for token in tokens if token.lower() not in _OFFERS) or b"keep-alive"
            if name not in _OFFERS:
                lines.append(name + b": " + value)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def _refuse(self, error: GatewayError) -> None:
        """Ends the connection, with an answer if it is this request's turn to be answered."""
        self._ended = True
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if not cycle.more_body or self.pipeline:
                # The request before this one is whole: it gets its answer, and with it the connection ends.
                cycle.keep_alive = False
                return
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                self.transport.close()
                return
        self._answer(error)

    def _answer(self, error: GatewayError) -> None:
        log.debug("request head refused", extra={"status": error.status, "error": error.error_type})
        status, headers, body = render(error, Skin.OPENROUTER, "")
        lines = [b"%b: %b\r\n" % pair for pair in (*self.server_state.default_headers, *headers)]
        lines.append(b"x-request-id: %b\r\n\r\n" % request_id(b"").encode())
        transport = self.transport
        transport.write(STATUS_LINE[status] + b"".join(lines) + body)
        if transport.can_write_eof():
            # Closing under a client that is still sending resets the connection, and the answer is lost with it.
            transport.write_eof()
            self.flow.resume_reading()
            self.loop.call_later(_LINGER_S, transport.close)
        else:
            transport.close()

    def _look_later(self) -> None:
        self._watch = self.loop.call_later(self.head_timeout_s / 4, self._look)

    def _look(self) -> None:
        """Ends a connection whose client owes bytes for too long. One timer for all of its requests."""
        if self._ended or self.transport.is_closing():
            return
        now_s = self.loop.time()
        if self.cycle is not None and not self.cycle.response_complete:
            self._stray_since_s = 0.0
        elif self._head_began_s:
            if now_s - self._head_began_s >= self.head_timeout_s:
                self._refuse(_SLOW_HEAD)
        elif self._ticket is not None:
            if now_s - self._ticket_since_s >= self.head_timeout_s / 4:
                self._leave_the_lane()
        elif self._idle_since_s:
            self._stray_since_s = 0.0
            if now_s - self._idle_since_s >= self.timeout_keep_alive:
                self.transport.close()
        elif not self._stray_since_s:
            self._stray_since_s = now_s
        elif now_s - self._stray_since_s >= self.head_timeout_s:
            self.transport.close()
        self._look_later()
