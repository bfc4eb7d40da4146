"""The first page: how calls go, what they cost, how the keys feel, what to look at. Asks each thing once."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from app.models.alerts import ActiveAlert, AlertKind
from app.models.keys import KeyState
from app.panel.attention import NOTES, BudgetUse, Facts, notices, weak_secrets
from app.panel.context import Context, PanelContext
from app.panel.entry import form_of
from app.panel.openrouter_rows import KeyRow, rows
from app.panel.openrouter_traffic import traffic, troubles_of
from app.panel.plots import moments
from app.panel.render import go, page
from app.panel.usage_view import query_of, wanted_of
from app.services.alert_rules import place_of
from app.services.cells import Step, short_key
from app.services.insight_plan import Answer, Dimension, Order, Query, Row
from app.services.key_picture import KeyPicture, Standing, key_pictures
from app.services.ledger_filter import Filter
from app.services.strips import Strips

router: Final = APIRouter()

PERIODS: Final = ("1h", "24h", "7d", "30d")
_USUAL: Final = "24h"
_STALE_S: Final = 2.0
_MOST_KEYS: Final = 20
_NEWEST: Final = 200
"""So many of the newest calls are looked through for trouble."""
_MOST_TOP: Final = 5
_MOST_BUDGETS: Final = 8
_YEAR_S: Final = 31_536_000
_ASIDE: Final = "aside"
_WORST: Final = (
    Standing.DEAD, Standing.SPENT, Standing.CHECK, Standing.COOL, Standing.PARTLY, Standing.READY, Standing.DISABLED,
)  # fmt: skip


@router.get("/admin")
@router.get("/admin/", include_in_schema=False)
async def show(request: Request, ctx: Context) -> Response:
    period = request.query_params.get("period", _USUAL)
    period = period if period in PERIODS else _USUAL
    alone = request.headers.get("hx-request-type") == "partial"
    part = request.query_params.get("part", "") if alone else ""
    values: dict[str, Any] = {"period": period, "periods": PERIODS}
    if part == "figures":
        # Asked for because calls came: they must be in it, for nobody says it twice.
        values |= await _figures(ctx, period, 0.0)
    elif part == "pool":
        values |= await _pool(request, ctx) | {"steps": None, "alone": True}
    else:
        part = "all"
        # A page that waits for its first call asks for its parts all together: what has just come must be in them.
        asked = _figures(ctx, period, 0.0 if alone else _STALE_S)
        figures, pool, newest = await asyncio.gather(asked, _pool(request, ctx), ctx.ledger.newest())
        values |= figures | pool | {"alone": False}
        values["steps"] = None if newest != "0-0" or figures["now"].requests else _first_steps(request, ctx)
    return page(request, "overview.html", values, part=part)


@router.post("/admin/aside")
async def put_aside(request: Request) -> Response:
    """Somebody has read a note. Kept in their browser, like what they prefer."""
    response = go("/admin")
    kind = (await form_of(request)).get("kind", "")
    if kind in NOTES:
        noted = sorted({*_aside(request), kind})
        secure = bool(getattr(request.state, "secure", False))
        response.set_cookie(
            _ASIDE, " ".join(noted), max_age=_YEAR_S, path="/", httponly=True, secure=secure, samesite="strict"
        )
    return response


def _aside(request: Request) -> set[str]:
    return set(request.cookies.get(_ASIDE, "").split()) & NOTES


# ---- figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """What happened in a period, beside as long a time before it."""

    requests: int
    requests_before: float
    worked: int
    rescued: int
    tried: int
    """How many calls ended for no reason of the caller's."""
    cost_nano: int
    cost_before: float
    input_tokens: int
    output_tokens: int
    tokens_before: float
    p95_ms: float | None
    p95_before: float
    added_ms: float | None


