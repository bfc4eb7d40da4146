"""Streams of many clients at once, for as long as a test likes; each is looked at to its last byte."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.test_integration.samples import CHAT_MODEL

_END = b"0\r\n\r\n"


@dataclass
class StreamLoad:
    """`clients` connections, each with one stream after the other. `failures` says what was not as it should be."""

    port: int
    key: str
    clients: int
    done: int = 0
    running: int = 0
    headed: int = 0
    """Streams that have begun to arrive, ever."""
    most_running: int = 0
    failures: list[str] = field(default_factory=list)
    _stopping: bool = False

    async def run(self) -> None:
        await asyncio.gather(*(self._client(number) for number in range(self.clients)))

    async def _client(self, number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            # They do not all end in the same moment, as clients never do.
            await asyncio.sleep(number / self.clients)
            while not self._stopping:
                await self._stream(reader, writer, number)
        except (OSError, EOFError, asyncio.IncompleteReadError) as broken:
            self.failures.append(f"the connection broke: {type(broken).__name__}")
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        asked = {"model": CHAT_MODEL, "messages": [{"role": "user", "content": f"I am {number}"}], "stream": True}
        body = json.dumps(asked).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {self.key}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            writer.write(head.encode() + body)
            said = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in said.partition(b"\r\n")[0] or b"chunked" not in said.lower():
                raise EOFError
            await reader.readuntil(b"data: ")
            self.headed += 1
            answer = await reader.readuntil(_END)
        finally:
            self.running -= 1
        if b'"error"' in answer or b'"usage"' not in answer or b"data: [DONE]\n\n" not in answer:
            self.failures.append(answer[-300:].decode("utf-8", "replace"))
        self.done += 1

    def stop(self) -> None:
        """No further stream begins."""
        self._stopping = True


@contextlib.contextmanager
def running_load(port: int, key: str, clients: int) -> Iterator[StreamLoad]:
    """Its streams run in a thread of their own; at the end those that run are heard out."""
    load = StreamLoad(port, key, clients)
    thread = threading.Thread(target=lambda: asyncio.run(load.run()), name="stream load", daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while load.running < clients and time.monotonic() < deadline and not load.failures:
            time.sleep(0.01)
        yield load
    finally:
        load.stop()
        thread.join(30)
        assert not thread.is_alive(), "streams hang"
