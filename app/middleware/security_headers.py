"""Headers that make a browser careful with every answer. Adds what is missing and never changes what is there."""

from __future__ import annotations

from collections.abc import Awaitable, Container

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
_LINES = [(name, name + b": " + value + b"\r\n") for name, value in _HEADERS]


def missing(present: Container[bytes]) -> bytes:
    """The header lines that an answer with these header names lacks."""
    return b"".join([line for name, line in _LINES if name not in present])


class SecurityHeaders:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        def completed(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                headers = list(message["headers"])
                present = {name for name, _ in headers}
                headers.extend([pair for pair in _HEADERS if pair[0] not in present])
                message["headers"] = headers
            return send(message)

        await self.app(scope, receive, completed)
