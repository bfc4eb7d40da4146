"""The deeds of a management key on one OpenRouter key: rotate it after its plan was shown, retire, revoke, take back,
adopt, release, cap. What is irreversible asks for the key's name.
"""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.models.keys import OpenRouterKey
from app.models.people import Person
from app.models.renewal import ManagedKey, Pace
from app.panel.context import Context, PanelContext, SignedIn
from app.panel.entry import Access
from app.panel.figures import usd
from app.panel.openrouter_deeds import back_of, name_of, noted
from app.panel.openrouter_edit import path_of
from app.panel.openrouter_forms import Form, nano, read_form, whole
from app.panel.openrouter_list import record_of
from app.panel.openrouter_rotation import REFUSALS, RESETS, ROTATION, refused
from app.panel.openrouter_rows import PATH
from app.panel.render import go, page, say
from app.services.access import PanelAccess
from app.services.renewal_plan import PlannedStep

router: Final = APIRouter(include_in_schema=False)
_ONE: Final = f"{PATH}/{{key_id}}"
MOST_STAGE_S: Final = 86_400
MOST_QUARANTINE_H: Final = 24 * 90


# ---- rotate


@router.get(f"{_ONE}/rotate")
async def plan(request: Request, ctx: Context, key_id: str) -> Response:
    """What would be done, step by step. Changes nothing."""
    record = record_of(ctx, key_id)
    try:
        steps = await ctx.renewal.plan(record.id)
    except REFUSALS as error:
        return _plan(request, ctx, record, (), refused(error), status=422)
    return _plan(request, ctx, record, steps)


@router.post(f"{_ONE}/rotate")
async def rotate(request: Request, ctx: Context, person: SignedIn, key_id: str) -> Response:
    """Begins it; whoever leads the renewals goes on with it."""
    form = await read_form(request)
    record = record_of(ctx, key_id)
    pace = _pace(form, ctx.renewal.pace)
    if pace is None:
        told = say(request, "The pace must be whole numbers: seconds up to a day, hours up to 90 days.")
        return _plan(request, ctx, record, (), told, status=422)
    try:
        await ctx.renewal.renew(record.id, by=person.by, pace=pace)
    except REFUSALS as error:
        return _plan(request, ctx, record, (), refused(error), status=422)
    return go(ROTATION, say(request, "The rotation of %(name)s has begun.", name=name_of(record)))


def _pace(form: Form, usual: Pace) -> Pace | None:
    """None for what is no pace; what is not said stays as usual."""
    stage, quarantine = form.get("stage_s").strip(), form.get("quarantine_h").strip()
    stage_s, quarantine_h = whole(stage), whole(quarantine)
    unreadable = (stage and stage_s is None) or (quarantine and quarantine_h is None)
    if unreadable or (stage_s or 0) > MOST_STAGE_S or (quarantine_h or 0) > MOST_QUARANTINE_H:
        return None
    return Pace(
        stage_s=usual.stage_s if stage_s is None else float(stage_s),
        quarantine_s=usual.quarantine_s if quarantine_h is None else quarantine_h * 3600.0,
    )


def _plan(
    request: Request,
    ctx: PanelContext,
    record: OpenRouterKey,
    steps: tuple[PlannedStep, ...],
    problem: str = "",
    status: int = 200,
) -> Response:
    values: dict[str, Any] = {**_named(record), "steps": steps, "problem": problem, "pace": ctx.renewal.pace}
    return page(request, "openrouter_plan.html", values, status=status)


def _named(record: OpenRouterKey) -> dict[str, Any]:
    return {"record": record, "name": name_of(record), "path_of_key": path_of(record)}


# ---- retire and revoke, which ask for the name


@router.get(f"{_ONE}/retire")
async def ask_retire(request: Request, ctx: Context, key_id: str) -> Response:
    return _ask(request, ctx, record_of(ctx, key_id), "retire")


@router.post(f"{_ONE}/retire")
async def retire(request: Request, ctx: Context, person: SignedIn, key_id: str) -> Response:
    form = await read_form(request)
    record = record_of(ctx, key_id)
    pace = _pace(form, ctx.renewal.pace)
    if form.get("typed").strip() != name_of(record) or pace is None:
        return _ask(request, ctx, record, "retire", say(request, "This is not its name."), status=422)
    try:
        await ctx.renewal.retire(record.id, by=person.by, pace=pace)
    except REFUSALS as error:
        return _ask(request, ctx, record, "retire", refused(error), status=422)
    return go(ROTATION, say(request, "%(name)s is being taken out of use.", name=name_of(record)))


@router.get(f"{_ONE}/revoke")
async def ask_revoke(request: Request, ctx: Context, key_id: str) -> Response:
    return _ask(request, ctx, record_of(ctx, key_id), "revoke")


