"""Making a client key, and giving one a new secret. The secret stands in the answer to the form, this one time: it is
in no address, no cookie and no session.
"""

from __future__ import annotations

import secrets
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.models.keys import ClientKey
from app.panel.clients import base_url, record_of
from app.panel.clients_form import read, typed, typed_of
from app.panel.clients_rows import PATH
from app.panel.context import Context, PanelContext, SignedIn
from app.panel.openrouter_forms import Form, read_form
from app.panel.render import go, page, say
from app.services.client_keys import NewClientKey
from app.services.endpoints import ENDPOINT_CLASSES
from app.services.key_manager import KeyRefused, Outdated

router: Final = APIRouter(include_in_schema=False)
_NONCE_S: Final = 86_400
OVERLAPS: Final = {"0": 0.0, "1h": 3600.0, "24h": 86_400.0, "7d": 604_800.0}
_BLANK: Final = ClientKey(id="", name="", digest="", masked="")


def form_values(ctx: PanelContext) -> dict[str, Any]:
    """What every form of terms offers to choose from."""
    tags = sorted({tag for key in ctx.keys.openrouter_keys.values() for tag in key.tags})
    groups = sorted(ctx.keys.groups.values(), key=lambda group: group.name.casefold())
    return {"endpoint_classes": sorted(ENDPOINT_CLASSES), "groups": groups, "key_tags": tags}


@router.get(f"{PATH}/new")
async def ask(request: Request, ctx: Context) -> Response:
    return _form(request, ctx, typed_of(_BLANK, ctx.clock.wall_s()), {})


@router.post(PATH)
async def create(request: Request, ctx: Context, person: SignedIn) -> Response:
    """Sent a second time, the same form makes no second key."""
    form = await read_form(request)
    found = read(form, _BLANK, ctx.clock.wall_s())
    if found.errors:
        return _form(request, ctx, typed(form), dict(found.errors), status=422)
    if (before := await _first(ctx, form)) is not None:
        told = say(request, "This form was sent before: the key is there, and its secret is not shown again.")
        return go(f"{PATH}/{before}" if before else PATH, told)
    changes = {name: value for name, value in found.changes.items() if name != "name"}
    try:
        made = await ctx.keys.create_client_key(str(found.changes["name"]), by=person.by, changes=changes)
    except KeyRefused as refusal:
        await _forget(ctx, form)
        return _form(request, ctx, typed(form), {"": str(refusal)}, status=422)
    await _made(ctx, form, made.record.id)
    return _reveal(request, ctx, made, rotated=False)


def _form(
    request: Request, ctx: PanelContext, shown: dict[str, Any], errors: dict[str, str], *, status: int = 200
) -> Response:
    values = {"typed": shown, "errors": errors, "nonce": secrets.token_urlsafe(16), **form_values(ctx)}
    return page(request, "client_new.html", values, status=status)


def _reveal(request: Request, ctx: PanelContext, made: NewClientKey, *, rotated: bool) -> Response:
    model = next((one for one in made.record.models_allowed if "*" not in one), "openai/gpt-4o-mini")
    return page(
        request,
        "client_reveal.html",
        {
            "record": made.record,
            "secret": made.secret.reveal(),
            "rotated": rotated,
            "base_url": base_url(request, ctx),
            "model": model,
        },
    )


# ---- a form is good for one key


def _nonce(ctx: PanelContext, form: Form) -> str:
    text = form.get("nonce")
    if not 16 <= len(text) <= 64 or not text.isascii():
        raise KeyRefused("This form is incomplete: open it again.")
    return ctx.redis.keys.people("form", text)


async def _first(ctx: PanelContext, form: Form) -> str | None:
    """None the first time; then the id of what it made, or nothing while it is being made."""
    name = _nonce(ctx, form)
    if await ctx.redis.command("SET", name, "", "NX", "EX", _NONCE_S):
        return None
    return bytes(await ctx.redis.command("GET", name) or b"").decode()


async def _made(ctx: PanelContext, form: Form, client_id: str) -> None:
    await ctx.redis.command("SET", _nonce(ctx, form), client_id, "EX", _NONCE_S)


async def _forget(ctx: PanelContext, form: Form) -> None:
    await ctx.redis.command("DEL", _nonce(ctx, form))


# ---- a new secret


@router.get(f"{PATH}/{{client_id}}/rotate")
async def ask_rotation(request: Request, ctx: Context, client_id: str) -> Response:
    record = record_of(ctx, client_id)
    nonce = secrets.token_urlsafe(16)
    return page(
        request, "client_rotate.html", {"record": record, "overlaps": list(OVERLAPS), "nonce": nonce, "error": ""}
    )


@router.post(f"{PATH}/{{client_id}}/rotate")
async def rotate(request: Request, ctx: Context, person: SignedIn, client_id: str) -> Response:
    form = await read_form(request)
    record = record_of(ctx, client_id)
    overlap = form.get("overlap")
    if overlap not in OVERLAPS:
        raise KeyRefused("The old secret ends now, or after 1 h, 24 h or 7 d.")
    if await _first(ctx, form) is not None:
        told = say(request, "This form was sent before: the secret was replaced, and is not shown again.")
        return go(f"{PATH}/{record.id}", told)
    try:
        made = await ctx.keys.rotate_client_key(record.id, overlap_s=OVERLAPS[overlap], by=person.by, rev=form.rev)
    except (KeyRefused, Outdated) as refusal:
        await _forget(ctx, form)
        sentence = str(refusal) or say(request, "Somebody else has changed this key in the meantime: look at it again.")
        values = {"record": record_of(ctx, client_id), "overlaps": list(OVERLAPS), "error": sentence}
        status = 409 if isinstance(refusal, Outdated) else 422
        return page(request, "client_rotate.html", values | {"nonce": secrets.token_urlsafe(16)}, status=status)
    return _reveal(request, ctx, made, rotated=True)
