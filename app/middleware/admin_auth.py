"""Lets in whose role is enough for the route. Which role a route needs is told by one table, which it is handed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.errors import GatewayError
from app.middleware.cookies import header
from app.middleware.panel_refusal import Show, drain, is_api, leave_page, once_more, plain_answer, refuse, see_other
from app.models.people import Person, Role
from app.services.return_path import login_path, return_path

NOT_THERE: Final = GatewayError(404, "not_found", "There is no such page here.", "Go on from the overview.")
NOBODY: Final = GatewayError(
    401,
    "authentication",
    "Nobody is signed in.",
    "Sign in, or send an admin token: Authorization: Bearer gwa_…",
    headers=((b"www-authenticate", b'Bearer realm="admin"'),),
)


class AdminAuth:
    """`needed` gives the least role for a method and a path, None for everybody; it raises `no_route` for what is not
    in its table, and that is refused.
    """

    def __init__(
        self,
        app: ASGIApp,
        needed: Callable[[str, str], Role | None],
        no_route: type[Exception],
        show: Show = plain_answer,
    ) -> None:
        self.app = app
        self._needed = needed
        self._no_route = no_route
        self._show = show

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            role = self._needed(scope["method"], scope["path"])
        except self._no_route:
            await refuse(scope, receive, send, NOT_THERE, self._show)
            return
        person: Person | None = scope["state"]["person"]
        if role is None or (person is not None and person.role.covers(role)):
            await self.app(scope, receive, send)
        elif person is not None:
            await refuse(scope, receive, send, not_enough(role), self._show)
        elif is_api(scope):
            await refuse(scope, receive, send, NOBODY, self._show)
        else:
            await drain(scope, receive)
            await self._to_login(scope)(scope, receive, send)

    def _to_login(self, scope: Scope) -> ASGIApp:
        path: str = scope["path"]
        query = scope["query_string"].decode("latin-1")
        reads = scope["method"] in ("GET", "HEAD")
        if reads and header(scope, b"sec-fetch-site") == b"cross-site":
            # The strict cookie stays away from what another site's link asks for; from our own page it comes along.
            return once_more(return_path(f"{path}?{query}" if query else path))
        target = login_path(path, query) if reads else "/login"
        if (ended := scope["state"].get("ended")) is not None:
            target += f"{'&' if '?' in target else '?'}ended={ended.value}"
        if header(scope, b"hx-request"):
            # A part of a page must not be replaced by the login page.
            return leave_page(target)
        return see_other(target)


def not_enough(role: Role) -> GatewayError:
    return GatewayError(403, "permission", f"This takes the role {role.value} or more.", "Ask an administrator for it.")
