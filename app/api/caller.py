"""The caller of a proxied exchange as ASGI shows it: implements `services.proxy.Caller`. Knows no route and no key."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType

from starlette.types import Receive, Send

from app.services.proxy import CallerGoneError


class AsgiCaller:
    """One request's two ends. `gone` turns true when the client leaves before its answer is complete."""

    __slots__ = ("_complete", "_main", "_receive", "_send", "_watcher", "bytes_out", "gone")

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
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
        loop = asyncio.get_running_loop()
        self._main = asyncio.current_task()
        # A loop that only sends never learns that nobody listens: one task waits for the disconnect.
        self._watcher = loop.create_task(self._watch())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watcher is not None and not self._watcher.done():
            self._watcher.cancel()
        self._complete = True
        if not self.gone or self._main is None:
            return
        if error is None:
            # The cancellation is on its way to the next await: it is met here and not in somebody else's code.
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                self._main.uncancel()
        elif isinstance(error, asyncio.CancelledError):
            self._main.uncancel()

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self._complete and self._main is not None:
            self.gone = True
            self._main.cancel()

    async def begin(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, piece: bytes) -> None:
        self.bytes_out += len(piece)
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})

    async def end(self) -> None:
        # Before the last byte goes: a server tells the end of an answer like a disconnect.
        self._complete = True
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})
