"""The pages of groups: clients that share limits and terms, and the group of the whole gateway."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.models.limits import GATEWAY_GROUP, Group
from app.panel.client_detail import deeds_on
from app.panel.clients_form import read, typed, typed_of
from app.panel.clients_new import form_values
from app.panel.context import Context, PanelContext, SignedIn
from app.panel.openrouter_forms import read_form
from app.panel.render import go, page, say
from app.services.key_manager import KeyRefused, NoSuchKey, Outdated
from app.services.limit_words import instant_of, words_of

router: Final = APIRouter(include_in_schema=False)
PATH: Final = "/admin/groups"
_ONE: Final = f"{PATH}/{{group_id}}"
_BLANK: Final = Group(id="", name="")
_MOST_MEMBERS: Final = 200


@router.get(PATH)
async def show(request: Request, ctx: Context) -> Response:
    members = Counter(client.group for client in ctx.keys.client_keys.values())
    groups = sorted(
        (one for one in ctx.keys.groups.values() if one.id != GATEWAY_GROUP), key=lambda one: one.name.casefold()
    )
    rows = [await _row(ctx, one, members[one.id]) for one in groups]
    gateway = await _row(ctx, ctx.keys.find_group(GATEWAY_GROUP), len(ctx.keys.client_keys))
    return page(request, "groups.html", {"rows": rows, "gateway": gateway})


async def _row(ctx: PanelContext, group: Group, members: int) -> dict[str, Any]:
    now_s = ctx.clock.wall_s()
    standings = await ctx.tally.standings_of(f"g:{group.id}", group)
    words = [words_of(limit, now_s) for limit in group.limits]
    return {"group": group, "members": members, "standings": standings, "words": words}


@router.get(f"{PATH}/new")
async def ask(request: Request, ctx: Context) -> Response:
    return _form(request, ctx, _BLANK, typed_of(_BLANK, ctx.clock.wall_s()), {})


@router.post(PATH)
async def create(request: Request, ctx: Context, person: SignedIn) -> Response:
    form = await read_form(request)
    found = read(form, _BLANK, ctx.clock.wall_s())
    errors = dict(found.errors)
    if not errors:
        changes = {name: value for name, value in found.changes.items() if name != "name"}
        try:
            made = await ctx.keys.create_group(str(found.changes["name"]), by=person.by, changes=changes)
        except KeyRefused as refusal:
            errors["name"] = str(refusal)
        else:
            return go(f"{PATH}/{made.id}", say(request, "%(name)s is made.", name=made.name))
    return _form(request, ctx, _BLANK, typed(form), errors, status=422)


@router.get(_ONE)
async def show_one(request: Request, ctx: Context, group_id: str) -> Response:
    group = _group(ctx, group_id)
    everyone = group.id == GATEWAY_GROUP
    members = [one for one in ctx.keys.client_keys.values() if everyone or one.group == group.id]
    values = await _row(ctx, group, len(members))
    values["some"] = sorted(members, key=lambda one: one.name.casefold())[:_MOST_MEMBERS]
    values["deeds"] = await deeds_on(ctx, group.id)
    return page(request, "group.html", values)


@router.get(f"{_ONE}/edit")
async def ask_change(request: Request, ctx: Context, group_id: str) -> Response:
    group = _group(ctx, group_id)
    return _form(request, ctx, group, typed_of(group, ctx.clock.wall_s()), {})


@router.post(f"{_ONE}/edit")
async def change(request: Request, ctx: Context, person: SignedIn, group_id: str) -> Response:
    """What does not fit, and what somebody else has changed meanwhile, is shown with everything that was typed."""
    form = await read_form(request)
    group = _group(ctx, group_id)
    found = read(form, group, ctx.clock.wall_s())
    changes = {name: value for name, value in found.changes.items() if name != "name" or group.id != GATEWAY_GROUP}
    errors = {name: told for name, told in found.errors.items() if name in changes or group.id != GATEWAY_GROUP}
    if errors:
        return _form(request, ctx, group, typed(form), errors, status=422)
    try:
        await ctx.keys.update_group(group.id, changes, by=person.by, rev=form.rev)
    except Outdated:
        return _form(request, ctx, _group(ctx, group_id), typed(form), {}, status=409, outdated=True)
    except KeyRefused as refusal:
        return _form(request, ctx, group, typed(form), {"": str(refusal)}, status=422)
    return go(f"{PATH}/{group.id}", say(request, "%(name)s was changed.", name=group.name))


@router.post(f"{_ONE}/raise")
async def raise_limit(request: Request, ctx: Context, person: SignedIn, group_id: str) -> Response:
    """It falls back by itself."""
    form = await read_form(request)
    group = _group(ctx, group_id)
    until_s = instant_of(form.get("until").strip(), ctx.clock.wall_s())
    await ctx.keys.raise_group_limit(group.id, form.get("limit"), form.get("size").strip(), until_s, by=person.by)
    return go(f"{PATH}/{group.id}", say(request, "The limit is raised for a time."))


@router.post(f"{_ONE}/delete")
async def delete(request: Request, ctx: Context, person: SignedIn, group_id: str) -> Response:
    """One that clients belong to stays."""
    await read_form(request)
    group = _group(ctx, group_id)
    await ctx.keys.delete_group(group.id, by=person.by)
    return go(PATH, say(request, "%(name)s was deleted.", name=group.name))


def _group(ctx: PanelContext, group_id: str) -> Group:
    if group_id != GATEWAY_GROUP and group_id not in ctx.keys.groups:
        raise NoSuchKey("There is no group of that id.")
    return ctx.keys.find_group(group_id)


def _form(
    request: Request,
    ctx: PanelContext,
    group: Group,
    shown: dict[str, Any],
    errors: dict[str, str],
    *,
    status: int = 200,
    outdated: bool = False,
) -> Response:
    now = typed_of(group, ctx.clock.wall_s()) if outdated else {}
    values = {"group": group, "typed": shown, "errors": errors, "now": now, "outdated": outdated}
    return page(request, "group_form.html", values | form_values(ctx), status=status)
