"""The page of one OpenRouter key: how it does, what it has left, what happened to it. Shows; changes nothing."""

from __future__ import annotations

import dataclasses
from contextlib import aclosing
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.models.ledger import Entry
from app.panel.context import Context, PanelContext
from app.panel.openrouter_deeds import name_of
from app.panel.openrouter_list import all_rows, record_of
from app.panel.openrouter_rows import PATH, KeyRow, Tab, Traffic
from app.panel.openrouter_timeline import burn, timeline
from app.panel.openrouter_traffic import day_of, troubles_of
from app.panel.render import page
from app.services.audit_chain import Deed

router: Final = APIRouter(include_in_schema=False)
_DEEDS_READ: Final = 2000
_DEEDS_SHOWN: Final = 30
_CALLS_SHOWN: Final = 15


@router.get(f"{PATH}/{{key_id}}")
async def show(request: Request, ctx: Context, key_id: str) -> Response:
    record = record_of(ctx, key_id)
    every = all_rows(ctx)
    row = next(row for row in every if row.id == record.id)
    day = await day_of(ctx, record.id)
    entries = [line.entry for line in day.calls]
    now_s = ctx.clock.wall_s()
    trouble = troubles_of(entries).get(record.id)
    traffic = Traffic(requests=day.sums.requests, of_all=day.of_all, limited_today=day.limited_today, trouble=trouble)
    row = dataclasses.replace(row, traffic=traffic)
    values: dict[str, Any] = {
        "row": row,
        "record": record,
        "name": name_of(record),
        "added": "added" in request.query_params,
        "day": day,
        "hours": [f"{int(now_s // 3600 - 23 + place) % 24:02d}:00" for place in range(24)],
        "calls": day.calls[:_CALLS_SHOWN],
        "client_names": _client_names(ctx, entries[:_CALLS_SHOWN]),
        "burn": burn(row, ctx.facts.samples(record.id), now_s),
        "events": timeline(await _deeds(ctx, record.id), row.picture.marks, entries, record.id),
        "managed": await ctx.renewal.journal.managed.read(record.id),
        "entry": await _open_entry(ctx, record.id),
        "has_admin": any(one.tab is Tab.MANAGEMENT for one in every),
        "siblings": _siblings(row, every),
    }
    return page(request, "openrouter_key.html", values)


def _client_names(ctx: PanelContext, entries: list[Entry]) -> dict[str, str]:
    found = (ctx.keys.client_keys.get(entry.client_id) for entry in entries)
    return {client.id: client.name for client in found if client is not None}


async def _deeds(ctx: PanelContext, key_id: str) -> list[Deed]:
    """The newest ones on this key, of those that were done lately in the whole gateway."""
    found: list[Deed] = []
    read = 0
    async with aclosing(ctx.keys.audit.entries()) as entries:
        async for noted in entries:
            if noted.deed is not None and noted.deed.id == key_id:
                found.append(noted.deed)
            read += 1
            if read >= _DEEDS_READ or len(found) >= _DEEDS_SHOWN:
                break
    return found


async def _open_entry(ctx: PanelContext, key_id: str) -> object:
    """The renewal that is under way on this key, if there is one."""
    entries = (await ctx.renewal.entries()).values()
    return next((one for one in entries if one.is_open and key_id in (one.key, one.successor)), None)


def _siblings(row: KeyRow, every: list[KeyRow]) -> int:
    """Other keys at work that share its account, and so its rate limits."""
    account = row.picture.account
    if not account or not row.picture.serves:
        return 0
    return sum(one.picture.account == account for one in every if one.id != row.id and one.picture.serves)
