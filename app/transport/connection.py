"""One HTTP/1.1 connection: bytes to facts and back, one exchange at a time. It knows neither pool nor origin."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Final, cast

from httptools import HttpParserError, HttpParserUpgrade

from app.core.inline_task import Pause, pause
from app.core.write_batch import batch_of
from app.transport.errors import ClosedEarly, Phase, ProtocolError, Timeout, TransportError
from app.transport.incoming import Incoming, Refused
from app.transport.origin import Timeouts

HIGH_WATER: Final = 64 * 1024
PIECE: Final = 256 * 1024
MAX_OVERHEAD: Final = 64 * 1024
"""Chunk sizes, extensions and trailers that may come without one byte of body."""

# A fresh exception per raise: one kept and raised again would tie the frames it passed into a cycle. Nor is it ever a
# bound method of the connection that keeps it: whatever ends must go without the collector, which comes seldom.
Failure = Callable[[], TransportError]
Sink = Callable[[bytes], bool]
"""Takes a piece of the body at once. False: no more for now."""


def _closed_early() -> TransportError:
    """Stands for an end that only the connection can tell about: see `Connection._error`."""
    return ClosedEarly(reused=False, started=False)


class Connection(Incoming, asyncio.Protocol):
    """Connected, then exchanges with idle times between them, then lost: `failure` and `complete` end an exchange."""

    __slots__ = (
        "_batch",
        "_body_unsent",
        "_heard_at",
        "_loop",
        "_now",
        "_on_lost",
        "_overhead",
        "_patience_s",
        "_phase",
        "_reading_paused",
        "_silent_since",
        "_sink",
        "_sink_error",
        "_timeouts",
        "_transport",
        "_waiter",
        "_writing_paused",
        "deadline",
        "failure",
        "idle_since",
        "leased",
        "nudge_at",
        "reused",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        timeouts: Timeouts,
        now: Callable[[], float],
        on_lost: Callable[[Connection], None],
    ) -> None:
        super().__init__()
        self._loop = loop
        self._batch = batch_of(loop)
        self._timeouts = timeouts
        self._now = now
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | Pause | None = None
        self._phase: Phase = "first_byte"
        self._reading_paused = self._writing_paused = False
        self._sink: Sink | None = None
        self._sink_error: Exception | None = None
        self._patience_s = inf
        self._heard_at = 0.0
        self.failure: Failure | None = None
        self.deadline = self.nudge_at = inf
        self.idle_since = 0.0
        self.leased = True
        self.reused = False
        self._reset(head_only=False)
        self.complete = True  # until a request is sent, nothing is expected

    def _reset(self, *, head_only: bool) -> None:
        self._expect(head_only=head_only)
        self._overhead = 0
        self._body_unsent = False
        self._silent_since: float | None = None

    # ---- what the lessee calls

    async def exchange(self, head: bytes, body: bytes, *, head_only: bool) -> None:
        """Sends a request and returns when the answer's head is there."""
        transport = self._transport
        if transport is None or not self.usable:
            raise self._error()
        self._reset(head_only=head_only)
        if len(body) <= PIECE:
            self._batch.write(transport, head + body if body else head)
        else:
            transport.write(head)
            await self._upload(transport, memoryview(body))
        if not self.status and self.failure is None:
            deadline = self._now() + self._timeouts.first_byte_s
            while not self.status and self.failure is None:
                await self._wait(deadline, "first_byte")
        if not self.status:
            raise self._error()

    async def _upload(self, transport: asyncio.Transport, body: memoryview) -> None:
        """Ends early when an answer begins: who answers before the end does not want the rest."""
        self._body_unsent = True
        for start in range(0, len(body), PIECE):
            if not transport.is_closing():  # broken by the write before; the loop will say so, and uvloop would raise
                transport.write(body[start : start + PIECE])
            while (self._writing_paused or transport.is_closing()) and not self.status and self.failure is None:
                await self._wait(self._now() + self._timeouts.idle_s, "idle")
            if self.status or self.failure is not None:
                return
        self._body_unsent = False

    async def chunk(self, patience_s: float = inf) -> bytes | None:
        """What has arrived of the body; b"" at its clean end, None if nothing has come for as long as the patience."""
        if not self.pieces and not self.complete and self.failure is None:
            now = self._now()
            # Since when upstream is silent: looking away in between does not give it more time.
            silent_since = now if self._silent_since is None else self._silent_since
            impatient = now + patience_s
            while True:
                self.nudge_at = impatient
                await self._wait(silent_since + self._timeouts.idle_s, "idle")
                if self.pieces or self.complete or self.failure is not None:
                    break
                if self._now() >= impatient:
                    self._silent_since = silent_since
                    return None
            self._silent_since = None
        pieces = self.pieces
        if pieces:
            self.pieces = []
            self._buffered = 0
            if self._reading_paused:
                self._resume_reading()
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if self.complete:
            return b""
        raise self._error()

    async def pour(self, sink: Sink, patience_s: float) -> bool:
        """Gives `sink` each piece of the body inside the callback that brings it: nobody is woken for it. Returns when
        there is something for `chunk` to tell (the end, a failure), when the sink wants no more, and, with True, when
        nothing has come for as long as the patience.
        """
        if self.pieces or self.complete or self.failure is not None:
            return False
        now = self._now()
        self._heard_at = now if self._silent_since is None else self._silent_since
        self._silent_since = None
        self._sink, self._patience_s = sink, patience_s
        impatient = now + patience_s
        try:
            while True:
                self.nudge_at = impatient
                await self._wait(self._heard_at + self._timeouts.idle_s, "idle")
                if self._sink is None or self.pieces or self.complete or self.failure is not None:
                    break
                impatient = max(impatient, self._heard_at + patience_s)
                if self._now() >= impatient:
                    self._silent_since = self._heard_at
                    return True
        finally:
            self._sink = None
        error, self._sink_error = self._sink_error, None
        if error is not None:
            raise error
        return False

    def _pour(self, sink: Sink) -> None:
        pieces, self.pieces = self.pieces, []
        self._buffered = 0
        try:
            more = sink(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        except Exception as error:  # noqa: BLE001 - it is for whoever waits in `pour`
            self._sink_error = error
            more = False
        self._heard_at = now = self._now()
        self.deadline = now + self._timeouts.idle_s
        self.nudge_at = now + self._patience_s
        if not more:
            self._sink = None
            self._wake()

    async def _wait(self, deadline: float, phase: Phase) -> None:
        if self._waiter is not None:
            raise RuntimeError("two readers on one answer")
        self._phase = phase
        self.deadline = deadline
        waiter = self._waiter = pause(self._loop)
        try:
            await waiter
        finally:
            self._waiter = None
            self.deadline = self.nudge_at = inf

    def _error(self) -> TransportError:
        if self.failure is None or self.failure is _closed_early:
            return ClosedEarly(reused=self.reused, started=self.started)
        return self.failure()

    # ---- what the pool calls

    @property
    def usable(self) -> bool:
        return self.failure is None and self._transport is not None and not self._transport.is_closing()

    @property
    def reusable(self) -> bool:
        """Whether the exchange ended so that nothing of it is left in either direction."""
        return (
            self.complete
            and self.keep_alive
            and not self._body_unsent
            and self.usable
            and self._transport is not None
            and not self._transport.get_write_buffer_size()
        )

    def rest(self) -> None:
        """Becomes idle; bytes that come from now on end the connection."""
        self.leased = False
        self.reused = True
        self.idle_since = self._now()
        if self.pieces:
            self.pieces = []
        if self._reading_paused:
            self._resume_reading()

    def expire(self) -> None:
        self.fail(partial(Timeout, self._phase))

    def nudge(self) -> None:
        """Wakes a reader whose patience is over."""
        self.nudge_at = inf
        self._wake()

    def abort(self) -> None:
        self.fail(_closed_early)

    def fail(self, failure: Failure) -> None:
        """Ends the connection at once. The first reason given is the one that counts."""
        if self.failure is None:
            self.failure = failure
        if self._transport is not None:
            self._transport.abort()
        self._wake()

    # ---- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER)

    def data_received(self, data: bytes) -> None:
        if self.complete:
            self._ended(partial(ProtocolError, "surplus"))
            return
        buffered = self._buffered
        try:
            self._feed(data)
        except (HttpParserError, HttpParserUpgrade, Refused):
            self._ended(partial(ProtocolError, self._refusal or "garbage"))
            return
        if self.complete:
            if not self._ends_with_answer(data):
                self.fail(partial(ProtocolError, "surplus"))
        elif self._buffered > buffered:
            self._overhead = 0
            if self._sink is not None:
                self._pour(self._sink)
                return
            if self._buffered > HIGH_WATER and not self._reading_paused:
                self._pause_reading()
        elif self.status:
            self._overhead += len(data)
            if self._overhead > MAX_OVERHEAD:
                self.fail(partial(ProtocolError, "overhead"))
        if self._waiter is not None:
            self._wake()

    def eof_received(self) -> None:
        if self._until_close and self.failure is None:
            self.complete = True
        self._ended(_closed_early)

    def connection_lost(self, exc: Exception | None) -> None:
        # Without an EOF before it this is a cut: over TLS, uvloop gives one only for close_notify.
        self._ended(_closed_early)
        del self._parser  # it holds our callbacks: a cycle

    def _ended(self, failure: Failure) -> None:
        was_idle = not self.leased  # before its user hears of it, who may give it back at once
        self.fail(failure)
        if was_idle:
            self._on_lost(self)

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._wake()

    def _pause_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
            self._reading_paused = True

    def _resume_reading(self) -> None:
        self._reading_paused = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
