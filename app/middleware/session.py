"""Finds out who is asking: by the session's cookie, below /admin/api also by an admin token. Judges nothing.

Leaves in `scope["state"]`: `person` (None for nobody), `session` (what `SessionTimeout` judges), `secure`, `address`,
`origin`.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.redis import RedisReplyError, RedisUnavailable
from app.middleware.cookies import SESSION, Transport, header, read_cookie
from app.middleware.panel_refusal import EARLIER, NO_REDIS, Show, is_api, plain_answer, refuse
from app.models.people import Person
from app.services.access import PanelAccess
from app.services.sessions import Live

_PLACES: Final = ("/admin", "/login", "/logout", *EARLIER)
_STAY: Final = (b"strict-transport-security", b"max-age=63072000; includeSubDomains")


class Session:
    def __init__(self, app: ASGIApp, access: PanelAccess, transport: Transport, show: Show = plain_answer) -> None:
        self.app = app
        self._access = access
        self._transport = transport
        self._show = show

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        transport = self._transport
        state = scope.setdefault("state", {})
        state |= {
            "person": None,
            "session": None,
            "secure": transport.secure(scope),
            "address": transport.address(scope),
            "origin": transport.origin(scope),
        }
        send = _kept_on_tls(send) if state["secure"] else send
        try:
            await self._find(scope)
        except (RedisUnavailable, RedisReplyError):
            await refuse(scope, receive, send, NO_REDIS, self._show)
            return
        await self.app(scope, receive, send)

    async def _find(self, scope: Scope) -> None:
        path: str = scope["path"]
        state = scope["state"]
        if not path.startswith(_PLACES):
            return
        scheme, _, sent = header(scope, b"authorization").decode("latin-1").partition(" ")
        if is_api(scope) and scheme.lower() == "bearer":
            # A program that names itself is nobody else: its cookies do not count.
            state["person"] = await self._access.tokens.person(sent.strip(), state["address"])
        elif token := read_cookie(scope, SESSION, secure=state["secure"]):
            live = await self._access.sessions.look(token)
            if live is not None:
                state["session"] = live
                state["person"] = person_of(live, state["address"])


def _kept_on_tls(send: Send) -> Send:
    """A browser that was here over TLS comes back over TLS (RFC 6797)."""

    def kept(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], _STAY]
        return send(message)

    return kept


def person_of(live: Live, address: str) -> Person:
    return Person(name=live.account.name, role=live.account.role, address=address, session=live.record.id)
