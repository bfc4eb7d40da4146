"""What is set on an OpenRouter key, its secret, and its end. A form holds the revision that somebody has seen: where
somebody else was faster, nothing is stored, and what was typed is shown again beside what is set now.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.models.keys import OpenRouterKey
from app.panel.context import Context, PanelContext, SignedIn
from app.panel.entry import Access, ask_again
from app.panel.openrouter_deeds import name_of
from app.panel.openrouter_forms import FIELDS, Form, read, read_form, typed, typed_of
from app.panel.openrouter_list import record_of
from app.panel.openrouter_rows import PATH, SHORT_ID
from app.panel.render import go, page, say
from app.services.key_names import KeyRefused, Outdated
from app.services.key_store import ConflictError

router: Final = APIRouter(include_in_schema=False)
_ONE: Final = f"{PATH}/{{key_id}}"
_RACED: Final = (Outdated, ConflictError)


def path_of(record: OpenRouterKey) -> str:
    return f"{PATH}/{record.id[:SHORT_ID]}"


# ---- what is set


@router.get(f"{_ONE}/edit")
async def ask(request: Request, ctx: Context, key_id: str) -> Response:
    record = record_of(ctx, key_id)
    return _form(request, record, typed_of(record), {})


@router.post(f"{_ONE}/edit")
async def edit(request: Request, ctx: Context, person: SignedIn, key_id: str) -> Response:
    form = await read_form(request)
    record = record_of(ctx, key_id)
    found = read(form, record)
    if found.errors:
        return _form(request, record, typed(form), found.errors, status=422, rev=form.rev)
    try:
        await ctx.keys.update_openrouter_key(record.id, found.changes, by=person.by, rev=form.rev)
    except KeyRefused as refusal:
        return _form(request, record, typed(form), {"": str(refusal)}, status=422, rev=form.rev)
    except _RACED:
        now = record_of(ctx, key_id)
        return _form(request, now, typed(form), {}, status=409, now=_differing(now, form))
    return go(path_of(record), say(request, "%(name)s is changed.", name=name_of(record_of(ctx, record.id))))


def _differing(record: OpenRouterKey, form: Form) -> dict[str, str]:
    """What is set now, of the fields in which it is not what was typed."""
    return {name: value for name, value in typed_of(record).items() if form.get(name).strip() != value}


def _form(
    request: Request,
    record: OpenRouterKey,
    shown: Mapping[str, str],
    errors: Mapping[str, str],
    *,
    status: int = 200,
    rev: int | None = None,
    now: Mapping[str, str] | None = None,
) -> Response:
    values: dict[str, Any] = {
        "record": record,
        "name": name_of(record),
        "path_of_key": path_of(record),
        "typed": {field: shown.get(field, "") for field in FIELDS},
        "errors": errors,
        "now": now or {},
        "outdated": status == 409,
        "rev": record.rev if rev is None else rev,
    }
    return page(request, "openrouter_edit.html", values, status=status)


# ---- its secret


@router.get(f"{_ONE}/replace")
async def ask_secret(request: Request, ctx: Context, access: Access, key_id: str) -> Response:
    record = record_of(ctx, key_id)
    return ask_again(request, access) or _secret_form(request, record)


@router.post(f"{_ONE}/replace")
async def replace(request: Request, ctx: Context, access: Access, person: SignedIn, key_id: str) -> Response:
    """The new key takes the place of the old one: its label, tags, caps and weight."""
    record = record_of(ctx, key_id)
    if (question := ask_again(request, access, f"{path_of(record)}/replace")) is not None:
        return question
    form = await read_form(request)
    try:
        added = await ctx.keys.replace_openrouter_key(record.id, form.get("key").strip(), by=person.by, rev=form.rev)
    except KeyRefused as refusal:
        return _secret_form(request, record, str(refusal), status=422)
    except _RACED:
        told = say(
            request, "Somebody else has changed this key in the meantime. Look at it, and paste the secret again."
        )
        return _secret_form(request, record_of(ctx, key_id), told, status=409)
    told = say(request, "%(name)s has a new secret. Disable the old one at OpenRouter.", name=name_of(added.record))
    return go(f"{path_of(added.record)}?added=1", told)


def _secret_form(request: Request, record: OpenRouterKey, error: str = "", status: int = 200) -> Response:
    values = {"record": record, "name": name_of(record), "path_of_key": path_of(record), "error": error}
    return page(request, "openrouter_replace.html", values, status=status)


# ---- its end


@router.get(f"{_ONE}/delete")
async def ask_delete(request: Request, ctx: Context, key_id: str) -> Response:
    return _delete_form(request, ctx, record_of(ctx, key_id))


@router.post(f"{_ONE}/delete")
async def delete(request: Request, ctx: Context, person: SignedIn, key_id: str) -> Response:
    """Forgets the key here, once its name was typed."""
    form = await read_form(request)
    record = record_of(ctx, key_id)
    if form.get("typed").strip() != name_of(record):
        return _delete_form(request, ctx, record, say(request, "This is not its name."), status=422)
    try:
        await ctx.keys.delete_openrouter_key(record.id, by=person.by, rev=form.rev)
    except _RACED:
        told = say(request, "Somebody else has changed this key in the meantime. Look at it before it is deleted.")
        return _delete_form(request, ctx, record_of(ctx, key_id), told, status=409)
    return go(PATH, say(request, "%(name)s is forgotten here.", name=name_of(record)))


def _delete_form(
    request: Request, ctx: PanelContext, record: OpenRouterKey, error: str = "", status: int = 200
) -> Response:
    values = {
        "record": record,
        "name": name_of(record),
        "path_of_key": path_of(record),
        "error": error,
        "in_flight": ctx.pool.in_flight().get(record.id, 0),
        "others": sum(one.serves for one in ctx.keys.openrouter_keys.values() if one.id != record.id),
    }
    return page(request, "openrouter_delete.html", values, status=status)
