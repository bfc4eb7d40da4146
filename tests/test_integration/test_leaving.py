"""A client that leaves takes its call upstream with it at once, whatever the clock says.

Gateway, client and upstream share one event loop whose clock stands still from the moment of leaving on. Nothing that
waits for a time can happen then: a call that ends upstream has ended within 0 ms of that clock. The loop's turns are
counted too, which a slow machine makes longer and not more.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from app.api.server_protocol import GatewayHttpProtocol
from app.core.config import load_settings
from app.gateway import Gateway
from app.main import create_app
from tests.gateway_process import wait_until
from tests.redis_server import RedisServer, running_redis
from tests.test_integration.conftest import Wire
from tests.test_integration.test_broken_streams import ask
from tests.test_integration.wire_tools import Line, Received

# From the client's close to the upstream's end of file: eight, and room for what else runs in the gateway.
MOST_TURNS = 40
PROMISED_S = 0.1
LEAVINGS = 9


class StandingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock can be stopped, and that counts its turns."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = 0
        self._stopped_at: float | None = None

    def stop_clock(self) -> None:
        self._stopped_at = super().time()

    def start_clock(self) -> None:
        self._stopped_at = None

    def time(self) -> float:
        return super().time() if self._stopped_at is None else self._stopped_at

    def _run_once(self) -> None:
        self.turns += 1
        super()._run_once()  # type: ignore[misc]


class Upstream:
    """Answers the probe of a key, and every other request only as far as the parts go; then it waits to be hung up
    on.
    """

    def __init__(self) -> None:
        self._lines: set[asyncio.Task[None]] = set()
        self.expect([])

    def expect(self, parts: list[bytes]) -> None:
        """One call more."""
        self._parts = parts
        self.asked = asyncio.Event()
        self.hung_up = asyncio.Event()

    def line(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._lines.add(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if b" /api/v1/key " not in head:
                    break
                body = b'{"data":{"label":"x","limit":null,"usage":0,"is_management_key":false}}'
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
                writer.write(b"content-length: %d\r\n\r\n%b" % (len(body), body))
            self.asked.set()
            for part in self._parts:
                writer.write(part)
            while await reader.read(65536):
                pass
            self.hung_up.set()
        writer.transport.abort()

    async def close(self) -> None:
        for task in self._lines:
            task.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)


@contextlib.asynccontextmanager
async def gateway_at(redis: RedisServer, folder: Path, base_url: str, patch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """The port of a gateway in this very loop, as the server runs it, and a client key of it."""
    for name, value in {
        "DATA_DIR": str(folder), "REDIS_URL": redis.url, "SESSION_SECRET_KEY": secrets.token_hex(32),
        "OPENROUTER_BASE_URL": base_url, "OPENROUTER_API_KEYS": f"sk-or-v1-{secrets.token_hex(32)}",
        "OPENROUTER_CA_FILE": "", "UPSTREAM_WARM_CONNECTIONS": "0", "LOG_LEVEL": "error", "LOG_FORMAT": "json",
    }.items():  # fmt: skip
        patch.setenv(name, value)
    app = create_app(load_settings(None))
    inbox: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    outbox: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    life = asyncio.get_running_loop().create_task(app({"type": "lifespan"}, inbox.get, outbox.put))  # type: ignore[arg-type]
    await inbox.put({"type": "lifespan.startup"})
    assert await outbox.get() == {"type": "lifespan.startup.complete"}
    config = uvicorn.Config(app, http=GatewayHttpProtocol, ws="none", lifespan="off", log_config=None)
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: GatewayHttpProtocol(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )
    try:
        yield server.sockets[0].getsockname()[1], await client_key(app.gateway)
    finally:
        server.close()
        for connection in list(state.connections):
            connection.transport.close()
        if state.tasks:
            await asyncio.wait(state.tasks)
        await inbox.put({"type": "lifespan.shutdown"})
        await life


async def client_key(gateway: Gateway) -> str:
    assert gateway._keys is not None
    return (await gateway._keys.create_client_key("leaver", by="test")).secret.reveal()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
MOMENTS = {"before the head": [], "before the first token": [HEAD], "in the middle": [HEAD, b"a\r\ndata: {}\n\n\r\n"]}
PATHS = ["/v1/chat/completions", "/v1/messages", "/v1/made-up"]


def run(work: Callable[[StandingLoop], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=StandingLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, StandingLoop)
        runner.run(work(loop))  # type: ignore[arg-type]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    (tmp_path / "redis").mkdir()
    with running_redis(tmp_path / "redis") as server:
        yield server


@pytest.mark.timeout(30)  # where something waits for a time, it waits for ever
@pytest.mark.parametrize("path", PATHS)
def test_the_call_upstream_ends_before_any_time_has_passed(
    redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """At every moment of a call, politely or by a reset: the upstream is hung up on while the clock stands still."""

    async def leave(loop: StandingLoop, upstream: Upstream, port: int, key: str, moment: str, *, reset: bool) -> int:
        upstream.expect(MOMENTS[moment])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = b'{"model":"a/b","messages":[],"stream":true}'
        head = f"POST {path} HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {key}\r\n"
        writer.write((head + f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body)
        await upstream.asked.wait()
        if moment == "in the middle":
            await reader.readuntil(b"{}\n\n\r\n")
        await asyncio.sleep(0.05)  # whatever a call sets up has been set up
        loop.stop_clock()
        before = loop.turns
        if reset:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        writer.close()
        await upstream.hung_up.wait()
        turns = loop.turns - before
        loop.start_clock()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        return turns

    async def every_way(loop: StandingLoop) -> None:
        upstream = Upstream()
        server = await asyncio.start_server(upstream.line, "127.0.0.1", 0)
        base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/api/v1"
        async with gateway_at(redis, tmp_path / "data", base_url, monkeypatch) as (port, key):
            for moment in MOMENTS:
                for reset in (False, True):
                    turns = await leave(loop, upstream, port, key, moment, reset=reset)
                    assert turns <= MOST_TURNS, f"{moment}, reset {reset}: {turns} turns"
        server.close()
        await upstream.close()

    run(every_way)


@pytest.mark.parametrize("moment", ["before the head", "in the middle"])
def test_half_of_all_leavings_are_heard_upstream_within_the_promised_time(wire: Wire, moment: str) -> None:
    """The promise itself, on the machine's clock and over processes: the median of several, which one hiccup does not
    move.
    """
    took: list[float] = []
    for _ in range(LEAVINGS):
        wire.upstream.clear()
        closed: list[float] = []

        def endless(_: Received, line: Line, closed: list[float] = closed) -> None:
            if moment == "in the middle":
                line.begin()
                line.chunk(b"data: {}\n\n")
            closed.append(line.wait_closed())

        wire.upstream.handler = endless
        connection = ask(wire, "/v1/chat/completions", b'{"model":"a/b","messages":[],"stream":true}')
        wait_until(lambda: wire.upstream.received, what="the request")
        if moment == "in the middle":
            seen = b""
            while b"{}\n\n" not in seen:
                seen += connection.recv(65536)
        left_at = time.monotonic()
        connection.close()
        took.append(wait_until(lambda closed=closed: closed, what="the end upstream")[0] - left_at)
    assert statistics.median(took) < PROMISED_S
