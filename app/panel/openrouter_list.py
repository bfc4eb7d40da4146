"""The page of all OpenRouter keys, and the same as CSV. Shows; changes nothing."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.models.keys import OpenRouterKey
from app.panel.context import Context, PanelContext
from app.panel.entry import Access, ask_again
from app.panel.openrouter_forms import NEW_FIELDS
from app.panel.openrouter_rows import PATH, KeyRow, Tab, listing, rows, wanted_of
from app.panel.openrouter_traffic import with_traffic
from app.panel.render import page
from app.services.export import dollars, instant
from app.services.key_names import NoSuchKey
from app.services.key_picture import accounts_warning, key_pictures
from app.services.selection import Strategy
from app.services.switches import Switch

router: Final = APIRouter(include_in_schema=False)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_SHORTEST: Final = 12
_COLUMNS: Final = (
    "id", "label", "key", "state", "kind", "account", "tags", "weight", "tier", "limit_usd", "limit_reset", "left_usd",
    "used_usd", "in_flight", "resting_because", "until", "added", "note",
)  # fmt: skip


def all_rows(ctx: PanelContext) -> list[KeyRow]:
    """Every key as it stands now."""
    records, facts = ctx.keys.openrouter_keys, ctx.facts.every
    pictures = key_pictures(records.values(), facts, ctx.marks.in_force(), ctx.facts.samples, ctx.clock.wall_s())
    return rows(records, pictures, facts, ctx.pool.in_flight())


def record_of(ctx: PanelContext, key_id: str) -> OpenRouterKey:
    """By its id or the beginning of it, and no other name: a label may be anything. Raises NoSuchKey."""
    found = ctx.keys.openrouter_keys.get(key_id)
    if found is not None:
        return found
    some = [record for record in ctx.keys.openrouter_keys.values() if record.id.startswith(key_id)]
    if len(some) != 1 or len(key_id) < _SHORTEST:
        raise NoSuchKey("There is no OpenRouter key of that id.")
    return some[0]


def empty_form() -> dict[str, Any]:
    """What the form for a new key shows at first."""
    return {"typed": dict.fromkeys(NEW_FIELDS, ""), "errors": {}}


@router.get(PATH)
async def show(request: Request, ctx: Context) -> Response:
    every = all_rows(ctx)
    wanted = wanted_of(request.query_params)
    found = listing(every, wanted)
    values: dict[str, Any] = {
        "wanted": wanted,
        "found": found,
        "rows": await with_traffic(ctx, found.rows),
        "tabs": tuple(Tab),
        "warning": accounts_warning(row.picture for row in every),
        "incident": ctx.rotation.incident,
        "strategy": ctx.pool.strategy,
        "strategies": tuple(Strategy),
        "strategy_switched": ctx.switches.get(Switch.STRATEGY) is not None,
        "has_admin": any(row.tab is Tab.MANAGEMENT for row in every),
        "workers": ctx.settings.workers,
        **empty_form(),
    }
    return page(request, "openrouter_list.html", values, part="rows")


@router.get(f"{PATH}/export")
async def export(request: Request, ctx: Context, access: Access) -> Response:
    """All rows of the list as it is filtered and sorted, on all its pages. Never a secret."""
    if (again := ask_again(request, access)) is not None:
        return again
    found = listing(all_rows(ctx), wanted_of(request.query_params)).found
    return Response(
        csv_of(found),
        media_type="text/csv; charset=utf-8",
        headers={
            "content-disposition": 'attachment; filename="openrouter-keys.csv"',
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
        },
    )


def csv_of(some: Iterable[KeyRow]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    for row in some:
        writer.writerow([_defused(value) for value in _cells(row)])
    return text.getvalue()


def _cells(row: KeyRow) -> tuple[object, ...]:
    record, picture = row.record, row.picture
    return (
        record.id, record.label, record.masked, picture.standing.value, record.kind.value, picture.account,
        " ".join(record.tags), record.weight, record.tier, _usd(picture.limit_nano), picture.limit_reset,
        _usd(picture.available_nano), _usd(picture.usage_nano), row.in_flight, row.mark.reason if row.mark else "",
        instant(row.until_s) if row.until_s else "", instant(record.added_at), record.note,
    )  # fmt: skip


def _usd(nano: int | None) -> str:
    return "" if nano is None else dollars(nano)


def _defused(value: object) -> object:
    """A text that a spreadsheet would take for a formula is shown as the text that it is."""
    if isinstance(value, str) and value.startswith(_FORMULA) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value
