"""The login: name and password, a code where one is wanted, and the way out. Renders and asks; decides nothing."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.middleware.cookies import PENDING, SESSION, drop_cookie, read_cookie, set_cookie
from app.panel.entry import Access, form_of, let_in, where_of
from app.panel.render import go, page, say
from app.services.login_guard import MustWait
from app.services.passwords import PasswordsBusy
from app.services.return_path import return_path
from app.services.sign_in import CodeWanted, Refused

router: Final = APIRouter(include_in_schema=False)
_PENDING_S: Final = 300
# Asks the browser to forget what it keeps of pages; its other cookies are how somebody likes the panel.
_CLEAR: Final = (b"clear-site-data", b'"cache", "storage"')
_ENDS: Final = ("idle", "old", "changed")


@router.get("/login")
async def show(request: Request, access: Access, next: str = "", ended: str = "") -> Response:  # noqa: A002 - promised
    """Who is signed in already goes on."""
    if request.state.person is not None:
        return go(return_path(next))
    return _form(request, access, next, ended=ended if ended in _ENDS else "")


@router.post("/login")
async def sign_in(request: Request, access: Access) -> Response:
    form = await form_of(request)
    wanted, name = form.get("next", ""), form.get("username", "")
    try:
        found = await access.sign_in.by_password(name, form.get("password", ""), where_of(request))
    except Refused:
        return _form(request, access, wanted, name, say(request, "Name or password is wrong."), status=401)
    except MustWait as wait:
        return _waiting(_form(request, access, wanted, name, _wait_text(request, wait), status=429), wait)
    except PasswordsBusy:
        return _form(request, access, wanted, name, say(request, "Very many sign in at once: try again."), status=503)
    if isinstance(found, CodeWanted):
        response = go("/login/code" + _next(wanted))
        cookie = set_cookie(PENDING, found.pending, secure=request.state.secure, max_age_s=_PENDING_S)
        response.raw_headers.append(cookie)
        return response
    return let_in(request, access, found, go(return_path(wanted)))


@router.get("/login/code")
async def show_code(request: Request, access: Access, next: str = "") -> Response:  # noqa: A002 - promised
    if await access.sign_in.pending(_pending(request)) is None:
        return go("/login" + _next(next))
    return page(request, "login_code.html", {"next": return_path(next), "error": ""})


@router.post("/login/code")
async def take_code(request: Request, access: Access) -> Response:
    form = await form_of(request)
    wanted = form.get("next", "")
    try:
        signed = await access.sign_in.by_code(_pending(request), form.get("code", ""), where_of(request))
    except Refused:
        if await access.sign_in.pending(_pending(request)) is None:
            return go("/login" + _next(wanted))
        values = {"next": return_path(wanted), "error": say(request, "This code is wrong, or was used before.")}
        return page(request, "login_code.html", values, status=401)
    except MustWait as wait:
        values = {"next": return_path(wanted), "error": _wait_text(request, wait)}
        return _waiting(page(request, "login_code.html", values, status=429), wait)
    return let_in(request, access, signed, go(return_path(wanted)))


@router.get("/logout")
async def ask_logout(request: Request) -> Response:
    """A link changes nothing: here is the button."""
    return page(request, "logout.html") if request.state.person is not None else go("/login")


@router.post("/logout")
async def sign_out(request: Request, access: Access) -> Response:
    live, person = request.state.session, request.state.person
    if live is not None:
        await access.sessions.end([live], by=person.by)
    response = go("/login", say(request, "You are signed out."))
    secure = request.state.secure
    response.raw_headers += [drop_cookie(SESSION, secure=secure), drop_cookie(PENDING, secure=secure), _CLEAR]
    return response


def _form(
    request: Request,
    access: Access,
    wanted: str,
    name: str = "",
    error: str = "",
    *,
    ended: str = "",
    status: int = 200,
) -> Response:
    values = {
        "next": return_path(wanted),
        "name": name[:128],
        "error": error,
        "ended": ended,
        "provider": access.provider,
    }
    return page(request, "login.html", values, status=status)


def _pending(request: Request) -> str:
    return read_cookie(request.scope, PENDING, secure=request.state.secure)


def _next(wanted: str) -> str:
    return f"?next={quote(return_path(wanted), safe='')}"


def _wait_text(request: Request, wait: MustWait) -> str:
    return say(request, "Too many tries: try again in %(seconds)s s.", seconds=wait.seconds)


def _waiting(response: Response, wait: MustWait) -> Response:
    response.headers["retry-after"] = str(wait.seconds)
    return response