@router.post(f"{_ONE}/revoke")
async def revoke(request: Request, ctx: Context, person: SignedIn, key_id: str) -> Response:
    """A key has leaked: off at OpenRouter first, then here. Where OpenRouter did not do it, that is told plainly."""
    form = await read_form(request)
    record = record_of(ctx, key_id)
    if form.get("typed").strip() != name_of(record):
        return _ask(request, ctx, record, "revoke", say(request, "This is not its name."), status=422)
    try:
        entry = await ctx.renewal.revoke(record.id, by=person.by)
    except REFUSALS as error:
        return _ask(request, ctx, record, "revoke", refused(error), status=422)
    if entry.is_open:
        told = say(
            request,
            "%(name)s is revoked here only: %(why)s. The gateway goes on trying; disable it at OpenRouter as well.",
            name=name_of(record),
            why=entry.problem,
        )
        return go(path_of(record), told)
    return go(path_of(record), say(request, "%(name)s is revoked, here and at OpenRouter.", name=name_of(record)))


def _ask(
    request: Request, ctx: PanelContext, record: OpenRouterKey, deed: str, error: str = "", status: int = 200
) -> Response:
    values: dict[str, Any] = {**_named(record), "deed": deed, "error": error, "pace": ctx.renewal.pace}
    return page(request, "openrouter_end.html", values, status=status)


@router.post(f"{_ONE}/undo")
async def undo(request: Request, ctx: Context, person: SignedIn, key_id: str) -> Response:
    """Takes a renewal or retirement back, as long as nothing was deleted."""
    form = await read_form(request)
    record = record_of(ctx, key_id)
    try:
        await ctx.renewal.undo(record.id, by=person.by)
    except REFUSALS as error:
        return go(back_of(form, ROTATION), refused(error))
    return go(back_of(form, ROTATION), say(request, "It is being taken back."))


# ---- what is managed


@router.post(f"{_ONE}/adopt")
async def adopt(request: Request, ctx: Context, access: Access, person: SignedIn, key_id: str) -> Response:
    form = await read_form(request)
    record = record_of(ctx, key_id)
    try:
        await adopted(ctx, access, person, record)
    except REFUSALS as error:
        return go(back_of(form, ROTATION), refused(error))
    return go(back_of(form, ROTATION), say(request, "%(name)s is managed now.", name=name_of(record)))


async def adopted(ctx: PanelContext, access: PanelAccess, person: Person, record: OpenRouterKey) -> ManagedKey:
    """Raises REFUSALS."""
    managed = await ctx.renewal.adopt(record.id, by=person.by)
    await noted(ctx, access, person, "adopt", record)
    return managed


@router.post(f"{_ONE}/release")
async def release(request: Request, ctx: Context, access: Access, person: SignedIn, key_id: str) -> Response:
    form = await read_form(request)
    record = record_of(ctx, key_id)
    try:
        await released(ctx, access, person, record)
    except REFUSALS as error:
        return go(back_of(form, ROTATION), refused(error))
    return go(back_of(form, ROTATION), say(request, "%(name)s is renewed only by hand now.", name=name_of(record)))


async def released(ctx: PanelContext, access: PanelAccess, person: Person, record: OpenRouterKey) -> None:
    """Raises REFUSALS."""
    await ctx.renewal.release(record.id)
    await noted(ctx, access, person, "release", record)


@router.post(f"{_ONE}/cap")
async def cap(request: Request, ctx: Context, access: Access, person: SignedIn, key_id: str) -> Response:
    """Another limit, at OpenRouter and in what the key is to keep."""
    form = await read_form(request)
    record = record_of(ctx, key_id)
    text, reset = form.get("limit").strip(), form.get("reset")
    limit = nano(text) if text else None
    if reset not in RESETS or (text and limit is None):
        return go(path_of(record), say(request, "The limit must be an amount of dollars, or nothing for none."))
    try:
        await capped(ctx, access, person, record, limit, reset)
    except REFUSALS as error:
        return go(path_of(record), refused(error))
    return go(path_of(record), say(request, "The limit of %(name)s is set at OpenRouter.", name=name_of(record)))


async def capped(
    ctx: PanelContext, access: PanelAccess, person: Person, record: OpenRouterKey, limit: int | None, reset: str
) -> ManagedKey:
    """Raises REFUSALS."""
    reset = "" if limit is None else reset
    managed = await ctx.renewal.cap(record.id, limit, reset, by=person.by)
    shown = "no limit" if limit is None else f"{usd(limit, exact=True)} {reset}".strip()
    await noted(ctx, access, person, "cap", record, after=shown)
    return managed
