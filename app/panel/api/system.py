"""`/admin/api/system`: how the gateway feels, how its books compare, and what is switched while it runs."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app import __version__
from app.models.books import Comparison
from app.panel.api.conventions import ApiProblem, Strict, instant
from app.panel.context import Context, PanelContext, SignedIn
from app.panel.problems import Problem
from app.services.export import figures_view
from app.services.insight_plan import Query as Usage
from app.services.selection import Strategy
from app.services.switches import Switch

router: Final = APIRouter(prefix="/admin/api", tags=["System"])
_DAY_S: Final = 86_400


class SystemOut(BaseModel):
    healthy: bool
    ready: bool
    reasons: list[str]
    warnings: list[str]
    version: str
    redis_ms: float | None
    openrouter_keys: dict[str, int]
    client_keys: int
    upstream_incident: bool
    strategy: str
    ledger_entries: int
    ledger_bytes: int


class StrategyBody(Strict):
    """null: back to POOL_STRATEGY."""

    strategy: Strategy | None = Field(strict=False)


class StrategyOut(BaseModel):
    strategy: str
    before: str
    switched: bool
    default: str
    choices: list[str]


@router.get("/system-status")
async def system_status(ctx: Context) -> SystemOut:
    """Redis, keys, warnings: what /health says, and more."""
    seen, extent = await ctx.look(), await ctx.ledger.extent()
    return SystemOut(
        healthy=seen.healthy,
        ready=seen.ready,
        reasons=list(seen.reasons),
        warnings=list(seen.warnings),
        version=__version__,
        redis_ms=seen.redis_ms,
        openrouter_keys=seen.openrouter_keys,
        client_keys=seen.client_keys,
        upstream_incident=seen.incident,
        strategy=_strategy(ctx),
        ledger_entries=extent.entries,
        ledger_bytes=extent.size_bytes,
    )


@router.get("/dashboard-data")
async def dashboard(ctx: Context) -> dict[str, Any]:
    """The figures of the last 24 hours, beside those of the day before."""
    now_s = ctx.clock.wall_s()
    answer = await ctx.insight.answer(Usage(since_s=now_s - _DAY_S, until_s=now_s, compare=True))
    seen = await ctx.look()
    return {
        "last_24h": figures_view(answer.total),
        "day_before": None if answer.before is None else figures_view(answer.before),
        "openrouter_keys": seen.openrouter_keys,
        "client_keys": seen.client_keys,
        "in_flight": sum(ctx.pool.in_flight().values()),
    }


@router.get("/strategy")
async def get_strategy(ctx: Context) -> StrategyOut:
    """How the next OpenRouter key is chosen."""
    return _strategy_out(ctx, _strategy(ctx))


@router.put("/strategy")
async def set_strategy(body: StrategyBody, ctx: Context, person: SignedIn) -> StrategyOut:
    """Switches it, in all workers and at once."""
    before = _strategy(ctx)
    await ctx.switches.set(Switch.STRATEGY, body.strategy, person.by)
    return _strategy_out(ctx, before)


def _strategy(ctx: PanelContext) -> str:
    return ctx.switches.get(Switch.STRATEGY) or ctx.settings.pool_strategy


def _strategy_out(ctx: PanelContext, before: str) -> StrategyOut:
    return StrategyOut(
        strategy=_strategy(ctx),
        before=before,
        switched=ctx.switches.get(Switch.STRATEGY) is not None,
        default=ctx.settings.pool_strategy,
        choices=list(Strategy),
    )


@router.post("/system/cleanup")
async def clean_up(ctx: Context) -> dict[str, int]:
    """Forgets what is too old in the ledger at once, instead of within seconds. Marks of keys end by themselves."""
    return {"ledger_entries_forgotten": await ctx.ledger.trim()}


@router.get("/reconciliation/{day}")
async def get_reconciliation(day: date, ctx: Context) -> list[dict[str, Any]]:
    """How the books compared with OpenRouter's, for each key, when they were last compared for that UTC day."""
    return [_comparison(one) for one in await ctx.reconciliation.stored(day)]


@router.post("/reconciliation/{day}")
async def reconcile(day: date, ctx: Context) -> list[dict[str, Any]]:
    """Compares now. Only the last 30 days can be."""
    today = datetime.fromtimestamp(ctx.clock.wall_s(), UTC).date()
    if not today - timedelta(days=30) <= day <= today:
        raise ApiProblem(
            Problem(422, "invalid", "OpenRouter tells of the last 30 days only.", errors=(("day", "too far"),))
        )
    return [_comparison(one) for one in await ctx.reconciliation.run(day)]


def _comparison(one: Comparison) -> dict[str, Any]:
    return {
        "day": one.day,
        "key_id": one.key_id,
        "finding": one.finding.value,
        "own_nano": one.own_nano,
        "theirs_nano": one.theirs_nano,
        "unknown_nano": one.unknown_nano,
        "source": one.source,
        "at": instant(one.at_s),
    }