def headline(answer: Answer, now_s: float) -> Headline:
    """The last step has only begun: of the period before only as much counts as has passed of this one."""
    now, before = answer.total, answer.before
    passed = min(1.0, max(0.0, now_s - answer.since_s) / (answer.until_s - answer.since_s))
    return Headline(
        requests=now.requests,
        requests_before=before.requests * passed if before else 0.0,
        worked=now.served + now.rescued,
        rescued=now.rescued,
        tried=now.served + now.rescued + now.failed,
        cost_nano=now.cost_nano,
        cost_before=before.cost_nano * passed if before else 0.0,
        input_tokens=now.input_tokens,
        output_tokens=now.output_tokens,
        tokens_before=(before.input_tokens + before.output_tokens) * passed if before else 0.0,
        p95_ms=answer.spans.first_token.p95_ms if answer.spans.first_token else None,
        p95_before=answer.spans_before.first_token.p95_ms if answer.spans_before.first_token else 0.0,
        added_ms=now.overhead_us / now.requests / 1000 if now.requests else None,
    )


@dataclass(frozen=True, slots=True)
class Top:
    """One of the first of a ranking; `href` is empty for the rest."""

    name: str
    href: str
    requests: int
    tokens: int
    cost_nano: int


def tops(found: Iterable[Row], names: dict[str, str], path: str, other: str) -> list[Top]:
    """`names` by value; what has no name is called by its value."""
    told = []
    for row in found:
        value, own = row.values[0], row.figures
        named = value not in ("", other)
        told.append(
            Top(
                names.get(value, value) if named else value,
                path.format(value) if named else "",
                own.requests,
                own.input_tokens + own.output_tokens,
                own.cost_nano,
            )
        )
    return told


async def _figures(ctx: PanelContext, period: str, stale_s: float = _STALE_S) -> dict[str, Any]:
    now_s = ctx.clock.wall_s()
    # As the usage page asks, which the plots lead to: both tell the same.
    wanted = wanted_of({"period": period}, now_s)
    told = await ctx.insight.answer(query_of(wanted, compare=True), stale_s=stale_s)
    order = Order.COST if told.total.cost_nano else Order.REQUESTS

    def ranked(dimension: Dimension) -> Query:
        return msgspec.structs.replace(query_of(wanted, (dimension,), top=_MOST_TOP), order=order)

    models, clients = (
        await asyncio.gather(
            ctx.insight.answer(ranked(Dimension.MODEL), stale_s=_STALE_S),
            ctx.insight.answer(ranked(Dimension.CLIENT), stale_s=_STALE_S),
        )
        if told.total.requests
        else (None, None)
    )
    return {
        "now": headline(told, now_s),
        "moments": moments(told),
        "by_cost": order is Order.COST,
        "models": _shown(models, {}, "/admin/usage?period=" + period + "&model={}"),
        "clients": _shown(clients, _client_names(ctx, clients), "/admin/client-keys/{}"),
    }


def _shown(answer: Answer | None, names: dict[str, str], path: str) -> list[Top]:
    return tops(answer.rows, names, path, "other") if answer is not None else []


def _client_names(ctx: PanelContext, answer: Answer | None) -> dict[str, str]:
    known = ctx.keys.client_keys
    ids = [row.values[0] for row in answer.rows] if answer is not None else []
    return {client_id: known[client_id].name for client_id in ids if client_id in known}


# ---- the pool, and what somebody should look at


async def _pool(request: Request, ctx: PanelContext) -> dict[str, Any]:
    now_s = ctx.clock.wall_s()
    records, facts = ctx.keys.openrouter_keys, ctx.facts.every
    pictures = key_pictures(records.values(), facts, ctx.marks.in_force(), ctx.facts.samples, now_s)
    worst = worst_first(pictures)
    chosen = rows(records, worst[:_MOST_KEYS], facts, ctx.pool.in_flight())
    health, shown, (alerts, budgets, weighed) = await asyncio.gather(
        ctx.look(), _with_traffic(ctx, chosen), _money(ctx)
    )
    session = getattr(request.state, "session", None)
    told = Facts(
        health=health,
        now_s=now_s,
        pictures=pictures,
        budgets=budgets,
        alerts=alerts,
        weighed=weighed,
        weak=weak_secrets(ctx.settings),
        secret_generated=not ctx.settings.session_secret_key.get_secret_value(),
        password_generated=session is not None and session.account.source == "generated",
        shared=ctx.pool.warning,
        put_aside=_aside(request),
    )
    return {"health": health, "notices": notices(told), "rows": shown, "keys_in_all": len(worst)}


