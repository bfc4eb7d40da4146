"""Networks that swallow packets, with no firewall needed: an address where no handshake ends, and a relay that can go
deaf.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """A port whose queue of handshakes is full, so that the kernel drops every further one, as a firewall would."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        port = int(server.getsockname()[1])
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        yield port


class Relay:
    """Passes bytes between a port of its own and a server; `deaf`, it takes them and passes nothing on."""

    def __init__(self) -> None:
        self.port = 0
        self.opened = 0
        self._hears = asyncio.Event()
        self._hears.set()

    @property
    def deaf(self) -> bool:
        return not self._hears.is_set()

    @deaf.setter
    def deaf(self, value: bool) -> None:
        if value:
            self._hears.clear()
        else:
            self._hears.set()

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                await self._hears.wait()
                writer.write(data)
        writer.close()


@contextlib.asynccontextmanager
async def relay_to(path: str) -> AsyncIterator[Relay]:
    """To a server on a unix socket."""
    relay = Relay()
    tasks: set[asyncio.Task[None]] = set()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relay.opened += 1
        try:
            inner_reader, inner_writer = await asyncio.open_unix_connection(path)
            try:
                await asyncio.gather(relay.pump(reader, inner_writer), relay.pump(inner_reader, writer))
            finally:
                inner_writer.transport.abort()
        finally:
            writer.transport.abort()

    def opened(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.get_running_loop().create_task(forward(reader, writer)))

    async with await asyncio.start_server(opened, "127.0.0.1", 0) as server:
        relay.port = int(server.sockets[0].getsockname()[1])
        try:
            yield relay
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0.01)  # aborted transports close their sockets in the next turn
