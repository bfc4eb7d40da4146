"""The page of usage: figures, one large plot, four breakdowns. Everything filters everything; the address holds it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from app.models.books import Finding
from app.panel.api.usage import names_of
from app.panel.context import Context, PanelContext
from app.panel.render import page
from app.panel.usage_view import CARDS, METRICS, PATH, PERIODS, SHOWN_AS, Wanted, island, series_of, value_of, wanted_of
from app.services.cells import Step, short_key
from app.services.export import usage_csv
from app.services.insight_plan import Answer, Dimension, Query, QueryError

router: Final = APIRouter(include_in_schema=False)
_STALE_S: Final = 2.0
_TOP: Final = 10
_LINES: Final = 6
_DAYS_TOLD: Final = 7


def query_of(
    wanted: Wanted, by: tuple[Dimension, ...], top: int, *, compare: bool = False, spans: bool = False
) -> Query:
    where = {one: (short_key(text) if one is Dimension.KEY else text,) for one, text in wanted.where.items()}
    return Query(
        since_s=wanted.since_s,
        until_s=wanted.until_s,
        step=wanted.step,
        by=by,
        where=where,
        top=top,
        order=METRICS[wanted.metric],
        compare=compare,
        spans=spans,
    )


async def _ask(ctx: PanelContext, query: Query) -> Answer:
    """Where a step does not suit the period, as fine as suits it."""
    try:
        return await ctx.insight.answer(query, stale_s=_STALE_S)
    except QueryError:
        return await ctx.insight.answer(msgspec.structs.replace(query, step=None), stale_s=_STALE_S)


@router.get(PATH)
async def show(request: Request, ctx: Context) -> Response:
    wanted = wanted_of(request.query_params, ctx.clock.wall_s())
    whole = await _ask(ctx, query_of(wanted, (), _TOP, compare=True, spans=True))
    cards = await asyncio.gather(*(_ask(ctx, query_of(wanted, (one,), _TOP, compare=True)) for one in CARDS))
    explored = whole
    if wanted.by is not None:
        explored = await _ask(ctx, query_of(wanted, (wanted.by,), _LINES))
    before = await _before(ctx, wanted)
    names = names_of(ctx)
    lines = [(names.get(name, name), values) for name, values in series_of(explored, wanted)]
    shown = SHOWN_AS.get(wanted.metric, "short")
    values: dict[str, Any] = {
        "wanted": wanted,
        "whole": whole,
        "cards": list(zip(CARDS, cards, strict=True)),
        "lines": lines,
        "before": before,
        "starts": explored.starts_s,
        "shown": shown,
        "island": island(explored, lines, before, shown),
        "names": names,
        "periods": PERIODS,
        "metrics": list(METRICS),
        "dimensions": [one.value for one in Dimension],
        "steps": [one.value for one in Step if one is not Step.MONTH],
        "value_of": value_of,
        "compared": await _compared(ctx),
        "empty": not whole.total.requests,
    }
    return page(request, "usage.html", values)


async def _before(ctx: PanelContext, wanted: Wanted) -> list[float]:
    """The same line for the period before; not beside several lines."""
    if wanted.by is not None or wanted.cumulative:
        return []
    query = msgspec.structs.replace(
        query_of(wanted, (), _TOP),
        since_s=max(0.0, wanted.since_s - wanted.length_s),
        until_s=max(1.0, wanted.until_s - wanted.length_s),
    )
    return [value_of(one, wanted.metric) for one in (await _ask(ctx, query)).series]


async def _compared(ctx: PanelContext) -> list[dict[str, Any]]:
    """How the last days compare with OpenRouter's books."""
    today = datetime.fromtimestamp(ctx.clock.wall_s(), UTC).date()
    found = []
    for back in range(1, _DAYS_TOLD + 1):
        day = today - timedelta(days=back)
        if stored := await ctx.reconciliation.stored(day):
            compared = [one for one in stored if one.theirs_nano is not None]
            differ = sum(one.finding not in (Finding.AGREES, Finding.NOT_COMPARED) for one in stored)
            gap = sum((one.theirs_nano or 0) - one.own_nano for one in compared)
            found.append({"day": str(day), "keys": len(compared), "differ": differ, "gap_nano": gap})
    return found


@router.get(f"{PATH}/export")
async def export(request: Request, ctx: Context) -> Response:
    """The view as a table: its grouping, or its time line."""
    wanted = wanted_of(request.query_params, ctx.clock.wall_s())
    answer = await _ask(ctx, query_of(wanted, (wanted.by,) if wanted.by else (), 1000))
    headers = {"content-disposition": 'attachment; filename="usage.csv"', "cache-control": "no-store"}
    return StreamingResponse(usage_csv(answer, names_of(ctx)), headers=headers, media_type="text/csv")
