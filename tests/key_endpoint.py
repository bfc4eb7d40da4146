"""OpenRouter's `GET /api/v1/key` and nothing else, on a raw socket in a thread, so that any answer can be given."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator
from typing import Any

from app.core.config import Settings

Reply = tuple[int, bytes]


def facts(**fields: Any) -> Reply:
    """A good answer as OpenRouter gives it."""
    known = {"label": "sk-or-v1-0e6...1c96", "limit": None, "usage": 0.25, "is_management_key": False, "budgets": [1]}
    return 200, json.dumps({"data": known | fields}).encode()


UNKNOWN: Reply = (401, b'{"error":{"message":"User not found.","code":401}}')


class KeyEndpoint:
    """`replies` by key, `default` for all others; `heads` are the requests as they came, `busiest` at one time."""

    def __init__(self) -> None:
        self.replies: dict[str, Reply] = {}
        self.default: Reply = facts()
        self.extra_headers = ""
        self.pause_s = 0.0
        self.silent = False
        self.heads: list[str] = []
        self.busiest = 0
        self._busy = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._tasks: set[asyncio.Task[None] | None] = set()
        self._server = self._call(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/v1"

    def settings(self, **changes: Any) -> Settings:
        return Settings(_env_file=None, openrouter_base_url=self.base_url, **changes)

    def _call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.current_task())
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                await self._answer((await reader.readuntil(b"\r\n\r\n")).decode("latin-1"), writer)
        writer.close()

    async def _answer(self, head: str, writer: asyncio.StreamWriter) -> None:
        self.heads.append(head)
        self._busy += 1
        self.busiest = max(self.busiest, self._busy)
        await asyncio.sleep(3600 if self.silent else self.pause_s)
        self._busy -= 1
        key = head.lower().partition("authorization: bearer ")[2].partition("\r\n")[0]
        status, body = self.replies.get(key, self.default)
        writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{self.extra_headers}\r\n".encode() + body)
        await writer.drain()

    def close(self) -> None:
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _stop(self) -> None:
        self._server.close()
        tasks = [task for task in self._tasks if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.contextmanager
def running_key_endpoint() -> Iterator[KeyEndpoint]:
    endpoint = KeyEndpoint()
    try:
        yield endpoint
    finally:
        endpoint.close()
