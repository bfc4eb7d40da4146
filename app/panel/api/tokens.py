"""`/admin/api/tokens`: keys to this API. A token is in the answer that makes it, and nowhere else, ever."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from app.models.accounts import AdminToken
from app.models.people import Role
from app.panel.api.callers import PROVED, CalledBy, Caller
from app.panel.api.conventions import (
    After,
    Id,
    Limit,
    Listed,
    Once,
    OnceKey,
    Strict,
    answered,
    instant,
    listed,
)
from app.panel.context import Context
from app.panel.entry import Access
from app.services.access import PanelAccess
from app.services.admin_tokens import LONGEST_DAYS
from app.services.key_names import KeyRefused, NoSuchKey

router: Final = APIRouter(prefix="/admin/api/tokens", tags=["Admin tokens"])
_DAY_S: Final = 86_400


class TokenOut(BaseModel):
    """`account` is whose it is: it never may more than that account."""

    id: str
    masked: str
    name: str
    account: str
    role: Role
    created_at: datetime | None
    expires_at: datetime | None
    last_used_at: datetime | None


class NewTokenOut(TokenOut):
    """With the token, this one time."""

    token: str


class TokenIn(Strict):
    name: str = Field(min_length=1, max_length=128)
    role: Role = Field(strict=False, description="No greater one than one's own.")
    days: int = Field(ge=1, le=LONGEST_DAYS, description="How long it lives.")


def _fields(record: AdminToken, used_s: float | None = None) -> dict[str, Any]:
    return {
        "id": record.id,
        "masked": record.public,
        "name": record.name,
        "account": record.account,
        "role": record.role,
        "created_at": instant(record.created_s),
        "expires_at": instant(record.expires_s),
        "last_used_at": instant(used_s),
    }


async def _seen_by(caller: Caller, access: PanelAccess) -> list[AdminToken]:
    """One's own, for administrators everybody's. A token of a lesser role than its owner's knows no greater one."""
    records = await access.tokens.of_account("" if caller.is_admin else caller.account.id)
    return [one for one in records if caller.token is None or caller.person.role.covers(one.role)]


@router.get("")
async def list_tokens(caller: CalledBy, access: Access, limit: Limit = 100, after: After = "") -> Listed[TokenOut]:
    """One's own tokens, for administrators everybody's; the newest first."""
    records, used = await _seen_by(caller, access), await access.tokens.last_used()
    shown, further = listed(records, lambda one: (float(one.created_s), one.id), after, limit)
    return Listed(data=[TokenOut(**_fields(one, used.get(one.id))) for one in shown], next=further)


@router.post("", status_code=201, response_model=NewTokenOut, dependencies=[PROVED])
async def create_token(
    request: Request, body: TokenIn, ctx: Context, caller: CalledBy, access: Access, once: OnceKey = None
) -> Response:
    """Makes one for oneself. A token makes none that may more than itself or lives longer. It is shown this once."""
    if not caller.person.role.covers(body.role):
        raise KeyRefused("A token cannot do more than whoever makes it.")
    if caller.token is not None and access.clock.wall_s() + body.days * _DAY_S > caller.token.expires_s:
        raise KeyRefused("A token makes none that lives longer than itself: sign in to the panel for that.")

    async def create() -> tuple[Response, dict[str, Any]]:
        record, secret = await access.tokens.create(
            caller.account, body.name, body.role, body.days, by=caller.person.by
        )
        shown = NewTokenOut(**_fields(record), token=secret.reveal())
        answer = answered(shown, status=201, location=f"{router.prefix}/{record.id}")
        return answer, {"id": record.id, "name": record.name}

    return await Once(ctx.redis, caller.person, once).run(request, create)


@router.get("/{token_id}")
async def get_token(token_id: Id, caller: CalledBy, access: Access) -> TokenOut:
    record = await _one(token_id, caller, access)
    return TokenOut(**_fields(record, (await access.tokens.last_used()).get(record.id)))


@router.delete("/{token_id}", status_code=204)
async def revoke_token(token_id: Id, caller: CalledBy, access: Access) -> None:
    """It is worth nothing from now on. Administrators revoke anybody's."""
    record = await _one(token_id, caller, access)
    await access.tokens.revoke(record.id, by=caller.person.by)


async def _one(token_id: str, caller: Caller, access: PanelAccess) -> AdminToken:
    """Raises NoSuchKey, also for one that somebody may not see."""
    found = next((one for one in await _seen_by(caller, access) if one.id == token_id), None)
    if found is None:
        raise NoSuchKey("There is no such token.")
    return found
