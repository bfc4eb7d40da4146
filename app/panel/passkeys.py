"""What the script of the login and account pages asks for: challenges, and the passkeys that answer them."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from app.core.errors import GatewayError
from app.models.accounts import Account
from app.panel.entry import Access, ask_again, body_of, let_in, live_of, where_of
from app.services.passkeys import PasskeyRefused, Site
from app.services.return_path import return_path

router: Final = APIRouter(include_in_schema=False)
_REFUSED: Final = GatewayError(401, "passkey", "This passkey was not accepted.", "Try again, or use the password.")


@router.post("/login/passkey/options")
async def ask(request: Request, access: Access) -> Response:
    account, purpose = _purpose(request, await _json(request))
    return JSONResponse(await access.passkeys.ask(Site(request.state.origin), purpose, account))


@router.post("/login/passkey")
async def recognise(request: Request, access: Access) -> Response:
    """Signs in; or proves again who is signed in."""
    sent = await _json(request)
    account, purpose = _purpose(request, sent)
    target = return_path(str(sent.get("next", "")))
    try:
        owner = await access.passkeys.recognise(Site(request.state.origin), purpose, sent.get("credential"), account)
    except PasskeyRefused:
        raise _REFUSED from None
    answer = JSONResponse({"go": target}, headers={"cache-control": "no-store"})
    if account is not None:
        await access.sessions.touch(live_of(request), proved=True)
        return answer
    return let_in(request, access, await access.sign_in.let_in(owner, "passkey", where_of(request)), answer)


@router.post("/admin/account/passkeys/options")
async def offer(request: Request, access: Access) -> Response:
    _refuse_unproved(request, access)
    return JSONResponse(await access.passkeys.offer(Site(request.state.origin), live_of(request).account))


@router.post("/admin/account/passkeys/add")
async def add(request: Request, access: Access) -> Response:
    _refuse_unproved(request, access)
    sent, account = await _json(request), live_of(request).account
    site, by = Site(request.state.origin), request.state.person.by
    try:
        await access.passkeys.add(site, account, str(sent.get("name", "")), sent.get("credential"), by=by)
    except PasskeyRefused:
        raise _REFUSED from None
    return JSONResponse({"go": "/admin/account"})


def _refuse_unproved(request: Request, access: Access) -> None:
    """Raises GatewayError: a script cannot be sent to the page that asks for the password."""
    if ask_again(request, access) is not None:
        raise GatewayError(403, "confirm", "Prove first that it is still you.", "Load the page again.")


def _purpose(request: Request, sent: dict[str, Any]) -> tuple[Account | None, str]:
    """Whom the passkey must belong to, if to somebody."""
    if sent.get("purpose") != "confirm":
        return None, "login"
    if request.state.session is None:
        raise _REFUSED
    account = live_of(request).account
    return account, f"confirm {account.id}"


async def _json(request: Request) -> dict[str, Any]:
    """Raises GatewayError."""
    try:
        return msgspec.json.decode(await body_of(request), type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise GatewayError(400, "invalid_request", "This is not readable.", "Send a JSON object.") from None
