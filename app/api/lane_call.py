"""One call in the lane: its exchange runs inside the callbacks of the two sockets, and its answer is written here.

To the exchange it is the caller, to uvicorn's protocol it is the cycle that runs (or has run) on the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from app.api.data_plane import report
from app.api.lane import Lane, Ticket
from app.api.render import render
from app.core.errors import GatewayError
from app.core.inline_task import InlineTask
from app.middleware.facts import Facts, request_id
from app.middleware.request_log import INTERNAL, frames_of, write_line
from app.middleware.security_headers import missing
from app.services.answers import AnswerCutError

Headers = Sequence[tuple[bytes, bytes]]


class Connection(Protocol):
    """What a call needs of the connection it came on."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    @property
    def date_headers(self) -> Headers: ...

    def send(self, data: bytes) -> None: ...

    @property
    def write_paused(self) -> bool: ...

    async def writable(self) -> None:
        """Returns when the client has taken enough of what was written."""

    def began(self) -> None:
        """A call runs."""

    def answered(self, *, reusable: bool) -> None:
        """The call is over."""


class _Nobody:
    """Stands where uvicorn has an event that its cycle waits for."""

    def set(self) -> None:
        pass


class LaneCall:
    """`gone` turns true when the client leaves before its answer is complete."""

    __slots__ = (
        "_body",
        "_chunked",
        "_connection",
        "_facts",
        "_lane",
        "_task",
        "_ticket",
        "disconnected",
        "gone",
        "keep_alive",
        "response_complete",
        "response_started",
    )
    more_body = False
    message_event = _Nobody()

    def __init__(self, lane: Lane, ticket: Ticket, body: bytes, connection: Connection, *, keep_alive: bool) -> None:
        self._lane = lane
        self._ticket = ticket
        self._body = body
        self._connection = connection
        self._chunked = False
        self._facts = Facts(client=ticket.client, route=ticket.route.name, request_id=request_id(b""))
        self._task: InlineTask | None = None
        self.keep_alive = keep_alive
        self.disconnected = self.gone = False
        self.response_started = self.response_complete = False

    def start(self, running: set[Any]) -> None:
        """Runs the call; while it runs, it stands among the tasks that the server waits for when it stops."""
        task = self._task = InlineTask(self._run(running), self._connection.loop)
        running.add(task)
        self._connection.began()
        task.start()

    def leave(self) -> None:
        """The connection is lost."""
        self.disconnected = True
        if not self.response_complete and self._task is not None:
            self.gone = True
            self._task.cancel()

    async def _run(self, running: set[Any]) -> None:
        lane, facts = self._lane, self._facts
        began_s = lane.clock.monotonic_s()
        call = lane.call(self._ticket, facts.request_id)
        try:
            await lane.proxy.serve(call, self)
        except GatewayError as error:
            self._refuse(error)
        except AnswerCutError:
            pass  # left incomplete on purpose, so that nobody takes it for whole
        except Exception as error:  # noqa: BLE001 - the last layer of all: whatever it is, the caller gets an answer
            facts.frames = frames_of(error)
            self._refuse(INTERNAL)
            facts.error_type = type(error).__name__
        finally:
            facts.begun = self.response_started
            report(call, facts)
            write_line("POST", facts, (lane.clock.monotonic_s() - began_s) * 1000)
            running.discard(self._task)
            self._task = None
            if not self.response_complete:
                self.response_complete = True
                self.keep_alive = False
            self._connection.answered(reusable=self.keep_alive)

    def _refuse(self, error: GatewayError) -> None:
        facts = self._facts
        facts.error_type, facts.fault = error.error_type, error.fault
        if self.response_started:
            return
        facts.status, headers, body = render(error, self._ticket.route.skin, facts.request_id)
        self.keep_alive = self.keep_alive and not error.close
        self._write(self._head(facts.status, headers, ready=True) + body)
        self.response_complete = True

    # ---- what the exchange calls

    async def body(self) -> bytes:
        return self._body

    def watched(self) -> LaneCall:
        return self

    @property
    def bytes_out(self) -> int:
        return self._facts.bytes_out

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    async def begin(self, status: int, headers: Headers, first: bytes = b"") -> None:
        head = self._head(status, headers)
        self._facts.status = status
        self._write(head + self._framed(first) if first else head)

    async def write(self, piece: bytes) -> None:
        if self._connection.write_paused:
            await self._connection.writable()
        self._write(self._framed(piece))

    def push(self, piece: bytes) -> bool:
        self._write(self._framed(piece))
        return not self._connection.write_paused

    async def end(self, piece: bytes = b"") -> None:
        framed = self._framed(piece) if piece else b""
        self._write(framed + b"0\r\n\r\n" if self._chunked else framed)
        self.response_complete = True

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        head = self._head(status, headers)
        self._facts.status = status
        framed = self._framed(body) if body else b""
        self._write(head + framed + b"0\r\n\r\n" if self._chunked else head + framed)
        self.response_complete = True

    # ---- bytes

    def _framed(self, piece: bytes) -> bytes:
        self._facts.bytes_out += len(piece)
        return b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece

    def _write(self, data: bytes) -> None:
        if data and not self.disconnected:
            self._connection.send(data)

    def _head(self, status: int, headers: Headers, *, ready: bool = False) -> bytes:
        """The head of an answer; `ready` headers say all there is to say."""
        self.response_started = True
        lines = [STATUS_LINE[status]]
        for name, value in self._connection.date_headers:
            lines += (name, b": ", value, b"\r\n")
        names = set()
        for name, value in headers:
            names.add(name)
            lines += (name, b": ", value, b"\r\n")
        lines += (b"x-request-id: ", self._facts.request_id.encode(), b"\r\n")
        lines.append(missing(names))
        for name, value in self._lane.added_headers:
            lines += (name, b": ", value, b"\r\n")
        if not self.keep_alive and b"connection" not in names:
            lines.append(b"connection: close\r\n")
        if b"content-length" not in names and status not in (204, 304):
            self._chunked = True
            lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(b"\r\n")
        return b"".join(lines)
