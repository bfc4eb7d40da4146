"""`/admin/api/groups`: clients that share limits and terms, and the group of the whole gateway (`gateway`)."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from app.models.limits import GATEWAY_GROUP, Group
from app.panel.api.client_keys import RaiseIn
from app.panel.api.conventions import (
    After,
    Id,
    IfMatch,
    Limit,
    Listed,
    Once,
    OnceKey,
    answered,
    instant,
    listed,
    seen_rev,
)
from app.panel.api.terms import StandingOut, TermsBody, TermsOut, standing_out, terms_changes, terms_out
from app.panel.context import Context, PanelContext, SignedIn
from app.services.key_manager import NoSuchKey

router: Final = APIRouter(prefix="/admin/api/groups", tags=["Groups"])


class GroupOut(TermsOut):
    id: str
    name: str
    created_at: datetime | None
    clients: int
    rev: int


class GroupIn(TermsBody):
    name: str = Field(min_length=1, max_length=200)


class GroupChange(TermsBody):
    name: str | None = None


def _shown(record: Group, members: int) -> GroupOut:
    return GroupOut(
        **terms_out(record),
        id=record.id,
        name=record.name,
        created_at=instant(record.created_at) if record.rev else None,
        clients=members,
        rev=record.rev,
    )


def _one(ctx: PanelContext, group_id: str) -> Group:
    """Raises NoSuchKey."""
    if group_id != GATEWAY_GROUP and group_id not in ctx.keys.groups:
        raise NoSuchKey("There is no group of that id.")
    return ctx.keys.find_group(group_id)


def _answer(record: Group, ctx: PanelContext, status: int = 200) -> Response:
    members = sum(client.group == record.id for client in ctx.keys.client_keys.values())
    return answered(_shown(record, members), record.rev, status=status, location=f"{router.prefix}/{record.id}")


@router.get("")
async def list_groups(ctx: Context, limit: Limit = 100, after: After = "") -> Listed[GroupOut]:
    """The groups, the newest first; the gateway's own only where it has terms."""
    members: dict[str, int] = {}
    for client in ctx.keys.client_keys.values():
        members[client.group] = members.get(client.group, 0) + 1
    shown, further = listed(ctx.keys.groups.values(), lambda one: (one.created_at, one.id), after, limit)
    return Listed(data=[_shown(one, members.get(one.id, 0)) for one in shown], next=further)


@router.post("", status_code=201, response_model=GroupOut)
async def create_group(
    request: Request, body: GroupIn, ctx: Context, person: SignedIn, once: OnceKey = None
) -> Response:
    async def create() -> tuple[Response, dict[str, Any]]:
        made = await ctx.keys.create_group(body.name, by=person.by, changes=terms_changes(body))
        return _answer(made, ctx, 201), {"id": made.id, "name": made.name}

    return await Once(ctx.redis, person, once).run(request, create)


@router.get("/{group_id}", response_model=GroupOut)
async def get_group(group_id: Id, ctx: Context) -> Response:
    return _answer(_one(ctx, group_id), ctx)


@router.get("/{group_id}/budgets")
async def group_budgets(group_id: Id, ctx: Context) -> list[StandingOut]:
    """How far its money limits are used up."""
    record = _one(ctx, group_id)
    return [standing_out(one) for one in await ctx.tally.standings_of(f"g:{record.id}", record)]


@router.patch("/{group_id}", response_model=GroupOut)
async def change_group(
    group_id: Id, body: GroupChange, ctx: Context, person: SignedIn, if_match: IfMatch = None
) -> Response:
    """Sets what is named. The gateway's group is made by its first change."""
    record, rev = _one(ctx, group_id), seen_rev(if_match)
    changes = terms_changes(body)
    if body.name is not None:
        changes["name"] = body.name
    if changes:
        record = await ctx.keys.update_group(group_id, changes, by=person.by, rev=rev)
    return _answer(record, ctx)


@router.post("/{group_id}/raise", response_model=GroupOut)
async def raise_group_limit(group_id: Id, body: RaiseIn, ctx: Context, person: SignedIn) -> Response:
    _one(ctx, group_id)
    return _answer(await ctx.keys.raise_group_limit(group_id, body.limit, body.size, body.until, by=person.by), ctx)


@router.delete("/{group_id}", status_code=204)
async def delete_group(group_id: Id, ctx: Context, person: SignedIn, if_match: IfMatch = None) -> None:
    """A group that clients belong to stays: 422."""
    _one(ctx, group_id)
    await ctx.keys.delete_group(group_id, by=person.by, rev=seen_rev(if_match))
