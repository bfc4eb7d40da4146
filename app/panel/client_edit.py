"""Changing what a client key may use: all of its terms, a limit raised for a time, and its end."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.models.keys import KeyState
from app.panel.clients import record_of
from app.panel.clients_form import read, typed, typed_of
from app.panel.clients_new import form_values
from app.panel.clients_rows import PATH
from app.panel.context import Context, PanelContext, SignedIn
from app.panel.openrouter_forms import read_form
from app.panel.render import go, page, say
from app.services.key_manager import KeyRefused, NoSuchKey, Outdated
from app.services.limit_words import instant_of

router: Final = APIRouter(include_in_schema=False)
_ONE: Final = f"{PATH}/{{client_id}}"


@router.get(f"{_ONE}/edit")
async def ask(request: Request, ctx: Context, client_id: str) -> Response:
    record = record_of(ctx, client_id)
    return _form(request, ctx, client_id, typed_of(record, ctx.clock.wall_s()), {})


@router.post(f"{_ONE}/edit")
async def save(request: Request, ctx: Context, person: SignedIn, client_id: str) -> Response:
    """What does not fit, and what somebody else has changed meanwhile, is shown with everything that was typed."""
    form = await read_form(request)
    record = record_of(ctx, client_id)
    found = read(form, record, ctx.clock.wall_s())
    if found.errors:
        return _form(request, ctx, client_id, typed(form), dict(found.errors), status=422)
    try:
        await ctx.keys.update_client_key(record.id, found.changes, by=person.by, rev=form.rev)
    except Outdated:
        return _form(request, ctx, client_id, typed(form), {}, status=409, outdated=True)
    except (KeyRefused, NoSuchKey) as refusal:
        return _form(request, ctx, client_id, typed(form), {"": str(refusal)}, status=422)
    return go(
        f"{PATH}/{record.id}", say(request, "%(name)s was changed.", name=str(found.changes.get("name", record.name)))
    )


def _form(
    request: Request,
    ctx: PanelContext,
    client_id: str,
    shown: dict[str, Any],
    errors: dict[str, str],
    *,
    status: int = 200,
    outdated: bool = False,
) -> Response:
    record = record_of(ctx, client_id)
    now = typed_of(record, ctx.clock.wall_s()) if outdated else {}
    values = {"record": record, "typed": shown, "errors": errors, "outdated": outdated, "now": now}
    return page(request, "client_edit.html", values | form_values(ctx), status=status)


@router.post(f"{_ONE}/raise")
async def raise_limit(request: Request, ctx: Context, person: SignedIn, client_id: str) -> Response:
    """It falls back by itself."""
    form = await read_form(request)
    record = record_of(ctx, client_id)
    until_s = instant_of(form.get("until").strip(), ctx.clock.wall_s())
    await ctx.keys.raise_client_limit(record.id, form.get("limit"), form.get("size").strip(), until_s, by=person.by)
    return go(f"{PATH}/{record.id}", say(request, "The limit is raised for a time."))


@router.get(f"{_ONE}/end")
async def ask_end(request: Request, ctx: Context, client_id: str) -> Response:
    return page(request, "client_end.html", {"record": record_of(ctx, client_id), "error": ""})


@router.post(f"{_ONE}/end")
async def end(request: Request, ctx: Context, person: SignedIn, client_id: str) -> Response:
    """Revokes or deletes; its name is typed first."""
    form = await read_form(request)
    record = record_of(ctx, client_id)
    if form.get("typed").strip() != record.name:
        error = say(request, "This is not its name.")
        return page(request, "client_end.html", {"record": record, "error": error}, status=422)
    if form.get("deed") == "delete":
        await ctx.keys.delete_client_key(record.id, by=person.by)
        await ctx.last_use.forget([record.id])
        return go(PATH, say(request, "%(name)s was deleted.", name=record.name))
    await ctx.keys.set_client_state(record.id, KeyState.REVOKED, by=person.by)
    return go(f"{PATH}/{record.id}", say(request, "%(name)s is revoked for good.", name=record.name))
