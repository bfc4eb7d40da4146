"""`/admin/api/people`: who may sign in. A password that the gateway draws is in the answer that draws it, and nowhere
else; nobody changes their own account here.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from app.models.accounts import Account
from app.models.people import Role
from app.panel.api.callers import PROVED, CalledBy, Caller
from app.panel.api.conventions import (
    After,
    Id,
    IfMatch,
    Limit,
    Listed,
    Once,
    OnceKey,
    Strict,
    answered,
    instant,
    listed,
    seen_rev,
)
from app.panel.context import Context, SignedIn
from app.panel.entry import Access
from app.services import password_rules
from app.services.access import PanelAccess
from app.services.key_names import KeyRefused, Outdated

router: Final = APIRouter(prefix="/admin/api/people", tags=["People"])


class PersonOut(BaseModel):
    """`source`: environment, generated, panel or oidc. `first`: the first administrator, who stays what they are."""

    id: str
    name: str
    role: Role
    disabled: bool
    source: str
    first: bool
    second_factor: bool
    recovery_codes: int
    passkeys: int
    created_at: datetime | None
    rev: int


class NewPasswordOut(PersonOut):
    """With the password, this one time; to be changed by whoever gets it."""

    password: str


class PersonIn(Strict):
    name: str = Field(min_length=1, max_length=128)
    role: Role = Field(strict=False)


class PersonChange(Strict):
    role: Role | None = Field(None, strict=False)
    disabled: bool | None = None


def _fields(account: Account, access: PanelAccess) -> dict[str, Any]:
    return {
        "id": account.id,
        "name": account.name,
        "role": account.role,
        "disabled": account.disabled,
        "source": account.source,
        "first": account.id == access.accounts.first,
        "second_factor": account.second_factor,
        "recovery_codes": len(account.recovery),
        "passkeys": len(account.passkeys),
        "created_at": instant(account.created_s),
        "rev": account.rev,
    }


def _answer(account: Account, access: PanelAccess) -> Response:
    return answered(PersonOut(**_fields(account, access)), account.rev)


async def _other(person_id: str, if_match: str | None, caller: Caller, access: PanelAccess) -> Account:
    """Raises NoSuchKey, Outdated, KeyRefused."""
    account = await access.accounts.get(person_id)
    if seen_rev(if_match) not in (None, account.rev):
        raise Outdated
    if account.id == caller.account.id:
        raise KeyRefused("This is your own account: another administrator changes it, or you do in the panel.")
    return account


@router.get("")
async def list_people(access: Access, limit: Limit = 100, after: After = "") -> Listed[PersonOut]:
    """The accounts, the newest first."""
    found = await access.accounts.every()
    shown, further = listed(found, lambda one: (float(one.created_s), one.id), after, limit)
    return Listed(data=[PersonOut(**_fields(one, access)) for one in shown], next=further)


@router.post("", status_code=201, response_model=NewPasswordOut, dependencies=[PROVED])
async def create_person(
    request: Request, body: PersonIn, ctx: Context, person: SignedIn, access: Access, once: OnceKey = None
) -> Response:
    """Makes an account, with a password that is shown this once."""

    async def create() -> tuple[Response, dict[str, Any]]:
        password = password_rules.generated()
        account = await access.accounts.create(body.name, body.role, password, by=person.by)
        shown = NewPasswordOut(**_fields(account, access), password=password)
        place = f"{router.prefix}/{quote(account.id, safe='')}"
        return answered(shown, account.rev, status=201, location=place), {"id": account.id, "name": account.name}

    return await Once(ctx.redis, person, once).run(request, create)


@router.get("/{person_id}", response_model=PersonOut)
async def get_person(person_id: Id, access: Access) -> Response:
    return _answer(await access.accounts.get(person_id), access)


@router.patch("/{person_id}", response_model=PersonOut, dependencies=[PROVED])
async def change_person(
    person_id: Id, body: PersonChange, caller: CalledBy, access: Access, if_match: IfMatch = None
) -> Response:
    """Role, and whether they may sign in at all: two deeds, in this order. Each ends what the account was signed in
    with.
    """
    account = await _other(person_id, if_match, caller, access)
    if body.role is not None:
        account = await access.accounts.set_role(person_id, body.role, by=caller.person.by)
    if body.disabled is not None:
        account = await access.accounts.set_disabled(person_id, disabled=body.disabled, by=caller.person.by)
    return _answer(account, access)


@router.post("/{person_id}/password", response_model=NewPasswordOut, dependencies=[PROVED])
async def new_password(
    request: Request,
    person_id: Id,
    ctx: Context,
    caller: CalledBy,
    access: Access,
    once: OnceKey = None,
    if_match: IfMatch = None,
) -> Response:
    """Draws a new password, shown this once, and ends every session of the account."""
    account = await _other(person_id, if_match, caller, access)

    async def create() -> tuple[Response, dict[str, Any]]:
        password = password_rules.generated()
        after = await access.accounts.set_password(account.id, password, by=caller.person.by)
        shown = NewPasswordOut(**_fields(after, access), password=password)
        return answered(shown, after.rev), {"id": after.id, "name": after.name}

    return await Once(ctx.redis, caller.person, once).run(request, create)


@router.delete("/{person_id}/factors", response_model=PersonOut, dependencies=[PROVED])
async def drop_factors(person_id: Id, caller: CalledBy, access: Access, if_match: IfMatch = None) -> Response:
    """Takes codes and passkeys away, for somebody who has lost them."""
    account = await _other(person_id, if_match, caller, access)
    return _answer(await access.accounts.drop_factors(account.id, by=caller.person.by), access)


@router.delete("/{person_id}", status_code=204, dependencies=[PROVED])
async def delete_person(person_id: Id, caller: CalledBy, access: Access, if_match: IfMatch = None) -> None:
    """Their sessions and tokens end with the account."""
    account = await _other(person_id, if_match, caller, access)
    await access.accounts.delete(account.id, by=caller.person.by)
