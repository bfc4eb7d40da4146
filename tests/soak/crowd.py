"""The clients of a soak: each does one thing after the other, good and bad, and remembers what it was answered."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count

from tests.test_integration.samples import CHAT_MODEL

FAULTS = tuple(
    f"sim/{name}"
    for name in (
        "402-too-big", "429-provider", "403-moderation", "400-context", "408", "502", "503", "504", "524", "529",
        "429-html", "503-html", "200-error", "200-error-finish", "stream-first-error", "stream-mid-error", "stream-cut",
        "reset", "reset-after-head", "half-json", "garbage", "slow", "split",
    )
)  # fmt: skip
_LIMIT_S = 120.0
_PAUSE_S = 0.2


@dataclass
class Crowd:
    """`answered` holds the ids of calls whose answer's head came, `sent` of all. `failures`: what must never happen."""

    port: int
    keys: list[str]
    streams: int
    faults: tuple[str, ...] = FAULTS
    seed: int = 1
    sent: set[str] = field(default_factory=set)
    answered: set[str] = field(default_factory=set)
    tally: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    running: int = 0
    stopping: bool = False

    def __post_init__(self) -> None:
        self._numbers = count(1)
        self._dice = random.Random(self.seed)
        self._ways: list[tuple[Callable[[], Awaitable[None]], int]] = [
            (self._hear_out, 60), (self._messages, 8), (self._whole, 8), (self._leave, 8), (self._vanish, 4),
            (self._read_slowly, 3), (self._meet_a_fault, 8), (self._nonsense, 1),
        ]  # fmt: skip

    async def run(self) -> None:
        await asyncio.gather(*(self._client(number) for number in range(self.streams)))

    async def _client(self, number: int) -> None:
        ways = [way for way, _ in self._ways]
        weights = [weight for _, weight in self._ways]
        await asyncio.sleep(20 * number / self.streams)  # nobody comes at once
        while not self.stopping:
            way = self._dice.choices(ways, weights)[0]
            self.running += 1
            try:
                async with asyncio.timeout(_LIMIT_S):
                    await way()
            except (OSError, EOFError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                self.tally["broken"] += 1
            except TimeoutError:
                self.failures.append(f"{way.__name__} took longer than {_LIMIT_S:g} s")
            finally:
                self.running -= 1
            await asyncio.sleep(_PAUSE_S * self._dice.random())

    # ---- ways to call

    async def _hear_out(self) -> None:
        await self._call("stream", lambda reader, _: reader.readuntil(b"0\r\n\r\n"))

    async def _messages(self) -> None:
        await self._call("messages", lambda reader, _: reader.readuntil(b"0\r\n\r\n"), path="/v1/messages")

    async def _whole(self) -> None:
        await self._call("whole", _to_the_end, stream=False)

    async def _leave(self) -> None:
        """Politely, in the middle."""

        async def some(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> bytes:
            return await reader.read(self._dice.randrange(1, 4000))

        await self._call("left", some)

    async def _vanish(self) -> None:
        """With a reset, at any time, before the head too."""

        async def gone(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
            await asyncio.sleep(self._dice.random() * 3)
            sock: socket.socket = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return b""

        await self._call("vanished", gone, head=False)

    async def _read_slowly(self) -> None:
        async def sip(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> bytes:
            heard = b""
            while not heard.endswith(b"0\r\n\r\n"):
                piece = await reader.read(200)
                if not piece:
                    break
                heard = (heard + piece)[-200:]
                await asyncio.sleep(0.1)
            return heard

        await self._call("slow", sip)

    async def _meet_a_fault(self) -> None:
        await self._call("fault", _to_the_end, model=self._dice.choice(self.faults), stream=self._dice.random() < 0.7)

    async def _nonsense(self) -> None:
        body = self._dice.choice((b"{", b"[]", b'{"model":1}', b"\xff\xfe", b'{"model":"a","model":"b","messages":[]}'))
        await self._call("nonsense", _to_the_end, body=body)

    async def _call(
        self,
        name: str,
        hear: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bytes]],
        *,
        path: str = "/v1/chat/completions",
        model: str = CHAT_MODEL,
        stream: bool = True,
        body: bytes | None = None,
        head: bool = True,
    ) -> None:
        number = next(self._numbers)
        request_id = f"soak-{self.seed}-{number}"
        asked = {"model": model, "messages": [{"role": "user", "content": f"I am {number}"}], "max_tokens": 100}
        content = json.dumps({**asked, "stream": stream}).encode() if body is None else body
        lines = (
            f"POST {path} HTTP/1.1", "Host: gateway", f"Authorization: Bearer {self._dice.choice(self.keys)}",
            "Content-Type: application/json", "Connection: close", f"X-Request-Id: {request_id}",
            f"Content-Length: {len(content)}",
        )  # fmt: skip
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**20)
        try:
            self.sent.add(request_id)
            writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + content)
            status = ""
            if head:
                said = await reader.readuntil(b"\r\n\r\n")
                status = said[9:12].decode()
                self.answered.add(request_id)
            heard = await hear(reader, writer) if status in ("", "200") else await _to_the_end(reader, writer)
            self.tally[f"{name} {status}".strip()] += 1
            if status == "500" or b"Traceback" in heard:
                self.failures.append(f"{name} {status}: {heard[-300:]!r}")
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def _to_the_end(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> bytes:
    return await reader.read(-1)
