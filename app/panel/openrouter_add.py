"""New OpenRouter keys: one, checked before it is saved; or a whole list, checked in the background. A key that was
typed is never shown again, not even in the form that could not be taken.
"""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.models.keys import KeyKind
from app.panel.context import Context, SignedIn
from app.panel.openrouter_deeds import name_of
from app.panel.openrouter_forms import NEW_FIELDS, Form, read, read_form, typed
from app.panel.openrouter_list import empty_form
from app.panel.openrouter_rows import PATH, SHORT_ID
from app.panel.render import go, page, say
from app.services.key_import import MOST_LINES, candidates
from app.services.key_manager import AddedKey
from app.services.key_names import KeyRefused
from app.services.openrouter_keys import BLANK

router: Final = APIRouter(include_in_schema=False)
_LINES_SHOWN: Final = 1000


@router.get(f"{PATH}/new")
async def ask(request: Request) -> Response:
    return page(request, "openrouter_new.html", empty_form())


@router.post(PATH)
async def add(request: Request, ctx: Context, person: SignedIn) -> Response:
    """Asks OpenRouter about the key, saves it, and shows what was learnt."""
    form = await read_form(request)
    found = read(form, BLANK)
    errors = dict(found.errors)
    key = _single(request, form, errors)
    if errors:
        return _again(request, form, errors)
    changes = dict(found.changes)
    label = str(changes.pop("label", ""))
    try:
        added = await ctx.keys.add_openrouter_key(key, label=label, by=person.by, changes=changes)
    except KeyRefused as refusal:
        return _again(request, form, {"key": str(refusal)})
    return go(f"{PATH}/{added.record.id[:SHORT_ID]}{'' if added.known else '?added=1'}", _told(request, added))


def _single(request: Request, form: Form, errors: dict[str, str]) -> str:
    found = list(candidates(form.get("key")))
    if not found:
        errors["key"] = say(request, "Paste the key first.")
    elif len(found) > 1:
        errors["key"] = say(request, "This is more than one key: use “Add many”.")
    return found[0].key if found else ""


def _again(request: Request, form: Form, errors: dict[str, str]) -> Response:
    return page(request, "openrouter_new.html", {"typed": typed(form, NEW_FIELDS), "errors": errors}, status=422)


def _told(request: Request, added: AddedKey) -> str:
    name = name_of(added.record)
    if added.known:
        return say(request, "%(name)s was in the pool already; nothing was changed.", name=name)
    if added.record.kind is KeyKind.MANAGEMENT:
        return say(request, "%(name)s is added: a management key, on which no call will ever run.", name=name)
    if added.record.kind is KeyKind.UNVERIFIED:
        return say(request, "%(name)s is added. OpenRouter could not be asked: it is checked later.", name=name)
    return say(request, "%(name)s is added.", name=name)


# ---- many


@router.get(f"{PATH}/import")
async def ask_many(request: Request) -> Response:
    return page(request, "openrouter_import.html", {"most": MOST_LINES, "error": ""})


@router.post(f"{PATH}/import")
async def add_many(request: Request, ctx: Context, person: SignedIn) -> Response:
    form = await read_form(request)
    try:
        run = await ctx.keys.imports.begin(form.get("keys"), by=person.by)
    except KeyRefused as refusal:
        return page(request, "openrouter_import.html", {"most": MOST_LINES, "error": str(refusal)}, status=422)
    return go(f"{PATH}/import/{run}")


@router.get(f"{PATH}/import/{{run}}")
async def progress(request: Request, ctx: Context, run: str) -> Response:
    """How far an import is: every line with what became of it."""
    found = await ctx.keys.imports.look(run) if run.isalnum() and len(run) <= 32 else None
    if found is None:
        return page(request, "openrouter_import_gone.html", status=404)
    by_mask = {record.masked: record for record in ctx.keys.openrouter_keys.values()}
    values: dict[str, Any] = {
        "run": found,
        "lines": found.lines[:_LINES_SHOWN],
        "more": max(0, len(found.lines) - _LINES_SHOWN),
        "by_mask": by_mask,
        "short_id": SHORT_ID,
    }
    return page(request, "openrouter_import_run.html", values, part="run")
