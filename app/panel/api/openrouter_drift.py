"""`/admin/api/drift`: what differs between OpenRouter's lists and the pool, and the one action of each difference."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.panel.api.conventions import After, ApiProblem, Limit, Listed, Strict, listed
from app.panel.api.openrouter_rotation import ASKS_OPENROUTER, KeyId, asking_openrouter
from app.panel.context import Context, SignedIn
from app.panel.entry import Access
from app.panel.openrouter_rotation import BY_HAND, settled
from app.panel.problems import Problem
from app.services.drift import Action, Drift, Finding

router: Final = APIRouter(prefix="/admin/api/drift", tags=["Rotation"], responses=ASKS_OPENROUTER)


class SettleIn(Strict):
    """A difference, as it was listed."""

    key: KeyId
    drift: Drift = Field(strict=False)
    action: Action = Field(strict=False)


class DriftOut(BaseModel):
    """`by_hand`: only whoever has the secret can do it."""

    key: str
    name: str
    drift: Drift
    action: Action
    by_hand: bool
    what: str
    admin: str


def _drift_out(one: Finding) -> DriftOut:
    return DriftOut(
        key=one.key,
        name=one.name,
        drift=one.drift,
        action=one.action,
        by_hand=one.action in BY_HAND,
        what=one.what,
        admin=one.admin,
    )


@router.get("")
async def list_drift(ctx: Context, limit: Limit = 100, after: After = "") -> Listed[DriftOut]:
    """Compares OpenRouter's lists with the pool, anew for each page: every difference, with its one action."""
    with asking_openrouter():
        found = await ctx.renewal.drift()
    shown, further = listed(found, lambda one: (0.0, f"{one.key} {one.drift} {one.action}"), after, limit)
    return Listed(data=[_drift_out(one) for one in shown], next=further)


@router.post("/settle")
async def settle_drift(body: SettleIn, ctx: Context, access: Access, person: SignedIn) -> DriftOut:
    """Does the one action of a difference, if it still is one."""
    with asking_openrouter():
        found = await settled(ctx, access, person, (body.key, body.drift.value, body.action.value))
    if found is None:
        raise ApiProblem(Problem(404, "not-found", "There is no such difference, or not any more.", "List them again."))
    return _drift_out(found)
