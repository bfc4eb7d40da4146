"""The page of all client keys, the same as CSV, and what one does to many at once."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.models.keys import ClientKey, KeyState
from app.panel.clients_rows import PATH, ClientRow, Listing, Tab, Wanted, fitting, listing, tab_of, tightest, wanted_of
from app.panel.context import Context, PanelContext, SignedIn
from app.panel.entry import Access, ask_again
from app.panel.openrouter_deeds import back_of
from app.panel.openrouter_forms import read_form
from app.panel.render import go, page, say
from app.services.export import dollars, instant
from app.services.key_manager import KeyRefused, NoSuchKey
from app.services.limit_words import words_of
from app.services.spreadsheet import safe_cell
from app.services.strips import Strips

router: Final = APIRouter(include_in_schema=False)
STATES: Final = {"enable": KeyState.ENABLED, "disable": KeyState.DISABLED, "revoke": KeyState.REVOKED}
_MOST_COUNTED: Final = 5000
"""Of so many clients at most it is worth knowing whose budget is nearly used up, only to count them."""
_COLUMNS: Final = (
    "id", "name", "key", "state", "owner", "group", "models", "limits", "budget_used_usd", "budget_usd", "created",
    "expires", "last_used", "tags", "note",
)  # fmt: skip


async def rows_of(ctx: PanelContext, wanted: Wanted) -> Listing:
    """The page of the list, without what went over its clients."""
    now_s = ctx.clock.wall_s()
    every = ctx.keys.client_keys
    some = fitting(every.values(), wanted)
    used = await ctx.last_use.everyone()
    with_money = [one for one in some if one.limits and one.state is KeyState.ENABLED]
    standings = await ctx.tally.of_many(with_money) if len(with_money) <= _MOST_COUNTED else {}
    groups = ctx.keys.groups
    rows = []
    for one in some:
        budget = tightest(standings.get(one.id, ()))
        share = 0.0 if budget is None or not budget.size_nano else budget.used_nano / budget.size_nano
        rows.append(
            ClientRow(
                record=one,
                tab=tab_of(one, now_s, used=one.id in used, share=share),
                used_s=used.get(one.id),
                budget=budget,
                group=groups[one.group].name if one.group in groups else "",
            )
        )
    return listing(rows, wanted, len(every))


async def with_sparks(ctx: PanelContext, rows: Sequence[ClientRow]) -> list[ClientRow]:
    """With their calls of the last 24 hours. Raises RedisUnavailable."""
    if not rows:
        return []
    await ctx.insight.freshen(2.0)
    hours = await Strips(ctx.redis, ctx.clock).client_hours({row.record.id: row.record.group for row in rows})
    return [
        dataclasses.replace(row, spark=[float(one.requests) for one in hours.get(row.record.id, ())]) for row in rows
    ]


@router.get(PATH)
async def show(request: Request, ctx: Context) -> Response:
    wanted = wanted_of(request.query_params)
    found = await rows_of(ctx, wanted)
    values: dict[str, Any] = {
        "wanted": wanted,
        "found": found,
        "rows": await with_sparks(ctx, found.rows),
        "tabs": tuple(Tab),
        "groups": sorted(ctx.keys.groups.values(), key=lambda group: group.name.casefold()),
        "base_url": base_url(request, ctx),
    }
    return page(request, "clients.html", values, part="rows")


def base_url(request: Request, ctx: PanelContext) -> str:
    """Where programs reach the gateway."""
    return (ctx.settings.public_url or str(request.base_url)).rstrip("/") + "/v1"


def record_of(ctx: PanelContext, client_id: str) -> ClientKey:
    """By its id alone: a name may be anything. Raises NoSuchKey."""
    found = ctx.keys.client_keys.get(client_id)
    if found is None:
        raise NoSuchKey("There is no client key of that id.")
    return found


@router.get(f"{PATH}/export")
async def export(request: Request, ctx: Context, access: Access) -> Response:
    """All rows of the list as it is filtered, the newest first. Never a secret."""
    if (again := ask_again(request, access)) is not None:
        return again
    wanted = wanted_of(request.query_params)
    used = await ctx.last_use.everyone()
    now_s = ctx.clock.wall_s()
    some = sorted(fitting(ctx.keys.client_keys.values(), wanted), key=lambda one: -one.created_at)
    standings = await ctx.tally.of_many([one for one in some if one.limits])
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    for one in some:
        budget = tightest(standings.get(one.id, ()))
        share = 0.0 if budget is None or not budget.size_nano else budget.used_nano / budget.size_nano
        tab = tab_of(one, now_s, used=one.id in used, share=share)
        if wanted.tab in (Tab.ALL, tab):
            row = ClientRow(record=one, tab=tab, used_s=used.get(one.id), budget=budget)
            writer.writerow([safe_cell(value) for value in _cells(row, ctx, now_s)])
    return Response(
        text.getvalue(),
        media_type="text/csv; charset=utf-8",
        headers={"content-disposition": 'attachment; filename="client-keys.csv"', "cache-control": "no-store"},
    )


def _cells(row: ClientRow, ctx: PanelContext, now_s: float) -> tuple[object, ...]:
    one, budget = row.record, row.budget
    group = ctx.keys.groups.get(one.group)
    return (
        one.id, one.name, one.masked, row.tab.value, one.owner, group.name if group else "",
        " ".join(one.models_allowed), "; ".join(words_of(limit, now_s) for limit in one.limits),
        dollars(budget.used_nano) if budget else "", dollars(budget.size_nano) if budget else "",
        instant(one.created_at), instant(one.expires_at) if one.expires_at else "",
        instant(row.used_s) if row.used_s else "", " ".join(one.tags), one.note,
    )  # fmt: skip


@router.post(f"{PATH}/bulk")
async def bulk(request: Request, ctx: Context, person: SignedIn) -> Response:
    """Enables, disables or revokes many; to revoke, their number is typed."""
    form = await read_form(request)
    names, deed = form.all("client"), form.get("deed")
    back = back_of(form, PATH)
    if not names:
        return go(back, say(request, "Nothing was selected."))
    if deed not in STATES:
        raise KeyRefused("There is no such deed.")
    if deed == "revoke" and form.get("typed").strip() != str(len(names)):
        return page(request, "clients_bulk_revoke.html", {"names": names, "back": back, "records": _known(ctx, names)})
    done = len(await set_many(ctx, names, STATES[deed], by=person.by))
    return go(back, say(request, "%(done)s of %(all)s client keys were changed.", done=done, all=len(names)))


async def set_many(ctx: PanelContext, ids: Sequence[str], state: KeyState, *, by: str) -> list[str]:
    """The ids of those that were there and not revoked."""
    done = []
    for client_id in ids:
        if (record := ctx.keys.client_keys.get(client_id)) is None or record.state is KeyState.REVOKED:
            continue
        await ctx.keys.set_client_state(client_id, state, by=by)
        done.append(client_id)
    return done


def _known(ctx: PanelContext, names: Sequence[str]) -> list[ClientKey]:
    return [found for name in names if (found := ctx.keys.client_keys.get(name)) is not None]


@router.post(f"{PATH}/{{client_id}}/{{state}}")
async def set_state(request: Request, ctx: Context, person: SignedIn, client_id: str, state: str) -> Response:
    """Enable or disable; what is for good has a page of its own."""
    form = await read_form(request)
    record = record_of(ctx, client_id)
    states = {"enable": KeyState.ENABLED, "disable": KeyState.DISABLED}
    if state not in states:
        raise NoSuchKey("There is no such deed.")
    await ctx.keys.set_client_state(record.id, states[state], by=person.by)
    told = say(request, "%(name)s is enabled.", name=record.name)
    if state == "disable":
        told = say(request, "%(name)s is disabled: calls with it are refused.", name=record.name)
    return go(back_of(form, f"{PATH}/{record.id}"), told)
