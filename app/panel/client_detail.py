"""The page of one client key: what it used, what it may use, its calls, what was done to it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.models.keys import ClientKey
from app.models.limits import GATEWAY_GROUP, Span, Unit
from app.panel.clients import record_of
from app.panel.clients_rows import PATH, tab_of, tightest
from app.panel.context import Context, PanelContext
from app.panel.render import page
from app.services.audit import Noted
from app.services.cells import Step
from app.services.insight_plan import Dimension, Query
from app.services.ledger_filter import Filter
from app.services.limit_words import words_of
from app.services.money import Standing
from app.services.strips import hour_of_week

router: Final = APIRouter(include_in_schema=False)
_DAY_S: Final = 86_400
_WEEKS_S: Final = 84 * _DAY_S
_STALE_S: Final = 2.0
_MOST_CALLS: Final = 15
_MOST_DEEDS: Final = 30
_MOST_READ: Final = 20_000
TABS: Final = ("usage", "requests", "limits", "history")


@router.get(f"{PATH}/{{client_id}}")
async def show(request: Request, ctx: Context, client_id: str) -> Response:
    record = record_of(ctx, client_id)
    now_s = ctx.clock.wall_s()
    tab = request.query_params.get("tab", "usage")
    tab = tab if tab in TABS else "usage"
    groups = ctx.keys.groups
    used, own = await asyncio.gather(ctx.last_use.of([record.id]), ctx.tally.of_many([record]))
    budget = tightest(own.get(record.id, ()))
    share = 0.0 if budget is None or not budget.size_nano else budget.used_nano / budget.size_nano
    values: dict[str, Any] = {
        "record": record,
        "tab": tab,
        "tabs": TABS,
        "standing": tab_of(record, now_s, used=record.id in used, share=share),
        "used_s": used.get(record.id),
        "budget": budget,
        "pace": pace(budget, now_s),
        "group": groups.get(record.group),
        "words": [words_of(limit, now_s) for limit in record.limits],
        "standings": await ctx.tally.standings(record, groups.get(record.group), groups.get(GATEWAY_GROUP)),
        "old_secrets": [one for one in record.old_secrets if one.until_s > now_s],
    }
    match tab:
        case "requests":
            values["lines"] = (await ctx.ledger.page(Filter(client_id=record.id), size=_MOST_CALLS)).lines
            values["names"] = {key.id: key.label or key.masked for key in ctx.keys.openrouter_keys.values()}
        case "history":
            values["deeds"] = await deeds_on(ctx, record.id)
        case "usage":
            values |= await _usage(ctx, record, now_s)
    return page(request, "client_key.html", values)


async def _usage(ctx: PanelContext, record: ClientKey, now_s: float) -> dict[str, Any]:
    only = {Dimension.CLIENT: (record.id,)}
    midnight_s = now_s - now_s % _DAY_S + _DAY_S
    days, week, minutes, models = await asyncio.gather(
        ctx.insight.answer(
            Query(since_s=midnight_s - _WEEKS_S, until_s=midnight_s, step=Step.DAY, where=only), stale_s=_STALE_S
        ),
        ctx.insight.answer(
            Query(since_s=now_s - 28 * _DAY_S, until_s=now_s, step=Step.HOUR, where=only), stale_s=_STALE_S
        ),
        ctx.insight.answer(Query(since_s=now_s - 3600, until_s=now_s, step=Step.MINUTE, where=only), stale_s=_STALE_S),
        ctx.insight.answer(
            Query(since_s=now_s - 30 * _DAY_S, until_s=now_s, by=(Dimension.MODEL,), where=only, top=6, compare=True),
            stale_s=_STALE_S,
        ),
    )
    rate = next(
        (one for one in record.limits if one.unit is Unit.REQUESTS and one.span is Span.MINUTE and not one.models), None
    )
    return {
        "total": models.total,
        "before": models.before,
        "days": list(zip(days.starts_s, (one.cost_nano for one in days.series), strict=True)),
        "hours": [[one.requests for one in day] for day in hour_of_week(week)],
        "minute_starts": minutes.starts_s,
        "served": [one.served + one.rescued + one.failed + one.left for one in minutes.series],
        "refused": [one.refused for one in minutes.series],
        "rate": None if rate is None else rate.size_at(now_s),
        "models": models.rows,
    }


def pace(budget: Standing | None, now_s: float) -> float | None:
    """When a budget that begins anew is used up at the rate of its span until now; None where it lasts."""
    if budget is None or budget.resets_at is None or budget.used_nano <= 0:
        return None
    began_s = _began(budget.limit.span, now_s)
    rate = budget.used_nano / max(1.0, now_s - began_s)
    ends_s = now_s + max(0, budget.size_nano - budget.used_nano) / rate
    return ends_s if ends_s < budget.resets_at else None


def _began(span: Span, now_s: float) -> float:
    today = datetime.fromtimestamp(now_s, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if span is Span.WEEK:
        return today.timestamp() - today.weekday() * _DAY_S
    return (today.replace(day=1) if span is Span.MONTH else today).timestamp()


async def deeds_on(ctx: PanelContext, subject: str) -> list[Noted]:
    """The newest deeds on one record."""
    found: list[Noted] = []
    read = 0
    async with aclosing(ctx.keys.audit.entries()) as entries:
        async for noted in entries:
            read += 1
            if noted.deed is not None and noted.deed.id == subject:
                found.append(noted)
            if len(found) == _MOST_DEEDS or read == _MOST_READ:
                break
    return found
