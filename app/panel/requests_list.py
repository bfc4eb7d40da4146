"""The page of single calls: which ones, when, how they ended; the newest first, and new ones as they come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from app.models.exchange import Outcome
from app.models.ledger import Entry
from app.panel.context import Context, PanelContext
from app.panel.entry import Access, ask_again
from app.panel.plots import Moment, moments
from app.panel.render import page
from app.panel.requests_address import PATH, PERIODS, Wanted, is_newer, place_of, spread, wanted_of
from app.panel.requests_story import TONES
from app.services.cells import Step
from app.services.export import csv_lines, jsonl
from app.services.insight_plan import Query
from app.services.ledger import Histogram, Page
from app.services.ledger_filter import Filter

router: Final = APIRouter(include_in_schema=False)
SIZE: Final = 50
_DAY_S: Final = 86_400.0
_STALE_S: Final = 2.0
_READ_FOR_NEWS: Final = 2000
"""Entries looked at when a page asks what came since: it asks again and again."""
_MOST_OFFERED: Final = 200
_TAIL: Final = 4


def wanted_by(request: Request, ctx: PanelContext) -> Wanted:
    return wanted_of(request.query_params, ctx.clock.wall_s(), lambda text: client_id(ctx, text))


def client_id(ctx: PanelContext, text: str) -> str:
    """Of the client that is meant by an id or a name."""
    if text in ctx.keys.client_keys:
        return text
    meant = text.casefold()
    return next((one.id for one in ctx.keys.client_keys.values() if one.name.casefold() == meant), "")


def names_of(ctx: PanelContext, entries: Iterable[Entry]) -> dict[str, str]:
    """What people call the clients and the keys of some calls. A key without a name is called by its end."""
    names = {}
    for entry in entries:
        if (client := ctx.keys.client_keys.get(entry.client_id)) is not None:
            names[client.id] = client.name
        for key_id in (entry.key_id, *(one.key_id for one in entry.tries)):
            if (key := ctx.keys.openrouter_keys.get(key_id)) is not None:
                names[key_id] = key.label or f"…{key.masked[-_TAIL:]}"
    return names


@router.get(PATH)
async def show(request: Request, ctx: Context) -> Response:
    wanted = wanted_by(request, ctx)
    if (newer := place_of(request.query_params.get("newer", ""))) or "newer" in request.query_params:
        return await _newer(request, ctx, wanted, newer)
    before = place_of(request.query_params.get("before", ""))
    found = await ctx.ledger.page(wanted.filter, before=before, size=SIZE)
    shown = spread(wanted.filter, ctx.clock.wall_s(), _DAY_S)
    steps, whole = await _steps(ctx, shown)
    keys = sorted(
        ((one.id[:16], one.label or one.masked) for one in ctx.keys.openrouter_keys.values()), key=lambda one: one[1]
    )
    values: dict[str, Any] = {
        **_rows(ctx, wanted, found),
        "older": found.older,
        "complete": found.complete,
        "before": before,
        "newest": found.lines[0].place if found.lines and not before else "0-0",
        "steps": steps,
        "whole": whole,
        "shown": shown,
        "periods": PERIODS,
        "outcomes": [one.value for one in Outcome],
        "key_names": keys[:_MOST_OFFERED],
        "extent": await ctx.ledger.extent(),
        "days": ctx.settings.ledger_days,
        "most": ctx.settings.ledger_entries,
    }
    return page(request, "requests.html", values)


async def _newer(request: Request, ctx: PanelContext, wanted: Wanted, place: str) -> Response:
    """Only the rows that came after a place, for a page that follows."""
    found = await ctx.ledger.page(wanted.filter, size=SIZE, most_read=_READ_FOR_NEWS)
    lines = tuple(line for line in found.lines if not place or is_newer(line.place, place))
    return page(request, "requests_rows.html", _rows(ctx, wanted, Page(lines)))


def _rows(ctx: PanelContext, wanted: Wanted, found: Page) -> dict[str, Any]:
    return {
        "wanted": wanted,
        "lines": found.lines,
        "names": names_of(ctx, (line.entry for line in found.lines)),
        "tones": TONES,
    }


async def _steps(ctx: PanelContext, shown: Filter) -> tuple[tuple[Moment, ...], bool]:
    """The calls over time by outcome, and whether all of them were looked at. Sums tell it of all calls together; of
    some, only the single calls do.
    """
    if shown.narrows:
        return histogram_steps(found := await ctx.ledger.histogram(shown)), found.complete
    since_s, until_s = shown.since_s or 0.0, shown.until_s or 1.0
    query = Query(since_s=since_s, until_s=until_s, step=_step(until_s - since_s))
    answer = await ctx.insight.answer(query, stale_s=_STALE_S)
    return moments(answer), True


def _step(length_s: float) -> Step | None:
    """As fine as bars can be told apart; None: as suits."""
    if length_s <= 7200:
        return Step.MINUTE
    if length_s <= 8 * _DAY_S:
        return Step.HOUR
    return Step.DAY if length_s <= 1000 * _DAY_S else None


def histogram_steps(found: Histogram) -> tuple[Moment, ...]:
    return tuple(
        Moment(
            found.since_s + place * found.bar_s,
            counts.get("served", 0),
            counts.get("rescued", 0),
            counts.get("failed", 0),
            counts.get("refused", 0) + counts.get("left", 0),
        )
        for place, counts in enumerate(found.counts)
    )


_FORMS: Final[Mapping[str, str]] = {"csv": "text/csv", "jsonl": "application/x-ndjson"}


@router.get(f"{PATH}/export")
async def export(request: Request, ctx: Context, access: Access) -> Response:
    """All that fit, the oldest first, as they are read. Asked for once more: it leaves the house."""
    if (again := ask_again(request, access)) is not None:
        return again
    lines = ctx.ledger.lines(wanted_by(request, ctx).filter)
    form = request.query_params.get("format", "jsonl")
    form = form if form in _FORMS else "jsonl"
    headers = {"content-disposition": f'attachment; filename="requests.{form}"', "cache-control": "no-store"}
    pieces = csv_lines(lines) if form == "csv" else jsonl(lines)
    return StreamingResponse(pieces, headers=headers, media_type=_FORMS[form])
