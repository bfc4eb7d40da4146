"""The way to a provider and back. Both answers are pages that go on by themselves.

A redirect would be refused by the content policy of the page before, or arrive without the session just begun.
"""

from __future__ import annotations

import logging
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.core.errors import GatewayError
from app.middleware.cookies import OIDC, drop_cookie, read_cookie, set_cookie
from app.panel.entry import Access, form_of, let_in, where_of
from app.panel.render import page, say
from app.services.access import PanelAccess
from app.services.login_guard import MustWait
from app.services.oidc import Oidc, OidcFailed
from app.services.return_path import return_path
from app.services.sign_in import Refused, Where

log = logging.getLogger(__name__)

router: Final = APIRouter(include_in_schema=False)
_LIVES_S: Final = 600


@router.post("/login/oidc")
async def begin(request: Request, access: Access) -> Response:
    provider = _provider(access)
    form, live = await form_of(request), request.state.session
    try:
        await access.guard.begin_provider(request.state.address)
        begun = await provider.begin(return_path(form.get("next", "")), old=live.digest if live is not None else "")
    except OidcFailed as failure:
        return _failed(request, access, failure)
    except MustWait as wait:
        return _waiting(request, access, wait)
    response = page(request, "go_on.html", {"target": begun.url})
    # Lax, because the provider sends the browser back: a strict cookie would stay behind.
    cookie = set_cookie(OIDC, begun.cookie, secure=request.state.secure, max_age_s=_LIVES_S, same_site="Lax")
    response.raw_headers.append(cookie)
    return response


@router.get("/login/oidc/callback")
async def come_back(request: Request, access: Access) -> Response:
    provider = _provider(access)
    where = where_of(request)
    try:
        told = {name: value for name, value in request.query_params.multi_items() if len(value) < 4000}
        account, waiting = await provider.finish(told, read_cookie(request.scope, OIDC, secure=request.state.secure))
        old = waiting.old or where.session
        signed = await access.sign_in.let_in(account, "oidc", Where(where.address, where.agent, where.device, old))
    except OidcFailed as failure:
        await access.sign_in.count_failure(where)
        return _failed(request, access, failure)
    except Refused:
        return _failed(request, access, OidcFailed("changed"))
    await access.guard.came_back(where.address)
    response = let_in(request, access, signed, page(request, "go_on.html", {"target": return_path(waiting.next)}))
    response.raw_headers.append(drop_cookie(OIDC, secure=request.state.secure))
    return response


def _provider(access: PanelAccess) -> Oidc:
    """Raises GatewayError."""
    if access.oidc is None:
        raise GatewayError(404, "not_found", "There is no such page here.", "Go on from the overview.")
    return access.oidc


def _waiting(request: Request, access: PanelAccess, wait: MustWait) -> Response:
    text = say(request, "Too many tries: try again in %(seconds)s s.", seconds=wait.seconds)
    response = _login(request, access, text, 429)
    response.headers["retry-after"] = str(wait.seconds)
    return response


def _failed(request: Request, access: PanelAccess, failure: OidcFailed) -> Response:
    log.warning("provider sign-in failed", extra={"reason": failure.reason})
    text = say(request, "Signing in through %(provider)s did not work: try again, or ask an administrator.",
               provider=access.provider)  # fmt: skip
    return _login(request, access, text, 401)


def _login(request: Request, access: PanelAccess, error: str, status: int) -> Response:
    values = {"next": return_path(""), "name": "", "error": error, "ended": "", "provider": access.provider}
    return page(request, "login.html", values, status=status)
