"""A server of raw sockets that says exactly what a test scripts, and both event loops for every test here."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import uvloop

from app.core.clock import SystemClock
from app.transport import Answer, Origin, Timeouts, Upstream

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
QUICK = Timeouts(connect_s=2.0, first_byte_s=2.0, idle_s=2.0, pool_s=2.0, keep_alive_s=2.0)


def pytest_asyncio_loop_factories(config: Any, item: Any) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class RawServer:
    """Runs the script once per connection and counts connections."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.opened = 0
        self.open: set[asyncio.StreamWriter] = set()
        self.origin = Origin("http", "127.0.0.1", 1)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        self.open.add(writer)
        try:
            await self._script(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, RuntimeError):
            pass  # the client left; uvloop says so with a RuntimeError
        finally:
            self.open.discard(writer)
            writer.transport.abort()


@asynccontextmanager
async def serving(script: Script, context: ssl.SSLContext | None = None) -> AsyncIterator[RawServer]:
    raw = RawServer(script)
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(raw.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context, backlog=1024)
    scheme = "http" if context is None else "https"
    raw.origin = Origin(scheme, "127.0.0.1", server.sockets[0].getsockname()[1])
    try:
        yield raw
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)


@asynccontextmanager
async def pool_to(origin: Origin, timeouts: Timeouts = QUICK, **options: Any) -> AsyncIterator[Upstream]:
    upstream = Upstream(origin, timeouts, clock=SystemClock(), **options)
    try:
        yield upstream
    finally:
        await upstream.close()
        await asyncio.sleep(0.01)


@asynccontextmanager
async def talking_to(script: Script, **options: Any) -> AsyncIterator[tuple[Upstream, RawServer]]:
    async with serving(script) as server, pool_to(server.origin, **options) as upstream:
        yield upstream, server


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    return head, await reader.readexactly(length)


def always(*writes: bytes, close: bool = False) -> Script:
    """Answers every request with these writes, each in a packet of its own."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            for write in writes:
                writer.write(write)
                await writer.drain()
                await asyncio.sleep(0)
            if close:
                return

    return script


async def read_all(answer: Answer) -> bytes:
    pieces = []
    while piece := await answer.chunk():
        pieces.append(piece)
    return b"".join(pieces)


async def call(upstream: Upstream, method: bytes = b"POST", body: bytes = b"{}") -> tuple[int, bytes]:
    async with await upstream.send(method, b"/x", [], body) as answer:
        return answer.status, await read_all(answer)


def shorter(**seconds: float) -> Timeouts:
    return replace(QUICK, **seconds)


@pytest.fixture(params=[1, 3, 100_000], ids=["bytewise", "threes", "whole"])
def step(request: pytest.FixtureRequest) -> int:
    return request.param


def split(data: bytes, step: int) -> list[bytes]:
    return [data[i : i + step] for i in range(0, len(data), step)]
