"""Refuses what another site makes a browser send: by `Sec-Fetch-Site`, where that is missing by `Origin`.

No kind of body is exempt, and no kind of path. Only an admin token, which no browser sends by itself, needs none of it.
"""

from __future__ import annotations

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.errors import GatewayError
from app.middleware.cookies import Transport, header
from app.middleware.panel_refusal import Show, plain_answer, refuse
from app.models.people import Person

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN: Final = (b"same-origin", b"none")
CROSS_SITE: Final = GatewayError(
    403,
    "cross_site",
    "This request did not come from a page of this gateway.",
    "Send it from the panel; a program uses an admin token, or names this gateway's address as Origin.",
)


class Csrf:
    def __init__(self, app: ASGIApp, transport: Transport, show: Show = plain_answer) -> None:
        self.app = app
        self._transport = transport
        self._show = show

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in _SAFE and not self._is_own(scope):
            await refuse(scope, receive, send, CROSS_SITE, self._show)
        else:
            await self.app(scope, receive, send)

    def _is_own(self, scope: Scope) -> bool:
        person: Person | None = scope["state"]["person"]
        if person is not None and person.via == "token":
            return True
        if site := header(scope, b"sec-fetch-site"):
            return site in _OWN
        return self._transport.is_own_origin(scope, header(scope, b"origin"))
