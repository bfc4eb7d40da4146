"""What every page about signing in shares: the form, the cookies of a session, the question to prove it again."""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import parse_qsl, quote

from fastapi import Depends, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from app.core.errors import GatewayError
from app.middleware.cookies import DEVICE, PENDING, SESSION, drop_cookie, read_cookie, set_cookie
from app.models.accounts import Account
from app.models.people import Person
from app.panel.render import go
from app.services.access import PanelAccess
from app.services.return_path import HOME, return_path
from app.services.session_rules import recently_proved
from app.services.sessions import Live, digest_of
from app.services.sign_in import SignedIn, Where

CONFIRM: Final = "/admin/confirm"
_MOST_BYTES: Final = 65_536
_MOST_FIELDS: Final = 100
_DEVICE_S: Final = 180 * 86_400
_FORM: Final = "application/x-www-form-urlencoded"
_NO_FORM: Final = GatewayError(415, "unsupported_media_type", "Only plain forms are read here.", f"Send it as {_FORM}.")


def _access(request: Request) -> PanelAccess:
    found: PanelAccess = request.app.state.access
    return found


Access = Annotated[PanelAccess, Depends(_access)]
"""A route's parameter: `access: Access`."""


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form, each once; no files. Raises GatewayError."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (_FORM, ""):
        raise _NO_FORM
    body = await body_of(request)
    if body and not kind:
        raise _NO_FORM
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except ValueError:  # UnicodeDecodeError is one
        raise GatewayError(400, "invalid_request", "The form is not readable.", "Send it as UTF-8.") from None
    return dict(pairs)


async def body_of(request: Request) -> bytes:
    """Raises GatewayError."""
    body = b""
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > _MOST_BYTES:
                raise GatewayError(413, "payload_too_large", "This is too large.", "Send less.", close=True)
    except ClientDisconnect:
        raise GatewayError(400, "invalid_request", "It did not arrive whole.", "Send it again.") from None
    return body


def where_of(request: Request) -> Where:
    """From where somebody signs in."""
    secure = request.state.secure
    held = read_cookie(request.scope, SESSION, secure=secure)
    return Where(
        address=request.state.address,
        agent=request.headers.get("user-agent", ""),
        device=read_cookie(request.scope, DEVICE, secure=secure),
        session=digest_of(held) if held else "",
    )


def let_in(request: Request, access: PanelAccess, signed: SignedIn, response: Response) -> Response:
    """Gives the browser its new session, which no other browser and no other page knows."""
    secure = request.state.secure
    life_s = round(access.sessions.timeouts.absolute_s)
    response.raw_headers += [
        set_cookie(SESSION, signed.token, secure=secure, max_age_s=life_s),
        set_cookie(DEVICE, signed.device, secure=secure, max_age_s=_DEVICE_S),
        drop_cookie(PENDING, secure=secure),
    ]
    return response


def live_of(request: Request) -> Live:
    """The session of whoever asks. Raises GatewayError for a token: this is for people in a browser."""
    live: Live | None = request.state.session
    if live is None:
        raise GatewayError(403, "permission", "A token cannot do this.", "Sign in to the panel.")
    return live


def own_account(request: Request) -> Account:
    return live_of(request).account


def ask_again(request: Request, access: PanelAccess, back: str = "") -> Response | None:
    """Called before an export, or before a secret is replaced: None where the person has proved who they are within the
    last ten minutes, else the answer that asks for it. `back` is the page to return to. A token has proved it already.
    """
    person: Person = request.state.person
    if person.via == "token" or recently_proved(live_of(request).record, access.clock.wall_s()):
        return None
    if request.url.path.startswith("/admin/api"):
        hint = f"Open {CONFIRM} in the panel, then send this again."
        raise GatewayError(403, "confirm", "Prove first that it is still you.", hint)
    reads = request.method in ("GET", "HEAD")
    wanted = back or (request.url.path + (f"?{request.url.query}" if request.url.query else "") if reads else HOME)
    return go(f"{CONFIRM}?next={quote(return_path(wanted), safe='')}")


async def end_sessions(access: PanelAccess, account_id: str, *, but: str, by: str) -> int:
    """All of an account but one, by its digest; how many were still there."""
    others = [one for one in await access.sessions.of_account(account_id) if one.digest != but]
    return await access.sessions.end(others, by=by, deed="revoke")
