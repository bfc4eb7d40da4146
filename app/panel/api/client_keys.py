"""`/admin/api/client-keys`: who may call. A secret is in the answer that makes it, and nowhere else, ever."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from app.models.keys import ClientKey, KeyState
from app.models.limits import GATEWAY_GROUP
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
from app.panel.api.conventions import Strict as _Strict
from app.panel.api.openrouter_deeds import ManyIn, ManyOut, NotDoneOut
from app.panel.api.terms import StandingOut, TermsBody, TermsOut, Words, standing_out, terms_changes, terms_out
from app.panel.clients import STATES, set_many
from app.panel.context import Context, PanelContext, SignedIn
from app.services.client_keys import LONGEST_OVERLAP_S, NewClientKey
from app.services.key_manager import NoSuchKey

router: Final = APIRouter(prefix="/admin/api/client-keys", tags=["Client keys"])


class OldKeyOut(BaseModel):
    """A secret that was replaced and is still good."""

    masked: str
    until: datetime | None


class ClientKeyOut(TermsOut):
    id: str
    name: str
    masked: str
    owner: str
    group: str
    state: KeyState
    tags: list[str]
    trace: bool
    created_at: datetime | None
    expires_at: datetime | None
    old_keys: list[OldKeyOut]
    rev: int


class NewClientKeyOut(ClientKeyOut):
    """With the secret, this one time."""

    key: str


class ClientAttributes(TermsBody):
    owner: str | None = None
    group: str | None = Field(None, description="A group's id or name; empty: none.")
    expires_at: float | None = Field(None, gt=0, description="Seconds since the epoch; null: never.")
    tags: Words | None = Field(None, description="Its calls run only on OpenRouter keys with one of these tags.")
    trace: bool | None = Field(None, description="Whether its answers tell which keys were tried.")


class ClientIn(ClientAttributes):
    name: str = Field(min_length=1, max_length=200)


class ClientChange(ClientAttributes):
    name: str | None = None
    state: KeyState | None = Field(None, strict=False, description="A revoked key stays revoked.")


class RotateIn(_Strict):
    overlap_s: float = Field(86_400, ge=0, le=LONGEST_OVERLAP_S, description="How long the old secret stays good.")


class RaiseIn(_Strict):
    """Raises one limit for a time; it falls back by itself."""

    limit: str = Field(max_length=300, description="Which one, in words: usd/month, requests/minute;models=openai/*")
    size: str = Field(max_length=30, description="Its size meanwhile: dollars, calls or tokens.")
    until: float = Field(gt=0, description="Seconds since the epoch.")


class ManyClientsIn(ManyIn):
    deed: Literal["enable", "disable", "revoke"]


def _shown(record: ClientKey, ctx: PanelContext) -> dict[str, Any]:
    now_s = ctx.clock.wall_s()
    old = [
        OldKeyOut(masked=one.masked, until=instant(one.until_s)) for one in record.old_secrets if one.until_s > now_s
    ]
    return {
        **terms_out(record),
        "id": record.id,
        "name": record.name,
        "masked": record.masked,
        "owner": record.owner,
        "group": record.group,
        "state": record.state,
        "tags": list(record.tags),
        "trace": record.trace,
        "created_at": instant(record.created_at),
        "expires_at": instant(record.expires_at),
        "old_keys": old,
        "rev": record.rev,
    }


def _one(ctx: PanelContext, client_id: str) -> ClientKey:
    """Raises NoSuchKey. An id, and no other name: programs should not guess."""
    record = ctx.keys.client_keys.get(client_id)
    if record is None:
        raise NoSuchKey("There is no client key of that id.")
    return record


def _answer(record: ClientKey, ctx: PanelContext) -> Response:
    return answered(ClientKeyOut(**_shown(record, ctx)), record.rev)


def _made(made: NewClientKey, ctx: PanelContext, status: int) -> Response:
    shown = NewClientKeyOut(**_shown(made.record, ctx), key=made.secret.reveal())
    return answered(shown, made.record.rev, status=status, location=f"{router.prefix}/{made.record.id}")


@router.get("")
async def list_clients(
    ctx: Context,
    limit: Limit = 100,
    after: After = "",
    state: KeyState | None = None,
    group: Annotated[str, Query(max_length=200, description="A group's id.")] = "",
    owner: Annotated[str, Query(max_length=200, alias="user_id")] = "",
    q: Annotated[str, Query(max_length=200, description="Part of a name, owner, note or masked key.")] = "",
) -> Listed[ClientKeyOut]:
    """The client keys, the newest first."""
    wanted = q.casefold()
    fitting = [
        one
        for one in ctx.keys.client_keys.values()
        if (state is None or one.state is state)
        and (not group or one.group == group)
        and (not owner or one.owner == owner)
        and (not wanted or any(wanted in text.casefold() for text in (one.name, one.owner, one.note, one.masked)))
    ]
    shown, further = listed(fitting, lambda one: (one.created_at, one.id), after, limit)
    return Listed(data=[ClientKeyOut(**_shown(one, ctx)) for one in shown], next=further)


@router.post("", status_code=201, response_model=NewClientKeyOut)
async def create_client(
    request: Request, body: ClientIn, ctx: Context, person: SignedIn, once: OnceKey = None
) -> Response:
    """Makes a key. A repeated request with the same Idempotency-Key tells the id, and not the secret again."""

    async def create() -> tuple[Response, dict[str, Any]]:
        made = await ctx.keys.create_client_key(body.name, by=person.by, changes=_changes(body))
        return _made(made, ctx, 201), {"id": made.record.id, "name": made.record.name}

    return await Once(ctx.redis, person, once).run(request, create)


@router.post("/bulk")
async def do_to_clients(body: ManyClientsIn, ctx: Context, person: SignedIn) -> ManyOut:
    """Enables, disables or revokes each of these; what is revoked stays so."""
    ids = list(dict.fromkeys(body.ids))
    done = frozenset(await set_many(ctx, ids, STATES[body.deed], by=person.by))
    not_done = [NotDoneOut(id=one, detail="It is revoked, or not there any more.") for one in ids if one not in done]
    return ManyOut(done=len(done), not_done=not_done)


@router.get("/{client_id}", response_model=ClientKeyOut)
async def get_client(client_id: Id, ctx: Context) -> Response:
    return _answer(_one(ctx, client_id), ctx)


@router.get("/{client_id}/budgets")
async def client_budgets(client_id: Id, ctx: Context) -> list[StandingOut]:
    """Every money limit that its calls must meet: its own, its group's, the gateway's."""
    record = _one(ctx, client_id)
    groups = ctx.keys.groups
    standings = await ctx.tally.standings(record, groups.get(record.group), groups.get(GATEWAY_GROUP))
    return [standing_out(standing) for standing in standings]


@router.patch("/{client_id}", response_model=ClientKeyOut)
async def change_client(
    client_id: Id, body: ClientChange, ctx: Context, person: SignedIn, if_match: IfMatch = None
) -> Response:
    """Sets what is named. State and attributes are two deeds, in this order."""
    rev, record = seen_rev(if_match), _one(ctx, client_id)
    if body.state is not None:
        record = await ctx.keys.set_client_state(client_id, body.state, by=person.by, rev=rev)
        rev = None if rev is None else record.rev
    if changes := _changes(body):
        record = await ctx.keys.update_client_key(client_id, changes, by=person.by, rev=rev)
    return _answer(record, ctx)


@router.patch("/{client_id}/deactivate", response_model=ClientKeyOut)
async def deactivate_client(client_id: Id, ctx: Context, person: SignedIn, if_match: IfMatch = None) -> Response:
    _one(ctx, client_id)
    rev = seen_rev(if_match)
    return _answer(await ctx.keys.set_client_state(client_id, KeyState.DISABLED, by=person.by, rev=rev), ctx)


@router.patch("/{client_id}/reactivate", response_model=ClientKeyOut)
async def reactivate_client(client_id: Id, ctx: Context, person: SignedIn, if_match: IfMatch = None) -> Response:
    _one(ctx, client_id)
    rev = seen_rev(if_match)
    return _answer(await ctx.keys.set_client_state(client_id, KeyState.ENABLED, by=person.by, rev=rev), ctx)


@router.post("/{client_id}/rotate", response_model=NewClientKeyOut)
async def rotate_client(
    request: Request,
    client_id: Id,
    body: RotateIn,
    ctx: Context,
    person: SignedIn,
    once: OnceKey = None,
    if_match: IfMatch = None,
) -> Response:
    """A new secret for the same key; the old one stays good for the overlap."""
    _one(ctx, client_id)
    rev = seen_rev(if_match)

    async def create() -> tuple[Response, dict[str, Any]]:
        made = await ctx.keys.rotate_client_key(client_id, overlap_s=body.overlap_s, by=person.by, rev=rev)
        return _made(made, ctx, 200), {"id": made.record.id, "masked": made.record.masked}

    return await Once(ctx.redis, person, once).run(request, create)


@router.post("/{client_id}/raise", response_model=ClientKeyOut)
async def raise_client_limit(client_id: Id, body: RaiseIn, ctx: Context, person: SignedIn) -> Response:
    _one(ctx, client_id)
    record = await ctx.keys.raise_client_limit(client_id, body.limit, body.size, body.until, by=person.by)
    return _answer(record, ctx)


@router.delete("/{client_id}", status_code=204)
async def delete_client(client_id: Id, ctx: Context, person: SignedIn, if_match: IfMatch = None) -> None:
    _one(ctx, client_id)
    await ctx.keys.delete_client_key(client_id, by=person.by, rev=seen_rev(if_match))


_CAN_BE_NONE: Final = frozenset({"expires_at"})
_OWN: Final = ("name", "owner", "group", "expires_at", "tags", "trace")


def _changes(body: ClientAttributes) -> dict[str, Any]:
    own = {
        field: value
        for field in _OWN
        if field in body.model_fields_set and ((value := getattr(body, field)) is not None or field in _CAN_BE_NONE)
    }
    return own | terms_changes(body)
