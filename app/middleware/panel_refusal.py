"""What the layers before the panel answer by themselves: problem+json below /admin/api, else a small plain page.

It must hold when everything behind it fails: no template, no store, and nothing that the caller sent.
"""

from __future__ import annotations

import asyncio
import html
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.errors import Fault, GatewayError
from app.middleware.facts import Facts

API: Final = "/admin/api"
Show = Callable[[Scope, GatewayError], ASGIApp]
"""Makes the answer to an error: `plain_answer`, or a prettier one of the panel."""
_SMALL_BODY: Final = 65_536
_PATIENCE_S: Final = 1.0
_HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"),
)
NO_REDIS: Final = GatewayError(
    503,
    "redis_unavailable",
    "The panel cannot tell who you are: Redis does not answer.",
    "Calls go on. Try again in a moment.",
    fault=Fault.GATEWAY,
    headers=((b"retry-after", b"5"),),
)


EARLIER: Final = (
    "/proxy/",
    "/session-status",
    "/session-info",
    "/check-auth",
    "/extend-session",
    "/refresh-csrf",
    "/validate-credentials",
)
"""Where parts of the API were in earlier gateways."""


def is_api(scope: Scope) -> bool:
    path: str = scope["path"]
    return path == API or path.startswith((f"{API}/", *EARLIER))


def plain_answer(scope: Scope, error: GatewayError) -> ASGIApp:
    """The error, as a program or a person wants it."""
    api = is_api(scope)
    body = _problem(error) if api else _page(error)
    kind = b"application/problem+json" if api else b"text/html; charset=utf-8"
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), *_HEADERS, *error.headers]
    return _answer(error.status, headers, body)


def see_other(location: str) -> ASGIApp:
    """Sends the browser elsewhere. The address is an own one, made by `login_path`."""
    return _answer(303, [(b"location", location.encode("latin-1")), (b"content-length", b"0"), *_HEADERS], b"")


def leave_page(location: str) -> ASGIApp:
    """The same for a script that asked for a part of a page: it would follow a redirect unseen."""
    return _answer(401, [(b"hx-redirect", location.encode("latin-1")), (b"content-length", b"0"), *_HEADERS], b"")


def once_more(location: str) -> ASGIApp:
    """Lets the browser ask again by itself: the first time another site had sent it, so it held its cookies back."""
    target = html.escape(location, quote=True)
    text = f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0;url={target}"><title>…</title>'
    body = f'{text}<p><a href="{target}">Go on</a></p>'.encode()
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", b"%d" % len(body)), *_HEADERS]
    return _answer(200, headers, body)


async def refuse(scope: Scope, receive: Receive, send: Send, error: GatewayError, show: Show) -> None:
    """Answers with the error, and tells the request's log line."""
    facts: Facts | None = scope.get("gateway")
    if facts is not None:
        facts.error_type, facts.fault = error.error_type, error.fault
    await drain(scope, receive)
    await show(scope, error)(scope, receive, send)


async def drain(scope: Scope, receive: Receive) -> None:
    """Lets a small body in before it is answered, so that the connection stays usable."""
    facts: Facts | None = scope.get("gateway")
    if facts is None or not facts.body_open or (facts.content_length or 0) > _SMALL_BODY:
        return
    try:
        async with asyncio.timeout(_PATIENCE_S):
            while facts.body_open:
                message = await receive()
                facts.body_open = message["type"] == "http.request" and bool(message.get("more_body", False))
    except (TimeoutError, GatewayError):
        return


def _answer(status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> ASGIApp:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        facts: Facts | None = scope.get("gateway")
        ending = [(b"connection", b"close")] if facts is not None and facts.body_open else []
        await send({"type": "http.response.start", "status": status, "headers": [*headers, *ending]})
        content = b"" if scope["method"] == "HEAD" else body
        await send({"type": "http.response.body", "body": content, "more_body": False})

    return answer


def _problem(error: GatewayError) -> bytes:
    problem: dict[str, object] = {
        "type": f"urn:openrouter-middleware:problem:{error.error_type.replace('_', '-')}",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "detail": error.message,
    }
    if error.hint:
        problem["hint"] = error.hint
    return msgspec.json.encode(problem)


def _page(error: GatewayError) -> bytes:
    title, detail, hint = map(html.escape, (HTTPStatus(error.status).phrase, error.message, error.hint))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{title}</title></head><body><main><h1>{title}</h1><p>{detail}</p><p>{hint}</p>"
        '<p><a href="/admin">Overview</a> · <a href="/login">Sign in</a></p></main></body></html>'
    ).encode()
