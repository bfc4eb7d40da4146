"""A scope, an application and a call, for the layers that need no socket."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from app.middleware.facts import Facts

Headers = list[tuple[bytes, bytes]]


def scope_of(
    method: str = "GET", path: str = "/v1/models", *headers: tuple[bytes, bytes], **facts: Any
) -> dict[str, Any]:
    """A scope as the guard leaves it behind."""
    given = dict(headers)
    known = Facts(origin=given.get(b"origin", b""), **facts)
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": list(headers),
        "http_version": "1.1",
        "gateway": known,
    }


@dataclass
class Answer:
    """What an application has sent."""

    status: int = 0
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    complete: bool = False

    def get(self, name: bytes) -> bytes | None:
        """The value of a header that stands there once."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) <= 1, f"{name!r} stands there {len(values)} times"
        return values[0] if values else None


@dataclass
class Plane:
    """An application that answers, after raising what it is told to."""

    headers: Headers = field(default_factory=list)
    status: int = 200
    error: Exception | None = None
    error_after_head: Exception | None = None
    scopes: list[dict[str, Any]] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        if self.error is not None:
            raise self.error
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        if self.error_after_head is not None:
            raise self.error_after_head
        await send({"type": "http.response.body", "body": b"abc", "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def call(app: Any, scope: dict[str, Any], body: bytes = b"") -> Answer:
    """Runs one request through an application."""
    answer = Answer()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answer.status, answer.headers = message["status"], list(message["headers"])
        else:
            answer.body += message.get("body", b"")
            answer.complete = not message.get("more_body", False)

    await app(scope, receive, send)
    return answer
