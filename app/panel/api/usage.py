"""`/admin/api/usage`: what was used and what it cost, over any period, told apart by anything."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from starlette.responses import Response, StreamingResponse

from app.panel.api.conventions import ApiProblem
from app.panel.context import Context, PanelContext
from app.panel.problems import Problem
from app.services.cells import Step, short_key
from app.services.export import figures_view, instant, usage_csv
from app.services.insight_plan import Answer, Dimension, Order, QueryError
from app.services.insight_plan import Query as Usage
from app.services.period import WORDS, PeriodError, period

router: Final = APIRouter(prefix="/admin/api/usage", tags=["Usage"])
_ORDERS: Final = {order.name.lower(): order for order in Order}
_FRESH_S: Final = 2.0
Values = Annotated[list[str] | None, Query(max_length=50, description="Only these. Repeat for more.")]


@router.get("")
async def get_usage(
    ctx: Context,
    words: Annotated[str, Query(alias="period", max_length=100, description=f"In UTC: {WORDS}.")] = "7d",
    by: Annotated[str, Query(max_length=100, description=f"Up to three of {', '.join(Dimension)}, by commas.")] = "",
    step: Step | None = None,
    top: Annotated[int, Query(ge=1, le=1000, description="Most rows; what is left is one row `other`.")] = 10,
    order: Annotated[
        str, Query(pattern=f"^({'|'.join(_ORDERS)})$", description="What makes a row one of the first.")
    ] = "cost",
    compare: Annotated[bool, Query(description="Beside the period of the same length before.")] = False,
    client: Values = None,
    group: Values = None,
    key: Values = None,
    account: Values = None,
    model: Values = None,
    provider: Values = None,
    form: Annotated[str, Query(alias="format", pattern="^(json|csv)$")] = "json",
) -> Any:
    """Sums, rows of the grouping, and a series over time."""
    only = {
        Dimension.CLIENT: client,
        Dimension.GROUP: group,
        Dimension.KEY: None if key is None else [short_key(one) for one in key],
        Dimension.ACCOUNT: account,
        Dimension.MODEL: model,
        Dimension.PROVIDER: provider,
    }
    try:
        since_s, until_s = period(words, ctx.clock.wall_s())
        usage = Usage(
            since_s=since_s,
            until_s=until_s,
            step=step,
            by=tuple(Dimension(word.strip()) for word in by.split(",") if word.strip()),
            where={dimension: tuple(values) for dimension, values in only.items() if values},
            top=top,
            order=_ORDERS[order],
            compare=compare,
        )
    except PeriodError as error:
        raise _unusable("period", str(error)) from None
    except ValueError:
        raise _unusable("by", f"Usage is told by {', '.join(Dimension)}.") from None
    try:
        answer = await ctx.insight.answer(usage, stale_s=_FRESH_S)
    except QueryError as error:
        raise _unusable("by", str(error)) from None
    names = names_of(ctx)
    return _csv(answer, names) if form == "csv" else _shown(answer, names)


def names_of(ctx: PanelContext) -> dict[str, str]:
    """What people call the clients, groups and keys that stand in sums; keys by their short ids."""
    clients = {record.id: record.name for record in ctx.keys.client_keys.values()}
    groups = {group.id: group.name for group in ctx.keys.groups.values()}
    keys = {short_key(key.id): key.label or key.masked for key in ctx.keys.openrouter_keys.values()}
    return clients | groups | keys


def _unusable(field: str, sentence: str) -> ApiProblem:
    return ApiProblem(Problem(422, "invalid", sentence, errors=((field, sentence),)))


def _csv(answer: Answer, names: dict[str, str]) -> Response:
    headers = {"content-disposition": 'attachment; filename="usage.csv"', "cache-control": "no-store"}
    return StreamingResponse(usage_csv(answer, names), headers=headers, media_type="text/csv")


def _shown(answer: Answer, names: dict[str, str]) -> dict[str, Any]:
    return {
        "since": instant(answer.since_s),
        "until": instant(answer.until_s),
        "step": answer.step,
        "complete": answer.complete,
        "total": figures_view(answer.total),
        "before": None if answer.before is None else figures_view(answer.before),
        "rows": [
            {
                "by": dict(zip(answer.by, row.values, strict=True)),
                "name": ", ".join(names.get(value, value) for value in row.values),
                **figures_view(row.figures),
                "before": None if row.before is None else figures_view(row.before),
            }
            for row in answer.rows
        ],
        "series": [
            {"since": instant(start_s), **figures_view(figures)}
            for start_s, figures in zip(answer.starts_s, answer.series, strict=True)
        ],
    }
