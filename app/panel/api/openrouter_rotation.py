"""`/admin/api/rotation/…`: what a renewal would do, and keys made at OpenRouter. No secret is ever told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from app.core.security import SealBroken
from app.models.renewal import Step
from app.panel.api.conventions import ApiProblem, Once, OnceKey, Strict, answered
from app.panel.api.description import problem_response
from app.panel.api.openrouter_journal import EntryOut, entry_out
from app.panel.api.openrouter_keys import record_of
from app.panel.context import Context, SignedIn
from app.panel.openrouter_rotation import MOST_DAYS, name_fault, new_terms, refused
from app.panel.problems import Problem
from app.services.management_api import ManagementRefused
from app.services.renewal import RenewalRefused
from app.services.renewal_steps import NoAdmin
from app.services.upstream_api import ApiUnreachable

router: Final = APIRouter(prefix="/admin/api/rotation", tags=["Rotation"])
ASKS_OPENROUTER: Final[dict[int | str, dict[str, Any]]] = {502: problem_response("OpenRouter did not do it.")}

KeyId = Annotated[str, Field(min_length=1, max_length=200, description="An OpenRouter key's id.")]
Reset = Literal["", "daily", "weekly", "monthly"]
LimitNano = Annotated[int | None, Field(ge=0, le=10**18, description="Whole nano-dollars; null: no limit.")]


class PlanIn(Strict):
    key: KeyId


class PlannedOut(BaseModel):
    step: Step
    what: str


class PlanOut(BaseModel):
    """What a renewal would do, in this order and pace."""

    key: str
    steps: list[PlannedOut]
    stage_s: float
    quarantine_h: float


class MakeIn(Strict):
    """The terms of a key to be made; `admin` is the management key that makes it."""

    name: str = Field(min_length=1, max_length=100)
    admin: KeyId
    limit_nano: LimitNano = None
    reset: Reset = ""
    days: int | None = Field(None, ge=1, le=MOST_DAYS, description="How long it lives; null: for ever.")
    workspace: str = Field("", max_length=100)
    guardrail: str = Field("", max_length=100)


@contextmanager
def asking_openrouter() -> Iterator[None]:
    """What OpenRouter or the journal refuses becomes a problem. Raises ApiProblem."""
    try:
        yield
    except (ManagementRefused, ApiUnreachable) as error:
        raise ApiProblem(Problem(502, "openrouter", refused(error))) from None
    except (RenewalRefused, NoAdmin, SealBroken) as error:
        raise ApiProblem(Problem(422, "refused", refused(error))) from None


@router.post("/plan", responses=ASKS_OPENROUTER)
async def plan_renewal(body: PlanIn, ctx: Context) -> PlanOut:
    """What rotating a key would do, step by step. Changes nothing."""
    record = record_of(ctx, body.key)
    with asking_openrouter():
        steps = await ctx.renewal.plan(record.id)
    pace = ctx.renewal.pace
    return PlanOut(
        key=record.id,
        steps=[PlannedOut(step=one.step, what=one.what) for one in steps],
        stage_s=pace.stage_s,
        quarantine_h=pace.quarantine_s / 3600,
    )


@router.post("/create", status_code=202, response_model=EntryOut, responses=ASKS_OPENROUTER)
async def make_key(request: Request, body: MakeIn, ctx: Context, person: SignedIn, once: OnceKey = None) -> Response:
    """Begins to make a key at OpenRouter, which comes into the pool by itself; its secret is shown nowhere."""
    name = body.name.strip()
    if fault := name_fault(name):
        raise ApiProblem(Problem(422, "invalid", fault, errors=(("name", fault),)))
    if body.admin not in ctx.keys.openrouter_keys:
        fault = "There is no OpenRouter key of that id."
        raise ApiProblem(Problem(422, "invalid", fault, errors=(("admin", fault),)))
    terms = new_terms(name, body.limit_nano, body.reset, body.days, body.workspace.strip(), body.guardrail.strip())

    async def create() -> tuple[Response, dict[str, Any]]:
        with asking_openrouter():
            entry = await ctx.renewal.create(terms, admin=body.admin, by=person.by)
        return answered(entry_out(entry), status=202), {"id": entry.id, "name": entry.name}

    return await Once(ctx.redis, person, once).run(request, create)
