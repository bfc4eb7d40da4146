"""The page of usage: figures, one large plot, breakdowns. Everything filters everything, and stands in the address."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from app.panel.context import Context, PanelContext
from app.panel.render import page, say
from app.panel.usage_books import books_of
from app.panel.usage_plot import is_rest, per_1k, plot_of, quantiles, shown_as, value_of
from app.panel.usage_view import METRICS, PATH, PERIODS, SPANS, Wanted, query_of, wanted_of
from app.services.cells import OTHER, Step, short_key
from app.services.insight_plan import Answer, Dimension, Query, QueryError

router: Final = APIRouter(include_in_schema=False)
CARDS: Final = (Dimension.MODEL, Dimension.CLIENT, Dimension.KEY, Dimension.PROVIDER)
_STALE_S: Final = 2.0
_TOP: Final = 10
_LINES: Final = 7


@router.get(PATH)
async def show(request: Request, ctx: Context) -> Response:
    wanted = wanted_of(request.query_params, ctx.clock.wall_s())
    whole, *cards = await asyncio.gather(
        ask(ctx, query_of(wanted, compare=True)),
        *(ask(ctx, query_of(wanted, (one,), top=_TOP, compare=True)) for one in CARDS),
    )
    explored = await ask(ctx, query_of(wanted, wanted.by, top=_LINES)) if wanted.by else whole
    before = await _before(ctx, wanted, whole)
    names = names_of(ctx, wanted, [*cards, explored])
    rest, unknown = say(request, "all others"), say(request, "unknown")

    def name_of(values: tuple[str, ...]) -> str:
        if all(value == OTHER for value in values):
            return rest
        return " · ".join(names.get(value, value) or unknown for value in values)

    words = {
        "now": say(request, "this period"),
        "before": say(request, "the period before"),
        "p50": say(request, "half of the calls"),
        "p95": say(request, "19 of 20 calls"),
    }
    values: dict[str, Any] = {
        "wanted": wanted,
        "whole": whole,
        "total": whole.total,
        "past": whole.before if wanted.compares else None,
        "span_of": quantiles,
        "cards": list(zip(CARDS, cards, strict=True)),
        "plot": plot_of(wanted, explored, before, words, name_of),
        "explored": explored,
        "shown": shown_as(wanted.metric),
        "names": names,
        "periods": PERIODS,
        "metrics": list(METRICS),
        "spans": SPANS,
        "dimensions": [one.value for one in Dimension],
        "steps": [one.value for one in Step],
        "value_of": value_of,
        "per_1k": per_1k,
        "is_rest": is_rest,
        "books": await books_of(ctx, wanted),
        "empty": not whole.total.requests,
    }
    return page(request, "usage.html", values)


async def ask(ctx: PanelContext, query: Query) -> Answer:
    """Where a step does not suit the period, as fine as suits it. Raises RedisUnavailable."""
    try:
        return await ctx.insight.answer(query, stale_s=_STALE_S)
    except QueryError:
        return await ctx.insight.answer(msgspec.structs.replace(query, step=None), stale_s=_STALE_S)


async def _before(ctx: PanelContext, wanted: Wanted, whole: Answer) -> Answer | None:
    """As many steps before the period as it has; not beside several lines."""
    length_s = whole.until_s - whole.since_s
    if not wanted.compares or wanted.by or wanted.metric == "latency" or whole.since_s < length_s:
        return None
    query = query_of(wanted)
    return await ask(
        ctx,
        msgspec.structs.replace(
            query, since_s=whole.since_s - length_s, until_s=whole.since_s, step=whole.step, spans=False
        ),
    )


def names_of(ctx: PanelContext, wanted: Wanted, answers: list[Answer]) -> Mapping[str, str]:
    """What people call the clients, groups and keys of some answers and of the filters; keys by their short ids."""
    values = {value for answer in answers for row in answer.rows for value in row.values}
    values.update(wanted.where.values())
    found = {short_key(key.id): key.label or key.masked for key in ctx.keys.openrouter_keys.values()}
    for value in values:
        if (record := ctx.keys.client_keys.get(value) or ctx.keys.groups.get(value)) is not None:
            found[value] = record.name
    if key := wanted.where.get(Dimension.KEY):
        found[key] = found.get(short_key(key), short_key(key))
    return found
