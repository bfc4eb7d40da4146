"""A simulator on its own port for each test, a client for it, raw sockets, and OpenRouter's OpenAPI file if present."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from simulator import Simulator
from tests.test_simulator.openapi import OpenApi

ROOT = Path(__file__).parents[2]


@dataclass
class Rig:
    """A running simulator, one of its keys, and a client that sends it."""

    simulator: Simulator
    base_url: str
    key: str
    client: httpx2.AsyncClient
    management: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        return self.base_url.removesuffix("/api/v1")

    @property
    def port(self) -> int:
        return int(self.origin.rpartition(":")[2])

    async def get(self, path: str, **options: Any) -> httpx2.Response:
        return await self.client.get(self.base_url + path, **options)

    async def post(self, path: str, body: Any, **options: Any) -> httpx2.Response:
        return await self.client.post(self.base_url + path, json=body, **options)

    async def chat(self, model: str = "openai/gpt-4o-mini", content: Any = "hello you", **more: Any) -> httpx2.Response:
        return await self.post("/chat/completions", {"model": model, "messages": [user(content)], **more})

    async def control(self, path: str, body: Any = None) -> Any:
        url = f"{self.origin}/_sim/{path}"
        answer = await (self.client.get(url) if body is None else self.client.post(url, json=body))
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def bill(self) -> list[dict[str, Any]]:
        return list((await self.control("bill"))["rows"])

    def request(self, path: str, body: Any) -> bytes:
        """The bytes of a POST, for raw sockets."""
        content = json.dumps(body).encode()
        head = f"POST /api/v1{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self.key}\r\n"
        return f"{head}Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content

    @asynccontextmanager
    async def raw(self, path: str, body: Any) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(self.request(path, body))
        try:
            yield reader, writer
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    simulator = Simulator()
    base_url = await simulator.start()
    key = simulator.add_key(account="user_one")
    management = simulator.add_key(account="user_one", management=True, name="admin")
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, trust_env=False) as client:
        yield Rig(simulator, base_url, key, client, management)
    await simulator.stop()


@pytest.fixture(scope="session")
def openapi() -> OpenApi:
    """OpenRouter's own description of its API. It is not part of this repository."""
    folder = Path(os.environ.get("OPENROUTER_OPENAPI_DIR", ROOT / "../shared/reference"))
    path = folder / "openrouter-openapi.yaml"
    if not path.is_file():
        pytest.skip("openrouter-openapi.yaml is absent: set OPENROUTER_OPENAPI_DIR to the folder that holds it")
    return OpenApi(path)
