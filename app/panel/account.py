"""One's own account: sessions, password, codes from an app, passkeys; and the page that asks who one is once more."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable
from typing import Final

import segno
from fastapi import APIRouter, Request
from markupsafe import Markup
from starlette.responses import Response

from app.core.errors import GatewayError
from app.models.accounts import Account
from app.panel.entry import Access, ask_again, end_sessions, form_of, live_of, where_of
from app.panel.render import go, page, say
from app.services.access import PanelAccess
from app.services.key_names import KeyRefused
from app.services.login_guard import MustWait
from app.services.passwords import PasswordsBusy
from app.services.return_path import return_path
from app.services.totp import address

router: Final = APIRouter(include_in_schema=False)
_PAGE: Final = "/admin/account"
_ISSUER: Final = "OpenRouter gateway"


@router.get("/admin/account")
async def show(request: Request, access: Access) -> Response:
    return await _show(request, access)


@router.get("/admin/confirm")
async def ask(request: Request, next: str = "") -> Response:  # noqa: A002 - promised
    """Who one is, once more: before a secret is shown or replaced."""
    return _confirm(request, live_of(request).account, return_path(next))


@router.post("/admin/confirm")
async def confirm(request: Request, access: Access) -> Response:
    form, live = await form_of(request), live_of(request)
    wanted = return_path(form.get("next", ""))
    try:
        right = await access.sign_in.proves(live.account, form.get("password", ""), where_of(request))
    except MustWait as wait:
        text = say(request, "Too many tries: try again in %(seconds)s s.", seconds=wait.seconds)
        return _confirm(request, live.account, wanted, text, 429)
    except PasswordsBusy:
        return _confirm(request, live.account, wanted, say(request, "Very many sign in at once: try again."), 503)
    if not right:
        return _confirm(request, live.account, wanted, say(request, "The password is wrong."), 401)
    await access.sessions.touch(live, proved=True)
    return go(wanted)


@router.post("/admin/account/{deed}")
async def do(request: Request, access: Access, deed: str) -> Response:
    """Every deed of the page. What concerns how one signs in asks first who one is."""
    found = _DEEDS.get(deed)
    if found is None:
        raise GatewayError(404, "not_found", "There is no such page here.", "Go on from the overview.")
    act, delicate = found
    form = await form_of(request)
    if delicate and (again := ask_again(request, access, _PAGE)) is not None:
        return again
    try:
        return await act(request, access, form)
    except KeyRefused as refused:
        return await _show(request, access, {deed: str(refused)}, setup=deed == "code-on", status=422)


async def _end_session(request: Request, access: PanelAccess, form: dict[str, str]) -> Response:
    own = await access.sessions.of_account(live_of(request).account.id)
    wanted = form.get("session", "")
    await access.sessions.end(
        [one for one in own if one.record.id == wanted], by=request.state.person.by, deed="revoke"
    )
    return go(_PAGE, say(request, "The session is ended."))


async def _end_others(request: Request, access: PanelAccess, form: dict[str, str]) -> Response:
    live = live_of(request)
    await end_sessions(access, live.account.id, but=live.digest, by=request.state.person.by)
    return go(_PAGE, say(request, "All other sessions are ended."))


async def _password(request: Request, access: PanelAccess, form: dict[str, str]) -> Response:
    """Ends every session, this one too: whoever knew the old password is out."""
    account = live_of(request).account
    if form.get("password", "") != form.get("again", ""):
        raise KeyRefused(say(request, "The two passwords are not the same."))
    await access.accounts.set_password(account.id, form.get("password", ""), by=request.state.person.by)
    if account.id == access.accounts.first:
        access.forget_password_file()
    return go("/login", say(request, "The password is changed: sign in with the new one."))


async def _code_setup(request: Request, access: PanelAccess, form: dict[str, str]) -> Response:
    return await _show(request, access, setup=True)


async def _code_on(request: Request, access: PanelAccess, form: dict[str, str]) -> Response:
    account = live_of(request).account
    codes = await access.factor.confirm(account, form.get("code", ""), by=request.state.person.by)
    if codes is None:
        raise KeyRefused(say(request, "This code is wrong. Is the clock of the phone right?"))
    return await _show(request, access, codes=codes)


async def _code_off(request: Request, access: PanelAccess, form: dict[str, str]) -> Response:
    """Ends every session, as everything does that makes it easier to sign in."""
    await access.factor.remove(live_of(request).account, by=request.state.person.by)
    return go("/login", say(request, "No code is asked for any more: sign in again."))


async def _codes(request: Request, access: PanelAccess, form: dict[str, str]) -> Response:
    codes = await access.factor.renew_recovery(live_of(request).account, by=request.state.person.by)
    return await _show(request, access, codes=codes)


async def _passkey_off(request: Request, access: PanelAccess, form: dict[str, str]) -> Response:
    await access.passkeys.remove(live_of(request).account, form.get("passkey", ""), by=request.state.person.by)
    return go(_PAGE, say(request, "The passkey is removed."))


_Act = Callable[[Request, PanelAccess, dict[str, str]], Awaitable[Response]]
_DEEDS: Final[dict[str, tuple[_Act, bool]]] = {
    "end-session": (_end_session, False),
    "end-others": (_end_others, False),
    "password": (_password, True),
    "code-setup": (_code_setup, True),
    "code-on": (_code_on, True),
    "code-off": (_code_off, True),
    "recovery-codes": (_codes, True),
    "passkey-off": (_passkey_off, True),
}


async def _show(
    request: Request,
    access: PanelAccess,
    errors: dict[str, str] | None = None,
    *,
    codes: tuple[str, ...] = (),
    setup: bool = False,
    status: int = 200,
) -> Response:
    live = live_of(request)
    # What a deed of this request has changed is shown too.
    account = await access.accounts.get(live.account.id)
    proved = ask_again(request, access, _PAGE) is None
    secret = await access.factor.propose(account) if setup and not account.totp else ""
    values = {
        "account": account,
        "managed": access.accounts.is_managed(account),
        "sessions": await access.sessions.of_account(account.id),
        "current": live.digest,
        "proved": proved,
        "secret": secret,
        "qr": _picture(address(secret, account.name, _ISSUER)) if secret else "",
        "codes": codes,
        "errors": errors or {},
    }
    return page(request, "account.html", values, status=status)


def _confirm(request: Request, account: Account, wanted: str, error: str = "", status: int = 200) -> Response:
    return page(request, "confirm.html", {"account": account, "next": wanted, "error": error}, status=status)


def _picture(text: str) -> Markup:
    """A QR code as SVG, made of numbers alone."""
    out = io.BytesIO()
    segno.make(text, error="m").save(
        out, kind="svg", xmldecl=False, svgns=True, svgclass="qr", lineclass=None, omitsize=True, border=3
    )
    return Markup(out.getvalue().decode())  # noqa: S704 # nosec B704
