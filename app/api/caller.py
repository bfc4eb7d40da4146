"""The caller of a proxied exchange as ASGI shows it: implements `services.proxy.Caller`. Knows no route and no key."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol

from starlette.types import Receive, Send

from app.services.call import CallerGoneError


class Departure(Protocol):
    """A server that tells of a client's leaving by itself: it calls `on_leave` once the connection is lost."""

    on_leave: Callable[[], None] | None

    @property
    def lost(self) -> bool: ...


class AsgiCaller:
    """One request's two ends. `gone` turns true when the client leaves before its answer is complete."""

    push = None
    __slots__ = ("_complete", "_departure", "_main", "_receive", "_send", "_watcher", "bytes_out", "gone")

    def __init__(self, receive: Receive, send: Send, departure: Departure | None = None) -> None:
        self._receive = receive
        self._send = send
        self._departure = departure
        self._complete = False
        self._main: asyncio.Task[object] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self.gone = False
        self.bytes_out = 0

    async def body(self) -> bytes:
        """The whole body; the guard has bounded its size and its pace."""
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            return bytes(message.get("body", b""))
        pieces: list[bytes] = []
        while message["type"] == "http.request":
            pieces.append(message.get("body", b""))
            if not message.get("more_body", False):
                return b"".join(pieces)
            message = await self._receive()
        self.gone = True
        raise CallerGoneError

    def watched(self) -> AsgiCaller:
        return self

    async def __aenter__(self) -> None:
        self._main = asyncio.current_task()
        departure = self._departure
        if departure is None:
            # A loop that only sends never learns that nobody listens: one task waits for the disconnect.
            self._watcher = asyncio.get_running_loop().create_task(self._watch())
        elif departure.lost:
            self._left()
        else:
            departure.on_leave = self._left

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Nothing may lead from the task back to itself: every call would be left to the garbage collector.
        main, self._main = self._main, None
        watcher, self._watcher = self._watcher, None
        if watcher is not None and not watcher.done():
            watcher.cancel()
        if self._departure is not None:
            self._departure.on_leave = None
        self._complete = True
        if not self.gone or main is None:
            return
        if error is None:
            # The cancellation is on its way to the next await: it is met here and not in somebody else's code.
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                main.uncancel()
        elif isinstance(error, asyncio.CancelledError):
            main.uncancel()

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._left()

    def _left(self) -> None:
        if not self._complete and self._main is not None:
            self.gone = True
            self._main.cancel()

    async def begin(self, status: int, headers: Sequence[tuple[bytes, bytes]], first: bytes = b"") -> None:
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        if first:
            await self.write(first)

    async def write(self, piece: bytes) -> None:
        self.bytes_out += len(piece)
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})

    async def end(self, piece: bytes = b"") -> None:
        """The last piece, if there is one, and the end in one."""
        # Before the last byte goes: a server tells the end of an answer like a disconnect.
        self._complete = True
        self.bytes_out += len(piece)
        await self._send({"type": "http.response.body", "body": piece, "more_body": False})

    async def answer(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self.end(body)
