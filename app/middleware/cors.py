"""Which web pages may call the proxy from a browser. Never allows credentials: a key is a header, not a cookie."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.middleware.facts import Facts

_METHODS = (b"access-control-allow-methods", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
_MAX_AGE = (b"access-control-max-age", b"600")
_EXPOSED = (
    b"access-control-expose-headers",
    b"x-generation-id, x-request-id, retry-after, x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset",
)
_VARY = (b"vary", b"origin")
_HEADER_NAMES = re.compile(rb"[A-Za-z0-9_-]+(?:\s*,\s*[A-Za-z0-9_-]+)*")


class Cors:
    """Answers preflights before anybody is authenticated; without origins it allows none."""

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self.app = app
        self._any = "*" in origins
        self._origins = frozenset(origin.encode() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        facts: Facts = scope["gateway"]
        if facts.origin and scope["method"] == "OPTIONS" and (asked := _preflight(scope)) is not None:
            facts.route = "preflight"
            await self._answer(facts.origin, asked, send)
        elif self._origins:
            await self.app(scope, receive, self._marked(facts.origin, send))
        else:
            await self.app(scope, receive, send)

    @staticmethod
    def added_without_origin(origins: Collection[str]) -> list[tuple[bytes, bytes]]:
        """What an answer gets whose caller named no origin."""
        return [_VARY] if origins and "*" not in origins else []

    def _allowed(self, origin: bytes) -> bytes:
        """The value that allows this origin, or nothing."""
        if self._any:
            return b"*"
        return origin if origin in self._origins else b""

    async def _answer(self, origin: bytes, asked: bytes, send: Send) -> None:
        headers = [(b"vary", b"origin, access-control-request-method, access-control-request-headers")]
        if allowed := self._allowed(origin):
            headers += [(b"access-control-allow-origin", allowed), _METHODS, _MAX_AGE]
            if _HEADER_NAMES.fullmatch(asked):
                # Named one by one: `*` would leave Authorization out.
                headers.append((b"access-control-allow-headers", asked))
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _marked(self, origin: bytes, send: Send) -> Send:
        added = [] if self._any else [_VARY]
        if origin and (allowed := self._allowed(origin)):
            added += [(b"access-control-allow-origin", allowed), _EXPOSED]

        def marked(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *added]
            return send(message)

        return marked


def _preflight(scope: Scope) -> bytes | None:
    """The header names that a preflight asks for; None where the request is none."""
    asked: dict[bytes, bytes] = dict(scope["headers"])
    if b"access-control-request-method" not in asked:
        return None
    return asked.get(b"access-control-request-headers", b"").strip()