async def _with_traffic(ctx: PanelContext, chosen: Sequence[KeyRow]) -> list[KeyRow]:
    """The few rows that are shown with their last hour, and what went wrong on them a moment ago."""
    if not chosen:
        return []
    now_s = ctx.clock.wall_s()
    hour = Query(since_s=now_s - 59 * 60, until_s=now_s, step=Step.MINUTE)
    every, minutes, newest = await asyncio.gather(
        ctx.insight.answer(hour, stale_s=_STALE_S),
        Strips(ctx.redis, ctx.clock).key_minutes(),
        ctx.ledger.page(Filter(), size=_NEWEST),
    )
    troubles = troubles_of(line.entry for line in newest.lines)
    of_all = every.total.requests
    return [
        dataclasses.replace(row, traffic=traffic(minutes.get(short_key(row.id), ()), {}, of_all, troubles.get(row.id)))
        for row in chosen
    ]


def worst_first(pictures: Iterable[KeyPicture]) -> list[KeyPicture]:
    """Keys that serve or should; among the healthy ones those that have the least credit left."""
    order = {standing: place for place, standing in enumerate(_WORST)}
    return sorted(
        (picture for picture in pictures if picture.standing in order),
        key=lambda picture: (order[picture.standing], _left(picture)),
    )


def _left(picture: KeyPicture) -> float:
    if picture.available_nano is None:
        return 1.0
    return picture.available_nano / picture.limit_nano if picture.limit_nano else 0.0


async def _money(ctx: PanelContext) -> tuple[Sequence[ActiveAlert], list[BudgetUse], Sequence[str]]:
    """What is due, and how far the budgets that some of the alerts spoke of are used up now. Two round trips."""
    board = await ctx.alerts.board()
    due = [alert.subject for alert in board.active if alert.kind is AlertKind.BUDGET]
    told = [alert.subject for alert in board.kept if alert.kind is AlertKind.BUDGET]
    subjects = list(dict.fromkeys((*due, *told)))[:_MOST_BUDGETS]
    found = await asyncio.gather(*(_budgets(ctx, subject) for subject in subjects))
    return board.active, [budget for some in found for budget in some], subjects


async def _budgets(ctx: PanelContext, subject: str) -> list[BudgetUse]:
    kind, _, name = subject.partition(":")
    client, group = ctx.keys.client_keys.get(name), ctx.keys.groups.get(name)
    terms = client if kind == "c" else group
    if terms is None or (client is not None and kind == "c" and client.state is not KeyState.ENABLED):
        return []
    standings = await ctx.tally.standings_of(subject, terms)
    return [
        BudgetUse(
            terms.name,
            place_of(subject),
            one.used_nano,
            one.size_nano,
            f"{AlertKind.BUDGET.value}:{subject}:{one.limit.id}",
        )
        for one in standings
        if not one.limit.shadow
    ]


# ---- the first run


@dataclass(frozen=True, slots=True)
class FirstSteps:
    """How far somebody has come with a new gateway."""

    openrouter_key: bool
    client_key: bool
    base_url: str


def _first_steps(request: Request, ctx: PanelContext) -> FirstSteps:
    origin = ctx.settings.public_url or getattr(request.state, "origin", "") or str(request.base_url).rstrip("/")
    clients = any(client.state is KeyState.ENABLED for client in ctx.keys.client_keys.values())
    return FirstSteps(bool(ctx.keys.openrouter_keys), clients, origin)
