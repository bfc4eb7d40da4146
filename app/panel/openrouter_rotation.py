"""Keys that a management key administers: what is managed and when it is due, what is under way, what differs from
OpenRouter's list. Shows, and does the deeds on the whole; those on one key stand in openrouter_renewals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.core.security import SealBroken
from app.models.keys import KeyKind, KeyState, OpenRouterKey
from app.models.people import Person
from app.models.renewal import Entry, ManagedKey, Terms
from app.panel.context import Context, PanelContext, SignedIn
from app.panel.entry import Access
from app.panel.openrouter_deeds import name_of, noted
from app.panel.openrouter_forms import Form, nano, read_form, whole
from app.panel.openrouter_rows import PATH, SHORT_ID
from app.panel.render import go, page, say
from app.services import renewal_plan
from app.services.access import PanelAccess
from app.services.drift import Action, Finding
from app.services.key_store import ConflictError
from app.services.management_api import ManagementRefused
from app.services.renewal import RenewalRefused
from app.services.renewal_steps import NoAdmin
from app.services.upstream_api import ApiUnreachable

router: Final = APIRouter(include_in_schema=False)
ROTATION: Final = f"{PATH}/rotation"
RESETS: Final = ("", "daily", "weekly", "monthly")
REFUSALS: Final = (RenewalRefused, ManagementRefused, ApiUnreachable, NoAdmin, SealBroken, ConflictError)
BY_HAND: Final = (Action.ADD, Action.ADD_ADMIN)
_DAY_S: Final = 86_400.0
MOST_DAYS: Final = 3650
_ENTRIES: Final = 50


def refused(error: Exception) -> str:
    """What a person is told where OpenRouter or the journal did not do it."""
    match error:
        case ManagementRefused():
            return f"OpenRouter refused the management key's call ({error})."
        case ApiUnreachable():
            return f"OpenRouter cannot be reached ({error.reason}): try again."
        case ConflictError():
            return "Somebody else works on this key at the same moment: try again."
        case SealBroken():
            return "A stored secret cannot be opened: replace it."
        case NoAdmin():
            return "There is no enabled management key on file that may do this."
    return str(error)


@dataclass(frozen=True, slots=True)
class ManagedRow:
    """A managed key; `due` says why it is to be renewed, `renewed_s` when its age makes it so."""

    managed: ManagedKey
    record: OpenRouterKey | None
    admin: str
    due: str
    renewed_s: float | None


@router.get(ROTATION)
async def show(request: Request, ctx: Context) -> Response:
    """Without being asked for, nothing is asked of OpenRouter."""
    findings: tuple[Finding, ...] | None = None
    problem = ""
    if "compare" in request.query_params:
        try:
            findings = await ctx.renewal.drift()
        except REFUSALS as error:
            problem = refused(error)
    return await _page(request, ctx, findings, problem)


async def _page(
    request: Request,
    ctx: PanelContext,
    findings: tuple[Finding, ...] | None = None,
    problem: str = "",
    *,
    typed: dict[str, str] | None = None,
    errors: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    entries = sorted((await ctx.renewal.entries()).values(), key=lambda entry: -entry.began_s)
    settings = ctx.settings
    values: dict[str, Any] = {
        "admins": admins(ctx),
        "managed": await managed_rows(ctx),
        "open_entries": [entry for entry in entries if entry.is_open],
        "closed_entries": [entry for entry in entries if not entry.is_open][:_ENTRIES],
        "may_undo": renewal_plan.may_undo,
        "names": _names(ctx, entries),
        "findings": findings,
        "labels": _labels(ctx, findings or ()),
        "by_hand": BY_HAND,
        "problem": problem,
        "every_days": settings.rotate_every_days,
        "before_expiry_days": settings.rotate_before_expiry_days,
        "quarantine_h": settings.rotate_quarantine_h,
        "typed": {"name": "", "limit": "", "reset": "", "days": "", "workspace": "", "guardrail": ""} | (typed or {}),
        "errors": errors or {},
        "resets": RESETS,
        "short_id": SHORT_ID,
        "path_of_keys": PATH,
    }
    return page(request, "openrouter_rotation.html", values, status=status)


def _labels(ctx: PanelContext, findings: tuple[Finding, ...]) -> dict[str, str]:
    """Of the keys that are in the pool."""
    records = ctx.keys.openrouter_keys
    return {one.key: name_of(records[one.key]) for one in findings if one.key in records}


def admins(ctx: PanelContext) -> list[OpenRouterKey]:
    """The management keys that may act."""
    records = ctx.keys.openrouter_keys.values()
    return [one for one in records if one.kind is KeyKind.MANAGEMENT and one.state is KeyState.ENABLED]


async def managed_rows(ctx: PanelContext) -> list[ManagedRow]:
    rows = [managed_row(ctx, one) for one in (await ctx.renewal.journal.managed.all()).values()]
    return sorted(rows, key=lambda row: row.renewed_s or row.managed.expires_at or float("inf"))


def managed_row(ctx: PanelContext, one: ManagedKey) -> ManagedRow:
    settings, records = ctx.settings, ctx.keys.openrouter_keys
    due = renewal_plan.due(
        one,
        ctx.clock.wall_s(),
        every_days=settings.rotate_every_days,
        before_expiry_days=settings.rotate_before_expiry_days,
    )
    admin = records.get(one.admin)
    renewed_s = one.created_at + settings.rotate_every_days * _DAY_S if settings.rotate_every_days > 0 else None
    return ManagedRow(one, records.get(one.id), name_of(admin) if admin else "", due, renewed_s)


def _names(ctx: PanelContext, entries: list[Entry]) -> dict[str, str]:
    ids = {key_id for entry in entries for key_id in (entry.key, entry.successor) if key_id}
    records = ctx.keys.openrouter_keys
    return {key_id: name_of(records[key_id]) if key_id in records else key_id[:12] for key_id in ids}


@router.post(f"{ROTATION}/create")
async def create(request: Request, ctx: Context, person: SignedIn) -> Response:
    """Begins to make a new key at OpenRouter, whose secret is shown nowhere."""
    form = await read_form(request)
    terms, errors = _terms(form)
    typed = {name: form.get(name) for name in ("name", "limit", "reset", "days", "workspace", "guardrail")}
    if errors:
        return await _page(request, ctx, typed=typed, errors=errors, status=422)
    try:
        await ctx.renewal.create(terms, admin=form.get("admin"), by=person.by)
    except REFUSALS as error:
        return await _page(request, ctx, problem=refused(error), typed=typed, status=422)
    return go(ROTATION, say(request, "“%(name)s” is being made at OpenRouter.", name=terms.name))


def _terms(form: Form) -> tuple[Terms, dict[str, str]]:
    errors: dict[str, str] = {}
    name, days = form.get("name").strip(), form.get("days").strip()
    if fault := name_fault(name):
        errors["name"] = fault
    limit = nano(form.get("limit")) if form.get("limit").strip() else None
    if limit is None and form.get("limit").strip():
        errors["limit"] = "This must be an amount of dollars."
    lives = whole(days)
    if days and (lives is None or not 0 < lives <= MOST_DAYS):
        errors["days"] = f"This must be a number of days up to {MOST_DAYS}."
    reset = form.get("reset") if form.get("reset") in RESETS else ""
    workspace, guardrail = form.get("workspace").strip()[:100], form.get("guardrail").strip()[:100]
    return new_terms(name, limit, reset, lives, workspace, guardrail), errors


def name_fault(name: str) -> str:
    """What is wrong with the name of a key to be made, as a sentence, or nothing."""
    if 0 < len(name) <= 100 and name.isprintable():
        return ""
    return "The name must have 1 to 100 characters and no control characters."


def new_terms(name: str, limit: int | None, reset: str, days: int | None, workspace: str, guardrail: str) -> Terms:
    return Terms(
        name=name,
        limit_nano=limit,
        limit_reset=reset,
        workspace=workspace,
        guardrail=guardrail,
        lifetime_s=days * _DAY_S if days else None,
    )


@router.post(f"{ROTATION}/settle")
async def settle(request: Request, ctx: Context, access: Access, person: SignedIn) -> Response:
    """Does the one action of a difference, if it still is one."""
    form = await read_form(request)
    back = f"{ROTATION}?compare=1#differences"
    try:
        found = await settled(ctx, access, person, (form.get("key"), form.get("drift"), form.get("action")))
    except REFUSALS as error:
        return go(back, refused(error))
    if found is None:
        return go(back, say(request, "This difference is gone already."))
    return go(back, say(request, "Done: %(what)s", what=found.what))


async def settled(
    ctx: PanelContext, access: PanelAccess, person: Person, wanted: tuple[str, str, str]
) -> Finding | None:
    """The difference of this key, drift and action, done away with; None where there is none. Raises REFUSALS."""
    every = await ctx.renewal.drift()
    found = next((one for one in every if (one.key, one.drift.value, one.action.value) == wanted), None)
    if found is None:
        return None
    await ctx.renewal.settle(found, by=person.by)
    if found.action not in (Action.DISABLE_HERE, Action.REMOVE_HERE):  # these are in the audit by themselves
        shown = ctx.keys.openrouter_keys.get(found.key) or OpenRouterKey(id=found.key, sealed="", masked=found.name)
        await noted(ctx, access, person, f"drift: {found.action.value}", shown, before=found.drift.value)
    return found
