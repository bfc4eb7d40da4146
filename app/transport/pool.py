"""The connections to one origin: who gets which, how many, for how long. It never looks into a request or an answer.

A slot is the right to one connection; idle, lent and arising connections each hold one. The methods without `async`
move slots and connections between their owners in one step each, so that no cancellation can fall in between."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import OrderedDict, deque
from collections.abc import Sequence
from functools import partial

from app.core.clock import Clock
from app.transport.answer import Answer
from app.transport.connect import Dialer
from app.transport.connection import Connection
from app.transport.errors import ClosedEarly, ConnectError, Timeout, TransportError
from app.transport.origin import ForwardProxy, Origin, Timeouts
from app.transport.request import HeadStart, HeadWriter

log = logging.getLogger(__name__)

_STOOD_STILL_S = 0.5


class Waiter:
    """Somebody in the queue. The future tells whether a slot came; the connection that came with it may be none."""

    __slots__ = ("connection", "deadline", "granted")

    def __init__(self, granted: asyncio.Future[bool], deadline: float) -> None:
        self.granted = granted
        self.deadline = deadline
        self.connection: Connection | None = None


class Upstream:
    """The connection pool of one origin. It belongs to the event loop in which it is first used."""

    def __init__(
        self,
        origin: Origin,
        timeouts: Timeouts,
        *,
        max_connections: int = 1000,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
        public_only: bool = False,
        clock: Clock,
    ) -> None:
        self.origin = origin
        self._timeouts = timeouts
        self._max = max_connections
        self._now = clock.monotonic_s
        self._writer = HeadWriter(origin.authority)
        self._dialer = Dialer(
            origin,
            timeouts.connect_s,
            clock.monotonic_s,
            ssl_context=ssl_context,
            proxy=ForwardProxy.parse(proxy) if proxy else None,
            public_only=public_only,
        )
        self._slots = 0
        self._idle: deque[Connection] = deque()
        self._lent: set[Connection] = set()
        self._waiting: OrderedDict[Waiter, None] = OrderedDict()
        self._sweeper: asyncio.TimerHandle | None = None
        self._sweep_due = 0.0
        self._forgave = False
        self._closed = False

    @property
    def counts(self) -> dict[str, int]:
        """Connections by what they do, and how many calls wait for one."""
        return {"idle": len(self._idle), "busy": len(self._lent), "waiting": len(self._waiting)}

    async def send(
        self, method: bytes, target: bytes, headers: Sequence[tuple[bytes, bytes]], body: bytes = b""
    ) -> Answer:
        """Sends a request and returns when the answer's head is there. Adds `host` and `content-length`."""
        return await self.send_on(self.begin(method, target, headers), (), body)

    def begin(self, method: bytes, target: bytes, headers: Sequence[tuple[bytes, bytes]]) -> HeadStart:
        """The start of a head for `send_on`, which may be used again."""
        return self._writer.begin(method, target, headers)

    async def send_on(self, start: HeadStart, headers: Sequence[tuple[bytes, bytes]], body: bytes = b"") -> Answer:
        """`send` for a head whose start was made before; these headers are its last."""
        head = self._writer.finish(start, headers, len(body))
        head_only = start.method == b"HEAD"
        retried = False
        connection = self._take_idle() or await self._lease()
        try:
            try:
                await connection.exchange(head, body, head_only=head_only)
            except ClosedEarly as stale:
                if not stale.reused or stale.started:
                    raise
                retried = True
                connection = await self._replace(connection)
                await connection.exchange(head, body, head_only=head_only)
        except BaseException:
            self._discard(connection)
            raise
        return Answer(connection, self._release, retried=retried)

    async def warm(self, n: int) -> None:
        """Opens connections until `n` are idle. A failure is logged, not raised: the first request will tell."""
        missing = min(n - len(self._idle), self._max - self._slots)
        await asyncio.gather(*(self._open_idle() for _ in range(missing)))

    async def close(self) -> None:
        """Ends every connection at once; whoever still uses or awaits one gets an error."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        while self._waiting:
            self._waiting.popitem(last=False)[0].granted.set_result(False)
        for connection in (*self._idle, *self._lent):
            connection.abort()
        await asyncio.sleep(0)  # the transports close their sockets in the loop's next turn

    def __repr__(self) -> str:
        idle = len(self._idle)
        return f"<Upstream {self.origin} {idle} idle, {self._slots - idle} active, {len(self._waiting)} waiting>"

    # ---- leasing

    def _take_idle(self) -> Connection | None:
        """The one used last: the least likely to be stale, and the others may expire."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                self._lend(connection)
                return connection
            self._slots -= 1
        return None

    def _lend(self, connection: Connection) -> None:
        connection.leased = True
        self._lent.add(connection)

    async def _lease(self) -> Connection:
        """A fresh connection, or one that is given back while we queue."""
        if self._closed:
            raise self._refusal()
        if not self._waiting and self._slots < self._max:
            self._slots += 1
            return await self._open()
        connection = await self._queue()
        if connection is None:
            return await self._open()
        return connection if connection.usable else await self._replace(connection)

    async def _queue(self) -> Connection | None:
        """Waits for a slot, in the order of arrival."""
        waiter = Waiter(asyncio.get_running_loop().create_future(), self._now() + self._timeouts.pool_s)
        self._waiting[waiter] = None
        self._arm()
        try:
            granted = await waiter.granted
        except BaseException:
            self._leave(waiter)
            raise
        if not granted:
            raise self._refusal()
        return waiter.connection

    def _leave(self, waiter: Waiter) -> None:
        """Cancelled while queueing; what had just been granted goes to the next one."""
        self._waiting.pop(waiter, None)
        if waiter.connection is not None:
            self._release(waiter.connection)
        elif waiter.granted.done() and not waiter.granted.cancelled() and waiter.granted.result():
            self._free_slot()

    def _refusal(self) -> TransportError:
        return ConnectError("connect", "pool_closed") if self._closed else Timeout("pool")

    async def _open(self) -> Connection:
        """Turns a slot into a lent connection; the slot is free again if that fails."""
        self._arm()
        loop = asyncio.get_running_loop()
        try:
            connection = await self._dialer.dial(partial(Connection, loop, self._timeouts, self._now, self._lost))
        except BaseException:
            self._free_slot()
            raise
        self._lend(connection)
        if self._closed:
            self._discard(connection)
            raise self._refusal()
        return connection

    async def _replace(self, stale: Connection) -> Connection:
        """A fresh connection in the slot of a lent one."""
        log.debug("stale connection replaced")
        self._lent.discard(stale)
        stale.abort()
        return await self._open()

    async def _open_idle(self) -> None:
        if self._closed or self._slots >= self._max:
            return
        self._slots += 1
        try:
            connection = await self._open()
        except TransportError as error:
            log.warning("upstream warming failed", extra={"code": error.code, "detail": error.detail})
            return
        self._lent.discard(connection)
        self._put(connection)

    # ---- giving back

    def _release(self, connection: Connection) -> None:
        if connection not in self._lent:
            return
        if self._closed or not connection.reusable:
            self._discard(connection)
            return
        self._lent.discard(connection)
        self._put(connection)

    def _put(self, connection: Connection) -> None:
        connection.rest()
        if not self._waiting:
            self._idle.append(connection)
            return
        waiter = self._waiting.popitem(last=False)[0]
        if waiter.granted.done():  # cancelled in this very turn; it leaves by itself
            self._put(connection)
            return
        self._lend(connection)
        waiter.connection = connection
        waiter.granted.set_result(True)

    def _discard(self, connection: Connection) -> None:
        if connection in self._lent:
            self._lent.discard(connection)
            connection.abort()
            self._free_slot()

    def _lost(self, connection: Connection) -> None:
        """An idle connection ended by itself."""
        try:
            self._idle.remove(connection)
        except ValueError:
            return
        self._free_slot()

    def _free_slot(self) -> None:
        self._slots -= 1
        while self._waiting and self._slots < self._max:
            waiter = self._waiting.popitem(last=False)[0]
            if not waiter.granted.done():
                self._slots += 1
                waiter.granted.set_result(True)

    # ---- deadlines

    def _arm(self) -> None:
        if self._sweeper is None and not self._closed:
            self._sweep_due = self._now() + self._timeouts.sweep_s
            self._sweeper = asyncio.get_running_loop().call_later(self._timeouts.sweep_s, self._sweep)

    def _sweep(self) -> None:
        """One look at every deadline, a few times a second: a timer per request would cost more than the request."""
        self._sweeper = None
        now = self._now()
        if now - self._sweep_due > _STOOD_STILL_S and not self._forgave:
            # This process was late, and has not read what came meanwhile: nobody else is to blame.
            self._forgave = True
            self._arm()
            return
        self._forgave = False
        for connection in [c for c in self._lent if c.deadline <= now]:
            connection.expire()
        for connection in [c for c in self._lent if c.nudge_at <= now]:
            connection.nudge()
        oldest = now - self._timeouts.keep_alive_s
        while self._idle and self._idle[0].idle_since <= oldest:
            self._slots -= 1
            self._idle.popleft().abort()
        while self._waiting and (waiter := next(iter(self._waiting))).deadline <= now:
            del self._waiting[waiter]
            if not waiter.granted.done():
                waiter.granted.set_result(False)
        if self._slots or self._waiting:
            self._arm()
