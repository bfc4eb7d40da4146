"""`/admin/api/openrouter-keys/{id}/…`: what a management key does with one key: rotate, retire, revoke, take back,
adopt, release, cap. What takes several steps is begun (202), and goes on in the journal.
"""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from app.models.renewal import Pace
from app.panel.api.conventions import Id, IfMatch, Once, OnceKey, Strict, answered
from app.panel.api.openrouter_journal import EntryOut, ManagedOut, entry_out, managed_out
from app.panel.api.openrouter_keys import seen_record
from app.panel.api.openrouter_rotation import ASKS_OPENROUTER, LimitNano, Reset, asking_openrouter
from app.panel.context import Context, SignedIn
from app.panel.entry import Access
from app.panel.openrouter_renewals import MOST_QUARANTINE_H, MOST_STAGE_S, adopted, capped, released
from app.panel.openrouter_rotation import managed_row

router: Final = APIRouter(prefix="/admin/api/openrouter-keys", tags=["Rotation"], responses=ASKS_OPENROUTER)


class PaceIn(Strict):
    """What is not said is as usual."""

    stage_s: float | None = Field(
        None, ge=0, le=MOST_STAGE_S, strict=False, allow_inf_nan=False, description="Seconds for each share of traffic."
    )
    quarantine_h: float | None = Field(
        None, ge=0, le=MOST_QUARANTINE_H, strict=False, allow_inf_nan=False, description="Hours before it is deleted."
    )


class CapIn(Strict):
    limit_nano: LimitNano
    reset: Reset = ""


def _pace(body: PaceIn | None, usual: Pace) -> Pace:
    if body is None:
        return usual
    return Pace(
        stage_s=usual.stage_s if body.stage_s is None else body.stage_s,
        quarantine_s=usual.quarantine_s if body.quarantine_h is None else body.quarantine_h * 3600,
    )


@router.post("/{key_id}/rotate", status_code=202, response_model=EntryOut)
async def rotate_key(
    request: Request,
    key_id: Id,
    ctx: Context,
    person: SignedIn,
    body: PaceIn | None = None,
    once: OnceKey = None,
    if_match: IfMatch = None,
) -> Response:
    """Begins to replace the key by a new one of the same terms. What it would do: POST /admin/api/rotation/plan."""
    record = seen_record(ctx, key_id, if_match)

    async def create() -> tuple[Response, dict[str, Any]]:
        with asking_openrouter():
            entry = await ctx.renewal.renew(record.id, by=person.by, pace=_pace(body, ctx.renewal.pace))
        return answered(entry_out(entry), status=202), {"id": entry.id, "name": entry.name}

    return await Once(ctx.redis, person, once).run(request, create)


@router.post("/{key_id}/retire", status_code=202)
async def retire_key(
    key_id: Id, ctx: Context, person: SignedIn, body: PaceIn | None = None, if_match: IfMatch = None
) -> EntryOut:
    """Begins to take the key out of use without a successor; in the end it is deleted at OpenRouter and here."""
    record = seen_record(ctx, key_id, if_match)
    with asking_openrouter():
        return entry_out(await ctx.renewal.retire(record.id, by=person.by, pace=_pace(body, ctx.renewal.pace)))


@router.post("/{key_id}/revoke", response_model=EntryOut, responses={202: {"model": EntryOut}})
async def revoke_key(key_id: Id, ctx: Context, person: SignedIn, if_match: IfMatch = None) -> Response:
    """The key has leaked: off at OpenRouter first, then here, for good. 202 where OpenRouter has not done it yet: it is
    off here, the gateway goes on trying, and `problem` says why.
    """
    record = seen_record(ctx, key_id, if_match)
    with asking_openrouter():
        entry = await ctx.renewal.revoke(record.id, by=person.by)
    return answered(entry_out(entry), status=202 if entry.is_open else 200)


@router.post("/{key_id}/undo", status_code=202)
async def undo_renewal(key_id: Id, ctx: Context, person: SignedIn) -> EntryOut:
    """Takes a renewal or retirement back, as long as nothing was deleted."""
    record = seen_record(ctx, key_id, None)
    with asking_openrouter():
        return entry_out(await ctx.renewal.undo(record.id, by=person.by))


@router.post("/{key_id}/adopt")
async def adopt_key(key_id: Id, ctx: Context, access: Access, person: SignedIn) -> ManagedOut:
    """From now on the key is renewed when it is due, and its terms are watched."""
    record = seen_record(ctx, key_id, None)
    with asking_openrouter():
        return managed_out(managed_row(ctx, await adopted(ctx, access, person, record)))


@router.post("/{key_id}/release", status_code=204)
async def release_key(key_id: Id, ctx: Context, access: Access, person: SignedIn) -> None:
    """It is renewed only by hand from now on."""
    record = seen_record(ctx, key_id, None)
    with asking_openrouter():
        await released(ctx, access, person, record)


@router.post("/{key_id}/cap")
async def cap_key(key_id: Id, body: CapIn, ctx: Context, access: Access, person: SignedIn) -> ManagedOut:
    """Another limit, at OpenRouter and in what the key is to keep."""
    record = seen_record(ctx, key_id, None)
    with asking_openrouter():
        managed = await capped(ctx, access, person, record, body.limit_nano, body.reset)
    return managed_out(managed_row(ctx, managed))
