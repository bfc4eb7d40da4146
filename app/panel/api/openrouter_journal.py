"""`/admin/api/rotation`: the journal of renewals, which keys are managed, and what makes them due. A secret stands
nowhere here.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

from fastapi import APIRouter, Query
from pydantic import BaseModel

from app.models.renewal import Entry, Kind, Step
from app.panel.api.conventions import After, Limit, Listed, instant, listed
from app.panel.context import Context, PanelContext
from app.panel.openrouter_deeds import name_of
from app.panel.openrouter_rotation import ManagedRow, admins, managed_rows
from app.services.renewal_plan import BACK, COURSE, may_undo

router: Final = APIRouter(prefix="/admin/api/rotation", tags=["Rotation"])


class StepState(StrEnum):
    DONE = "done"
    NOW = "now"
    TO_COME = "to_come"


class StepOut(BaseModel):
    step: Step
    state: StepState


class EntryOut(BaseModel):
    """A deed that takes several steps: `key` leaves, `successor` comes. `problem`: why it does not go on at the
    moment; `reason`: why it was taken back.
    """

    id: str
    kind: Kind
    open: bool
    step: Step
    steps: list[StepOut]
    key: str
    successor: str
    name: str
    admin: str
    by: str
    began_at: datetime | None
    since: datetime | None
    due_at: datetime | None
    failures: int
    problem: str
    reason: str
    may_undo: bool


class ScheduleOut(BaseModel):
    """What makes managed keys be renewed by themselves; 0: nothing does. `admins` are the management keys on file."""

    every_days: float
    before_expiry_days: float
    quarantine_h: float
    admins: list[str]


class RotationOut(Listed[EntryOut]):
    schedule: ScheduleOut


class ManagedOut(BaseModel):
    """`due` says why it is to be renewed now, `renewed_at` when its age makes it so."""

    id: str
    label: str
    admin: str
    limit_nano: int | None
    reset: str
    workspace: str
    guardrail: str
    lifetime_s: float | None
    created_at: datetime | None
    expires_at: datetime | None
    renewed_at: datetime | None
    due: str
    by: str


def _steps(entry: Entry) -> list[StepOut]:
    course = BACK if entry.step in BACK else COURSE[entry.kind]
    at = course.index(entry.step)
    states = [StepState.DONE] * at + [StepState.NOW] + [StepState.TO_COME] * len(course)
    return [StepOut(step=step, state=state) for step, state in zip(course[:-1], states, strict=False)]


def entry_out(entry: Entry) -> EntryOut:
    return EntryOut(
        id=entry.id,
        kind=entry.kind,
        open=entry.is_open,
        step=entry.step,
        steps=_steps(entry),
        key=entry.key,
        successor=entry.successor,
        name=entry.name,
        admin=entry.admin,
        by=entry.by,
        began_at=instant(entry.began_s),
        since=instant(entry.since_s),
        due_at=instant(entry.due_s) if entry.is_open else None,
        failures=entry.failures,
        problem=entry.problem,
        reason=entry.reason,
        may_undo=may_undo(entry),
    )


def managed_out(row: ManagedRow) -> ManagedOut:
    managed, terms = row.managed, row.managed.terms
    return ManagedOut(
        id=managed.id,
        label="" if row.record is None else name_of(row.record),
        admin=managed.admin,
        limit_nano=terms.limit_nano,
        reset=terms.limit_reset,
        workspace=terms.workspace,
        guardrail=terms.guardrail,
        lifetime_s=terms.lifetime_s,
        created_at=instant(managed.created_at),
        expires_at=instant(managed.expires_at),
        renewed_at=instant(row.renewed_s),
        due=row.due,
        by=managed.by,
    )


def _schedule(ctx: PanelContext) -> ScheduleOut:
    settings = ctx.settings
    return ScheduleOut(
        every_days=settings.rotate_every_days,
        before_expiry_days=settings.rotate_before_expiry_days,
        quarantine_h=settings.rotate_quarantine_h,
        admins=[one.id for one in admins(ctx)],
    )


@router.get("")
async def list_renewals(
    ctx: Context,
    limit: Limit = 100,
    after: After = "",
    is_open: Annotated[bool | None, Query(alias="open", description="Only what is under way, or what is not.")] = None,
    key: Annotated[str, Query(max_length=200, description="The id of the key that leaves or comes.")] = "",
) -> RotationOut:
    """The journal: what is under way and what was done in the last months, the newest first; and the schedule."""
    entries = [
        one
        for one in (await ctx.renewal.entries()).values()
        if is_open in (None, one.is_open) and (not key or key in (one.key, one.successor))
    ]
    shown, further = listed(entries, lambda one: (one.began_s, one.id), after, limit)
    return RotationOut(data=[entry_out(one) for one in shown], next=further, schedule=_schedule(ctx))


@router.get("/managed")
async def list_managed(ctx: Context, limit: Limit = 100, after: After = "") -> Listed[ManagedOut]:
    """The keys that are renewed when they are due, with the terms that they are to keep; the youngest first."""
    rows = await managed_rows(ctx)
    shown, further = listed(rows, lambda row: (row.managed.created_at, row.managed.id), after, limit)
    return Listed(data=[managed_out(row) for row in shown], next=further)
