"""Who may sign in: made, disabled and given roles by administrators. Every deed here asks first who one is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.core.errors import GatewayError
from app.models.people import Role
from app.panel.entry import Access, ask_again, form_of, own_account
from app.panel.render import go, page, say
from app.services import password_rules
from app.services.access import PanelAccess
from app.services.key_names import KeyRefused

router: Final = APIRouter(include_in_schema=False)
_PAGE: Final = "/admin/people"


@router.get("/admin/people")
async def show(request: Request, access: Access) -> Response:
    return await _show(request, access)


@router.post("/admin/people")
async def create(request: Request, access: Access) -> Response:
    """With a password that is shown once, to be changed by whoever gets it."""
    form = await form_of(request)
    if (again := ask_again(request, access, _PAGE)) is not None:
        return again
    password = password_rules.generated()
    try:
        account = await access.accounts.create(form.get("name", ""), _role(form), password, by=request.state.person.by)
    except KeyRefused as refused:
        return await _show(request, access, str(refused), status=422)
    return await _show(request, access, made=(account.name, password))


@router.post("/admin/people/{account_id}/{deed}")
async def do(request: Request, access: Access, account_id: str, deed: str) -> Response:
    act = _DEEDS.get(deed)
    if act is None:
        raise GatewayError(404, "not_found", "There is no such page here.", "Go on from the overview.")
    form = await form_of(request)
    if (again := ask_again(request, access, _PAGE)) is not None:
        return again
    if account_id == own_account(request).id:
        text = say(request, "This is your own account: another administrator changes it, or you do under Account.")
        return await _show(request, access, text, status=422)
    try:
        return await act(request, access, account_id, form)
    except KeyRefused as refused:
        return await _show(request, access, str(refused), status=422)


async def _set_role(request: Request, access: PanelAccess, account_id: str, form: dict[str, str]) -> Response:
    await access.accounts.set_role(account_id, _role(form), by=request.state.person.by)
    return go(_PAGE, say(request, "The role is changed; the person signs in again."))


async def _disable(request: Request, access: PanelAccess, account_id: str, form: dict[str, str]) -> Response:
    await access.accounts.set_disabled(account_id, disabled=True, by=request.state.person.by)
    return go(_PAGE, say(request, "The account is disabled; its sessions and tokens are worth nothing."))


async def _enable(request: Request, access: PanelAccess, account_id: str, form: dict[str, str]) -> Response:
    await access.accounts.set_disabled(account_id, disabled=False, by=request.state.person.by)
    return go(_PAGE, say(request, "The account is enabled."))


async def _password(request: Request, access: PanelAccess, account_id: str, form: dict[str, str]) -> Response:
    password = password_rules.generated()
    account = await access.accounts.set_password(account_id, password, by=request.state.person.by)
    return await _show(request, access, made=(account.name, password))


async def _factors(request: Request, access: PanelAccess, account_id: str, form: dict[str, str]) -> Response:
    await access.accounts.drop_factors(account_id, by=request.state.person.by)
    return go(_PAGE, say(request, "Codes and passkeys of the account are removed."))


async def _delete(request: Request, access: PanelAccess, account_id: str, form: dict[str, str]) -> Response:
    await access.accounts.delete(account_id, by=request.state.person.by)
    return go(_PAGE, say(request, "The account is deleted."))


_Act = Callable[[Request, PanelAccess, str, dict[str, str]], Awaitable[Response]]
_DEEDS: Final[dict[str, _Act]] = {
    "role": _set_role,
    "disable": _disable,
    "enable": _enable,
    "password": _password,
    "factors": _factors,
    "delete": _delete,
}


def _role(form: dict[str, str]) -> Role:
    """Raises KeyRefused."""
    try:
        return Role(form.get("role", ""))
    except ValueError:
        raise KeyRefused("Choose a role: viewer, operator or admin.") from None


async def _show(
    request: Request, access: PanelAccess, error: str = "", *, made: tuple[str, str] | None = None, status: int = 200
) -> Response:
    values = {
        "accounts": await access.accounts.every(),
        "first": access.accounts.first,
        "own": own_account(request).id,
        "roles": list(Role),
        "error": error,
        "made": made,
    }
    return page(request, "people.html", values, status=status)
