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
from app.panel.openrouter_traffic import calls_of, heat, latency, quantile, results, troubles_of
from app.panel.render import page
from app.services.audit_chain import Deed
from app.services.cells import short_key
from app.services.insight_plan import Answer, Dimension, Query

router: Final = APIRouter(include_in_schema=False)
_DAY_S: Final = 86_400
_DEEDS_READ: Final = 2000
_DEEDS_SHOWN: Final = 30
_CALLS_SHOWN: Final = 15


@router.get(f"{PATH}/{{key_id}}")
async def show(request: Request, ctx: Context, key_id: str) -> Response:
    record = record_of(ctx, key_id)
    every = all_rows(ctx)
    row = next(row for row in every if row.id == record.id)
    calls, whole = await calls_of(ctx, record.id)
    entries = [line.entry for line in calls]
    now_s = ctx.clock.wall_s()
    own, everything = await _sums(ctx, record.id)
    last, limited = troubles_of(entries).get(record.id, (None, 0))
    traffic = Traffic(
        requests=own.total.requests, of_all=everything.total.requests, limited_today=limited, trouble=last
    )
    row = dataclasses.replace(row, traffic=traffic)
    waits = [entry.first_token_ms or entry.duration_ms for entry in entries if entry.key_id == record.id]
    values: dict[str, Any] = {
        "row": row,
        "record": record,
        "name": name_of(record),
        "added": "added" in request.query_params,
        "sums": own.total,
        "sums_before": own.before,
        "p95_ms": quantile(waits, 0.95),
        "heat": heat(entries, record.id, now_s),
        "hours": [f"{int(now_s // 3600 - 23 + place) % 24:02d}:00" for place in range(24)],
        "latency": latency(entries, record.id, now_s),
        "results": results(entries, record.id),
        "whole": whole,
        "calls": calls[:_CALLS_SHOWN],
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


async def _sums(ctx: PanelContext, key_id: str) -> tuple[Answer, Answer]:
    """A day of this key with the day before, and of all keys."""
    now_s = ctx.clock.wall_s()
    where = {Dimension.KEY: (short_key(key_id),)}
    own = Query(since_s=now_s - _DAY_S, until_s=now_s, where=where, compare=True)
    return await ctx.insight.answer(own), await ctx.insight.answer(Query(since_s=own.since_s, until_s=now_s))


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
    """Other keys that share its account, and so its rate limits."""
    account = row.picture.account
    return sum(one.picture.account == account for one in every if one.id != row.id) if account else 0
