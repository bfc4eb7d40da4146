"""`/admin/api/openrouter-keys/…`: a rest, a new secret, and the same deed on many keys."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field, SecretStr
from starlette.responses import Response

from app.panel.api.callers import PROVED
from app.panel.api.conventions import (
    ApiProblem,
    Id,
    IfMatch,
    Once,
    OnceKey,
    Strict,
    answered,
    seen_rev,
)
from app.panel.api.openrouter_keys import OpenRouterKeyOut, key_out, record_of
from app.panel.context import Context, SignedIn
from app.panel.entry import Access
from app.panel.openrouter_deeds import GONE, MOST_REST_S, bring_back, do_to_many, let_rest
from app.panel.problems import Problem

router: Final = APIRouter(prefix="/admin/api/openrouter-keys", tags=["OpenRouter keys"])
MOST_AT_ONCE: Final = 1000


class CoolIn(Strict):
    """One of both: for how long, or until when."""

    seconds: float | None = Field(None, gt=0, le=MOST_REST_S, strict=False, allow_inf_nan=False)
    until: float | None = Field(
        None, gt=0, le=1e12, strict=False, allow_inf_nan=False, description="Seconds since the epoch."
    )


class ReplaceIn(Strict):
    api_key: SecretStr = Field(min_length=8, max_length=600, description="The new OpenRouter key: sk-or-…")


class ManyIn(Strict):
    ids: list[str] = Field(min_length=1, max_length=MOST_AT_ONCE)


class ManyKeysIn(ManyIn):
    deed: Literal["enable", "disable", "tag", "untag", "delete"]
    tag: str = Field("", max_length=50, description="For tag and untag.")


class NotDoneOut(BaseModel):
    id: str
    detail: str


class ManyOut(BaseModel):
    """How many it was done to, and why not to the others."""

    done: int
    not_done: list[NotDoneOut]


@router.post("/bulk")
async def do_to_keys(body: ManyKeysIn, ctx: Context, person: SignedIn) -> ManyOut:
    """The same deed on each of these keys. What cannot be done on one of them does not hinder the others."""
    tag = body.tag.strip()
    if body.deed in ("tag", "untag") and not tag:
        raise ApiProblem(Problem(422, "invalid", "Which tag?", errors=(("tag", "It is needed for this deed."),)))
    ids = list(dict.fromkeys(body.ids))
    records = [ctx.keys.openrouter_keys[key_id] for key_id in ids if key_id in ctx.keys.openrouter_keys]
    problems = dict.fromkeys(ids, GONE)
    told = await do_to_many(ctx, person.by, records, body.deed, tag)
    problems |= {record.id: problem for record, problem in zip(records, told, strict=True)}
    not_done = [NotDoneOut(id=key_id, detail=problem) for key_id, problem in problems.items() if problem]
    return ManyOut(done=len(ids) - len(not_done), not_done=not_done)


@router.post("/{key_id}/cool")
async def cool_key(key_id: Id, body: CoolIn, ctx: Context, access: Access, person: SignedIn) -> OpenRouterKeyOut:
    """Lets a key rest for up to a week: running calls go on, and no new one begins."""
    record = record_of(ctx, key_id)
    if (body.seconds is None) is (body.until is None):
        raise ApiProblem(Problem(422, "invalid", "Say `seconds` or `until`.", errors=(("seconds", "or `until`"),)))
    rest_s = body.seconds if body.until is None else body.until - ctx.clock.wall_s()
    await let_rest(ctx, access, person, record, rest_s or 0.0)
    return key_out(ctx, key_id)


@router.post("/{key_id}/clear")
async def rest_over(
    key_id: Id,
    ctx: Context,
    access: Access,
    person: SignedIn,
    everywhere: Annotated[
        bool, Query(alias="all", description="Also those on its account and workspace, which hit other keys too.")
    ] = False,
) -> OpenRouterKeyOut:
    """Takes the mark away from a key. The next call tries it out; if it is refused again, it is marked again."""
    await bring_back(ctx, access, person, record_of(ctx, key_id), everywhere=everywhere)
    return key_out(ctx, key_id)


@router.post("/{key_id}/replace", status_code=201, response_model=OpenRouterKeyOut, dependencies=[PROVED])
async def replace_key(
    request: Request,
    key_id: Id,
    body: ReplaceIn,
    ctx: Context,
    person: SignedIn,
    once: OnceKey = None,
    if_match: IfMatch = None,
) -> Response:
    """Another key in its place, with its label, tags, caps and weight. The old one is forgotten here; at OpenRouter it
    stays what it is.
    """
    rev = seen_rev(if_match)

    async def create() -> tuple[Response, dict[str, Any]]:
        record = record_of(ctx, key_id)
        added = await ctx.keys.replace_openrouter_key(
            record.id, body.api_key.get_secret_value().strip(), by=person.by, rev=rev
        )
        shown = key_out(ctx, added.record.id)
        place = f"{router.prefix}/{added.record.id}"
        return answered(shown, shown.rev, status=201, location=place), {"id": added.record.id}

    return await Once(ctx.redis, person, once).run(request, create)
