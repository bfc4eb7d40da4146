"""The page of the audit: who did what to which record, found, exported, and proved to be whole."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from app.panel.audit_rows import changes, page_of, who
from app.panel.context import Context, PanelContext
from app.panel.entry import Access, ask_again
from app.panel.problems import Problem
from app.panel.render import page, say
from app.services.audit import Noted
from app.services.period import PeriodError, period
from app.services.spreadsheet import safe_cell

router: Final = APIRouter(include_in_schema=False)
PATH: Final = "/admin/audit"
_SIZE: Final = 50
_MOST_READ: Final = 20_000
_NAMES: Final = ("deed", "kind", "subject", "who", "period")
_PLACE: Final = re.compile(r"[0-9]{1,19}-[0-9]{1,19}")
KINDS: Final = ("openrouter", "client", "group", "mark", "setting", "account", "session", "token", "request")


@dataclass(frozen=True, slots=True)
class Wanted:
    said: dict[str, str]
    since_s: float = 0.0
    until_s: float = float("inf")
    error: bool = False

    def url(self, path: str = PATH, **changes: str) -> str:
        said = {name: value for name, value in (self.said | changes).items() if value}
        return f"{path}?{urlencode(said)}" if said else path

    def fits(self, noted: Noted) -> bool:
        deed = noted.deed
        if deed is None:
            return not self.said
        said = self.said
        return (
            said.get("deed", "") in ("", deed.deed)
            and said.get("kind", "") in ("", deed.kind)
            and said.get("subject", "") in ("", deed.id, deed.name)
            and said.get("who", "").casefold() in deed.by.casefold()
            and self.since_s <= deed.at < self.until_s
        )


def wanted_of(query: Any, now_s: float) -> Wanted:
    said = {name: value.strip()[:200] for name in _NAMES if (value := query.get(name, "").strip())}
    if "period" not in said:
        return Wanted(said)
    try:
        return Wanted(said, *period(said["period"], now_s))
    except PeriodError:
        return Wanted(said, error=True)


async def _found(ctx: PanelContext, wanted: Wanted, before: str) -> tuple[list[Noted], str]:
    """A page of deeds, and the place to go on from."""
    found: list[Noted] = []
    read, last = 0, ""
    async with aclosing(ctx.keys.audit.entries(before)) as entries:
        async for noted in entries:
            read, last = read + 1, noted.id
            if wanted.fits(noted):
                found.append(noted)
            if len(found) == _SIZE or read == _MOST_READ:
                return found, last
            if noted.deed is not None and noted.deed.at < wanted.since_s - 60:
                break
    return found, ""


@router.get(PATH)
async def show(request: Request, ctx: Context) -> Response:
    wanted = wanted_of(request.query_params, ctx.clock.wall_s())
    before = request.query_params.get("before", "")
    found, older = await _found(ctx, wanted, before if _PLACE.fullmatch(before) else "")
    return page(request, "audit.html", _values(ctx, wanted, found) | {"older": older, "before": before, "check": None})


def _values(ctx: PanelContext, wanted: Wanted, found: list[Noted]) -> dict[str, Any]:
    days: dict[str, int] = {}
    for noted in found:
        if noted.deed is not None:
            day = str(datetime.fromtimestamp(noted.deed.at, UTC).date())
            days[day] = days.get(day, 0) + 1
    return {
        "wanted": wanted,
        "found": found,
        "days": list(reversed(days.items())),
        "kinds": KINDS,
        "who": who,
        "page_of": page_of,
        "changes": changes,
    }


@router.post(f"{PATH}/verify")
async def verify(request: Request, ctx: Context) -> Response:
    """Reads all of it, page by page."""
    check = await ctx.keys.audit.verify()
    wanted = wanted_of({}, ctx.clock.wall_s())
    found, older = await _found(ctx, wanted, "")
    return page(request, "audit.html", _values(ctx, wanted, found) | {"older": older, "before": "", "check": check})


@router.get(f"{PATH}/export")
async def export(request: Request, ctx: Context, access: Access) -> Response:
    """Everything that fits, the newest first. Asked for once more: it leaves the house."""
    if (again := ask_again(request, access)) is not None:
        return again
    wanted = wanted_of(request.query_params, ctx.clock.wall_s())
    form = "csv" if request.query_params.get("format") == "csv" else "jsonl"
    headers = {"content-disposition": f'attachment; filename="audit.{form}"', "cache-control": "no-store"}
    media_type = "text/csv" if form == "csv" else "application/x-ndjson"
    return StreamingResponse(_written(ctx, wanted, form), headers=headers, media_type=media_type)


async def _written(ctx: PanelContext, wanted: Wanted, form: str) -> AsyncIterator[bytes]:
    columns = ("at", "by", "deed", "kind", "id", "name", "before", "after")
    if form == "csv":
        yield _row(["entry", *columns])
    async with aclosing(ctx.keys.audit.entries()) as entries:
        async for noted in entries:
            if noted.deed is None or not wanted.fits(noted):
                continue
            fields = {name: getattr(noted.deed, name) for name in columns}
            if form == "csv":
                yield _row([noted.id, *fields.values()])
            else:
                yield msgspec.json.encode({"entry": noted.id, **fields}) + b"\n"


def _row(values: list[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow([safe_cell(value) for value in values])
    return text.getvalue().encode()


@router.get(f"{PATH}/{{entry}}")
async def show_one(request: Request, ctx: Context, entry: str) -> Response:
    """One deed, whole."""
    if _PLACE.fullmatch(entry):
        first, _, second = entry.partition("-")
        async with aclosing(ctx.keys.audit.entries(f"{first}-{int(second) + 1}")) as entries:
            async for noted in entries:
                if noted.id == entry and noted.deed is not None:
                    values = {"noted": noted, "deed": noted.deed, "who": who, "page_of": page_of, "changes": changes}
                    return page(request, "audit_deed.html", values)
                break
    problem = Problem(404, "not-found", say(request, "There is no such deed in the audit."))
    return page(request, "problem.html", {"problem": problem}, status=404)
