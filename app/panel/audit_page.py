"""The page of the audit: who did what to which record, found, exported, and proved to be whole."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from app.panel.audit_rows import changes, diff, page_of, strip, who
from app.panel.context import Context, PanelContext
from app.panel.entry import Access, ask_again
from app.panel.problems import Problem
from app.panel.render import go, page, say
from app.services.audit import Noted
from app.services.audit_chain import Deed
from app.services.period import PeriodError, period
from app.services.spreadsheet import safe_cell

router: Final = APIRouter(include_in_schema=False)
PATH: Final = "/admin/audit"
SIZE: Final = 50
_MOST_READ: Final = 20_000
"""Entries looked at for one page: a filter that fits nothing must not read the whole audit in one go."""
_LATE_S: Final = 60
"""So far an entry's own time may lie from the time that Redis noted it at: workers' clocks differ."""
_PATIENCE_S: Final = 1.5
_NAMES: Final = ("deed", "kind", "subject", "who", "period")
_PLACE: Final = re.compile(r"[0-9]{1,15}-[0-9]{1,19}")
_COLUMNS: Final = ("at", "by", "deed", "kind", "id", "name", "before", "after")
KINDS: Final = (
    "openrouter", "client", "group", "mark", "setting", "account", "session", "token", "request", "gateway",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the address asks for. `said`: as it was written; `error`: the period names none."""

    said: Mapping[str, str]
    since_s: float = 0.0
    until_s: float = float("inf")
    error: bool = False

    def url(self, path: str = PATH, **changed: str) -> str:
        said = {name: value for name, value in {**self.said, **changed}.items() if value}
        return f"{path}?{urlencode(said)}" if said else path

    def fits(self, noted: Noted) -> bool:
        deed = noted.deed
        if deed is None:
            return not self.said
        said = self.said
        return (
            said.get("deed", "").casefold() in ("", deed.deed.casefold())
            and said.get("kind", "") in ("", deed.kind)
            and said.get("who", "").casefold() in deed.by.casefold()
            and self._names(deed)
            and self.since_s <= deed.at < self.until_s
        )

    def _names(self, deed: Deed) -> bool:
        """By the whole id or name, or the beginning of a long id, as pages show it."""
        subject = self.said.get("subject", "")
        return subject in ("", deed.id, deed.name) or (len(subject) >= 12 and deed.id.startswith(subject))


def wanted_of(query: Mapping[str, str], now_s: float) -> Wanted:
    said = {name: value for name in _NAMES if (value := query.get(name, "").strip()[:200])}
    if "period" not in said:
        return Wanted(said)
    try:
        return Wanted(said, *period(said["period"], now_s))
    except PeriodError:
        return Wanted(said, error=True)


@dataclass(frozen=True, slots=True)
class Found:
    """A page of deeds. `older`: the place to go on from; not `complete`: the search stopped before its end."""

    deeds: list[Noted]
    older: str = ""
    complete: bool = True


async def find(ctx: PanelContext, wanted: Wanted, before: str) -> Found:
    """Raises RedisUnavailable."""
    found: list[Noted] = []
    read = 0
    # The places are times: a period that lies back is begun at its end.
    if not before and wanted.until_s != float("inf"):
        before = f"{int((wanted.until_s + _LATE_S) * 1000)}-0"
    async with aclosing(ctx.keys.audit.entries(before)) as entries:
        async for noted in entries:
            if int(noted.id.partition("-")[0]) < (wanted.since_s - _LATE_S) * 1000:
                break
            if wanted.fits(noted):
                if len(found) == SIZE:
                    return Found(found, found[-1].id)
                found.append(noted)
            read += 1
            if read == _MOST_READ:
                return Found(found, noted.id, complete=False)
    return Found(found)


@router.get(PATH)
async def show(request: Request, ctx: Context) -> Response:
    wanted = wanted_of(request.query_params, ctx.clock.wall_s())
    before = request.query_params.get("before", "")
    before = before if _PLACE.fullmatch(before) else ""
    found = await find(ctx, wanted, before)
    values: dict[str, Any] = {
        "wanted": wanted,
        "found": found,
        "before": before,
        "days": strip(await ctx.audit_days.counts()),
        "kinds": KINDS,
        "deed_words": sorted({noted.deed.deed for noted in found.deeds if noted.deed is not None}),
        "checked": await ctx.audit_checks.last(),
        "checking": await ctx.audit_checks.running(),
        "who": who,
        "page_of": page_of,
        "changes": changes,
    }
    return page(request, "audit.html", values, part="check")


@router.post(f"{PATH}/verify")
async def verify(request: Request, ctx: Context) -> Response:
    """Reads all of it. The page tells how far a long check is."""
    await ctx.audit_checks.start(patience_s=_PATIENCE_S)
    return go(f"{PATH}#check")


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
    if form == "csv":
        yield _row(["entry", *_COLUMNS])
    async with aclosing(ctx.keys.audit.entries()) as entries:
        async for noted in entries:
            if noted.deed is None or not wanted.fits(noted):
                continue
            fields = {name: getattr(noted.deed, name) for name in _COLUMNS}
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
    """One deed, whole: a page, and the same in a drawer of the list."""
    noted = await _noted(ctx, entry) if _PLACE.fullmatch(entry) else None
    if noted is None or noted.deed is None:
        problem = Problem(404, "not-found", say(request, "There is no such deed in the audit."))
        return page(request, "problem.html", {"problem": problem}, status=404)
    values = {
        "noted": noted,
        "deed": noted.deed,
        "who": who,
        "page_of": page_of,
        "changes": changes(noted.deed),
        "diff": diff(noted.deed),
        "in_drawer": request.headers.get("hx-request-type") == "partial",
    }
    return page(request, "audit_deed.html", values, part="deed")


async def _noted(ctx: PanelContext, entry: str) -> Noted | None:
    first, _, second = entry.partition("-")
    async with aclosing(ctx.keys.audit.entries(f"{first}-{min(int(second) + 1, 2**64 - 1)}")) as entries:
        async for noted in entries:
            return noted if noted.id == entry else None
    return None
