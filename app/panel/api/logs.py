"""`/admin/api/logs`: the gateway's own log, as far as it is kept for people: warnings and errors by default."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from enum import StrEnum
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field
from starlette.responses import Response, StreamingResponse

from app.panel.api.callers import PROVED
from app.panel.api.conventions import ApiProblem, Strict
from app.panel.context import Context
from app.panel.problems import Problem
from app.services.log_filter import LEVELS, LogFilter, LogLine
from app.services.log_store import LogConfig
from app.services.spreadsheet import safe_cell

router: Final = APIRouter(prefix="/admin/api/logs", tags=["Logs"])
_PLACE: Final = r"^[0-9]{1,19}-[0-9]{1,19}$"
_BEFORE: Final = r"^([0-9]{1,19}-[0-9]{1,19})?$"


class Level(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class Form(StrEnum):
    JSON = "json"
    CSV = "csv"
    TXT = "txt"


class LineOut(BaseModel):
    id: str
    at: str
    level: str
    event: str
    module: str
    fields: dict[str, Any]


class LogPageOut(BaseModel):
    data: list[LineOut]
    next: str


class LogConfigBody(Strict):
    """Which lines are kept, how many and how long; the same in all workers within seconds."""

    level: Level = Field(Level.WARNING, strict=False)
    most: int = Field(20_000, ge=100, le=1_000_000)
    days: int = Field(14, ge=1, le=365)


class DeleteBody(Strict):
    ids: Annotated[list[Annotated[str, Field(pattern=_PLACE)]], Field(min_length=1, max_length=1000)]
    confirm: bool


def _wanted(
    level: Annotated[Level | None, Query(description="The least one.")] = None,
    module: Annotated[str, Query(max_length=200)] = "",
    request_id: Annotated[str, Query(max_length=200)] = "",
    client: Annotated[str, Query(alias="user_id", max_length=200, description="A client's id.")] = "",
    start: Annotated[
        float | None, Query(ge=0, le=1e11, allow_inf_nan=False, description="Seconds since the epoch.")
    ] = None,
    end: Annotated[float | None, Query(ge=0, le=1e11, allow_inf_nan=False)] = None,
    search: Annotated[str, Query(max_length=200)] = "",
) -> LogFilter:
    return LogFilter(
        level=level or "",
        module=module,
        request_id=request_id,
        client=client,
        search=search,
        since_s=start,
        until_s=end,
    )


Wanted = Annotated[LogFilter, Depends(_wanted)]
Before = Annotated[str, Query(pattern=_BEFORE, description="`next` of the page before.")]


@router.get("")
async def list_lines(
    ctx: Context,
    wanted: Wanted,
    page_size: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Before = "",
    sort: Annotated[str, Query(pattern="^(desc|asc)$")] = "desc",
) -> LogPageOut:
    """The lines, the newest first."""
    found = await ctx.logs.page(wanted, before=after, size=page_size, oldest_first=sort == "asc")
    return LogPageOut(data=[_shown(line) for line in found.lines], next=found.older)


@router.get("/export", dependencies=[PROVED])
async def export_lines(
    ctx: Context,
    wanted: Wanted,
    form: Annotated[Form, Query(alias="format")] = Form.JSON,
    max_records: Annotated[int, Query(ge=1, le=100_000)] = 10_000,
) -> Response:
    """The lines that fit, the oldest first; json is one object a line."""
    media_types = {Form.JSON: "application/x-ndjson", Form.CSV: "text/csv", Form.TXT: "text/plain"}
    pieces = _written(ctx.logs.lines(wanted), form, max_records)
    headers = {"content-disposition": f'attachment; filename="log.{form}"', "cache-control": "no-store"}
    return StreamingResponse(pieces, headers=headers, media_type=media_types[form])


@router.get("/stats")
async def count_lines(ctx: Context, days: Annotated[int, Query(ge=1, le=90)] = 7) -> dict[str, Any]:
    """Lines by day, by level and by module."""
    by_day = await ctx.logs.stats(days)
    levels: dict[str, int] = {}
    modules: dict[str, int] = {}
    for counts in by_day.values():
        for kind, count in counts.items():
            level, _, module = kind.partition(" ")
            levels[level] = levels.get(level, 0) + count
            modules[module] = modules.get(module, 0) + count
    daily = {day: sum(counts.values()) for day, counts in by_day.items()}
    return {"total": sum(daily.values()), "days": daily, "levels": levels, "modules": modules}


@router.get("/modules")
async def list_modules(ctx: Context) -> list[str]:
    """Those that have written a line in the last 90 days."""
    by_day = await ctx.logs.stats(90)
    return sorted({kind.partition(" ")[2] for counts in by_day.values() for kind in counts})


@router.get("/levels")
async def list_levels() -> list[str]:
    return list(LEVELS)


@router.get("/config")
async def get_config(ctx: Context) -> LogConfigBody:
    return _config_out(ctx.logs.config)


@router.post("/config")
async def set_config(body: LogConfigBody, ctx: Context) -> LogConfigBody:
    await ctx.logs.configure(LogConfig(level=body.level, most=body.most, days=body.days))
    return _config_out(ctx.logs.config)


@router.post("/cleanup")
async def clean_up(ctx: Context) -> dict[str, int]:
    """Forgets what is older than it is to be kept, at once."""
    return {"deleted": await ctx.logs.forget_old()}


@router.get("/live")
async def follow(ctx: Context, wanted: Wanted) -> Response:
    """The lines as they come, as server-sent events. (A WebSocket would need a second way in through every proxy.)"""
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_events(ctx.logs.follow(wanted)), headers=headers, media_type="text/event-stream")


@router.delete("/bulk")
async def delete_lines(body: DeleteBody, ctx: Context) -> dict[str, int]:
    """Takes `confirm: true`."""
    if not body.confirm:
        raise ApiProblem(Problem(422, "invalid", "Nothing was confirmed.", errors=(("confirm", "must be true"),)))
    return {"deleted": await ctx.logs.delete(body.ids)}


@router.get("/{log_id}")
async def get_line(log_id: str, ctx: Context) -> LineOut:
    line = await ctx.logs.find(_place(log_id))
    if line is None:
        raise _missing()
    return _shown(line)


@router.delete("/{log_id}", status_code=204)
async def delete_line(log_id: str, ctx: Context) -> None:
    if not await ctx.logs.delete([_place(log_id)]):
        raise _missing()


def _place(text: str) -> str:
    first, dash, second = text.partition("-")
    if not (dash and first.isdecimal() and second.isdecimal() and text.isascii() and max(len(first), len(second)) < 20):
        raise _missing()
    return text


def _missing() -> ApiProblem:
    return ApiProblem(Problem(404, "not-found", "The kept log has no such line."))


def _shown(line: LogLine) -> LineOut:
    return LineOut(id=line.id, at=line.at, level=line.level, event=line.event, module=line.module, fields=line.fields)


def _config_out(config: LogConfig) -> LogConfigBody:
    return LogConfigBody(level=Level(config.level), most=config.most, days=config.days)


async def _written(lines: AsyncIterator[LogLine], form: Form, most: int) -> AsyncIterator[bytes]:
    if form is Form.CSV:
        yield _row(["at", "level", "module", "event", "fields"])
    async for line in lines:
        fields = msgspec.json.encode(line.fields).decode()
        match form:
            case Form.CSV:
                yield _row([line.at, line.level, line.module, line.event, fields])
            case Form.TXT:
                yield f"{line.at} {line.level:8} {line.module}: {line.event} {fields}\n".encode()
            case Form.JSON:
                yield msgspec.json.encode(line) + b"\n"
        most -= 1
        if not most:
            return


def _row(values: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow([safe_cell(value) for value in values])
    return text.getvalue().encode()


async def _events(lines: AsyncIterator[LogLine]) -> AsyncIterator[bytes]:
    yield b": the log follows\n\n"
    async for line in lines:
        yield b"event: line\ndata: " + msgspec.json.encode(line) + b"\n\n"
