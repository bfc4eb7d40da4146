"""Answers of a server of raw sockets, step by step, and the call that they are for; only its caller is played."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

from app.models.keys import ClientKey
from app.services.call import Call, Try
from app.services.routes import route_of
from app.transport import HeadStart, Upstream
from tests.test_transport.conftest import Script, read_request

ALICE = ClientKey(id="alice", name="Alice", digest="", masked="")
CHAT = b"/v1/chat/completions"
END = b"0\r\n\r\n"
COMMENT = b": OPENROUTER PROCESSING\n\n"
TOKEN = b'data: {"id":"gen-1","choices":[{"delta":{"content":"Hi"}}]}\n\n'
DONE = b"data: [DONE]\n\n"

Step = bytes | float | asyncio.Event
"""What is sent in a packet of its own, how long nothing is, or what is waited for."""


def says(*steps: Step, closes: bool = False) -> Script:
    """Plays the steps for every request."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            for step in steps:
                if isinstance(step, bytes):
                    writer.write(step)
                    await writer.drain()
                elif isinstance(step, asyncio.Event):
                    await step.wait()
                else:
                    await asyncio.sleep(step)
            if closes:
                return

    return script


def head(status: int, kind: str, *lines: str) -> bytes:
    """Of an answer whose body comes in chunks."""
    more = "".join(f"{line}\r\n" for line in lines)
    return f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n{more}\r\n".encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def whole(status: int, body: bytes, *lines: str, kind: str = "application/json") -> bytes:
    more = "".join(f"{line}\r\n" for line in lines)
    start = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{more}\r\n"
    return start.encode() + body


STREAM = head(200, "text/event-stream")
JSON = head(200, "application/json")


def call_to(path: bytes = CHAT, method: str = "POST") -> Call:
    """A call that has asked one key."""
    route = route_of(method, path)
    assert route is not None
    call = Call(method, route, b"", [], b"application/json", ALICE, b"http://gw")
    call.tries.append(Try("key-1", "sk-…1", "200"))
    return call


def start_of(upstream: Upstream, call: Call) -> HeadStart:
    return upstream.begin(call.method.encode(), b"/api" + call.route.path, [(b"content-type", b"application/json")])


class PlayedCaller:
    """Keeps what it is told; `on_piece` looks at each piece in the moment in which it comes."""

    gone = False
    push: Callable[[bytes], bool] | None = None

    def __init__(self, on_piece: Callable[[bytes], None] = lambda _: None) -> None:
        self._on_piece = on_piece
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.pieces: list[bytes] = []
        self.ended = False

    async def body(self) -> bytes:
        return b""

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        yield

    async def begin(self, status: int, headers: Sequence[tuple[bytes, bytes]], first: bytes = b"") -> None:
        self.status, self.headers = status, dict(headers)
        if first:
            await self.write(first)

    async def answer(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        await self.begin(status, headers)
        await self.end(body)

    async def write(self, piece: bytes) -> None:
        self.pieces.append(piece)
        self._on_piece(piece)

    async def end(self, piece: bytes = b"") -> None:
        if piece:
            await self.write(piece)
        self.ended = True

    @property
    def text(self) -> bytes:
        return b"".join(self.pieces)
