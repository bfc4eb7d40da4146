"""Admin tokens: one's own, for administrators everybody's. Each is shown once, in the answer that made it."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.models.people import Role
from app.panel.entry import Access, ask_again, form_of, own_account
from app.panel.render import go, page, say
from app.services.access import PanelAccess
from app.services.key_names import KeyRefused

router: Final = APIRouter(include_in_schema=False)
_PAGE: Final = "/admin/tokens"
_DAYS: Final = (7, 30, 90, 365)


@router.get("/admin/tokens")
async def show(request: Request, access: Access) -> Response:
    return await _show(request, access)


@router.post("/admin/tokens")
async def create(request: Request, access: Access) -> Response:
    form = await form_of(request)
    if (again := ask_again(request, access, _PAGE)) is not None:
        return again
    try:
        role, days = Role(form.get("role", "")), int(form.get("days", ""))
    except ValueError:
        return await _show(request, access, say(request, "Choose a role and a number of days."), status=422)
    try:
        _, secret = await access.tokens.create(
            own_account(request), form.get("name", ""), role, days, by=request.state.person.by
        )
    except KeyRefused as refused:
        return await _show(request, access, str(refused), status=422)
    return await _show(request, access, made=secret.reveal())


@router.post("/admin/tokens/{token_id}/revoke")
async def revoke(request: Request, access: Access, token_id: str) -> Response:
    """Administrators revoke anybody's."""
    account = own_account(request)
    whose = "" if account.role is Role.ADMIN else account.id
    await access.tokens.revoke(token_id, by=request.state.person.by, account=whose)
    return go(_PAGE, say(request, "The token is revoked."))


async def _show(
    request: Request, access: PanelAccess, error: str = "", *, made: str = "", status: int = 200
) -> Response:
    account = own_account(request)
    values = {
        "tokens": await access.tokens.of_account("" if account.role is Role.ADMIN else account.id),
        "used": await access.tokens.last_used(),
        "roles": [role for role in Role if account.role.covers(role)],
        "days": _DAYS,
        "error": error,
        "made": made,
    }
    return page(request, "tokens.html", values, status=status)
