"""`/admin/api/requests`: the ledger, call by call; found, paged and exported."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel
from starlette.responses import Response, StreamingResponse

from app.models.exchange import Outcome
from app.panel.api.callers import PROVED
from app.panel.api.conventions import ApiProblem, Id
from app.panel.context import Context, PanelContext, SignedIn
from app.panel.entry import Access
from app.panel.problems import Problem
from app.panel.requests_detail import looked_at
from app.services.export import csv_lines, jsonl, line_view
from app.services.ledger_filter import Filter, Line
from app.services.period import WORDS, PeriodError, period

router: Final = APIRouter(prefix="/admin/api/requests", tags=["Requests"])


class Form(StrEnum):
    JSONL = "jsonl"
    CSV = "csv"


class RequestsOut(BaseModel):
    """`next` is the place to go on from. `complete` is false where the search stopped before the page was full."""

    data: list[dict[str, Any]]
    next: str
    complete: bool


class BodyOut(BaseModel):
    """`asked_cut`, `answered_cut`: it was longer, and only its beginning is kept."""

    request_id: str
    asked: str
    answered: str
    asked_cut: bool
    answered_cut: bool


def _wanted(
    ctx: Context,
    words: Annotated[str, Query(alias="period", max_length=100, description=f"In UTC: {WORDS}.")] = "",
    client: Annotated[str, Query(max_length=200, description="A client's id.")] = "",
    group: Annotated[str, Query(max_length=200)] = "",
    key: Annotated[str, Query(max_length=200, description="The OpenRouter key that served or was tried.")] = "",
    model: Annotated[str, Query(max_length=200)] = "",
    provider: Annotated[str, Query(max_length=200)] = "",
    outcome: Outcome | None = None,
    status: Annotated[int, Query(ge=0, le=999)] = 0,
    stream: bool | None = None,
    min_ms: Annotated[float, Query(ge=0, le=1e12, allow_inf_nan=False)] = 0,
    min_nano: Annotated[int, Query(ge=0, le=10**18)] = 0,
    name: Annotated[str, Query(max_length=200, description="The id of a request, generation or entry.")] = "",
) -> Filter:
    """Raises ApiProblem."""
    try:
        since_s, until_s = period(words, ctx.clock.wall_s()) if words else (None, None)
    except PeriodError as error:
        raise ApiProblem(Problem(422, "invalid", str(error), errors=(("period", str(error)),))) from None
    return Filter(
        since_s=since_s,
        until_s=until_s,
        client_id=client,
        group_id=group,
        key_id=key,
        model=model,
        provider=provider,
        outcome=outcome or "",
        status=status,
        stream=stream,
        min_ms=min_ms,
        min_nano=min_nano,
        name=name,
    )


Wanted = Annotated[Filter, Depends(_wanted)]
Place = Annotated[str, Query(pattern=r"^([0-9]{1,19}-[0-9]{1,19})?$", description="`next` of the page before.")]


@router.get("")
async def list_requests(
    ctx: Context, wanted: Wanted, limit: Annotated[int, Query(ge=1, le=500)] = 100, after: Place = ""
) -> RequestsOut:
    """The calls, the newest first."""
    page = await ctx.ledger.page(wanted, before=after, size=limit)
    return RequestsOut(data=[_shown(line) for line in page.lines], next=page.older, complete=page.complete)


@router.get("/export", dependencies=[PROVED])
async def export_requests(
    ctx: Context, wanted: Wanted, form: Annotated[Form, Query(alias="format")] = Form.JSONL
) -> Response:
    """All of them, the oldest first, as they are read."""
    lines = ctx.ledger.lines(wanted)
    pieces, media_type = (csv_lines(lines), "text/csv") if form is Form.CSV else (jsonl(lines), "application/x-ndjson")
    headers = {"content-disposition": f'attachment; filename="requests.{form}"', "cache-control": "no-store"}
    return StreamingResponse(pieces, headers=headers, media_type=media_type)


@router.get("/{request_id}")
async def get_request(request_id: Id, ctx: Context) -> dict[str, Any]:
    """One call, by the id of the request, the generation or the entry."""
    return _shown(await _found(ctx, request_id))


@router.post("/{request_id}/body", dependencies=[PROVED])
async def read_body(request_id: Id, ctx: Context, access: Access, person: SignedIn) -> BodyOut:
    """What was said in a call, if it is kept. These are somebody's words: each look is in the audit before it is
    answered.
    """
    found = await looked_at(ctx, access, person, request_id)
    if found is None:
        raise ApiProblem(Problem(404, "not-found", "What was said in this call is not kept, or not any more."))
    entry, kept = found
    return BodyOut(
        request_id=entry.request_id,
        asked=kept.asked.decode("utf-8", "replace"),
        answered=kept.answered.decode("utf-8", "replace"),
        asked_cut=kept.asked_cut,
        answered_cut=kept.answered_cut,
    )


async def _found(ctx: PanelContext, name: str) -> Line:
    line = await ctx.ledger.find(name)
    if line is None:
        raise ApiProblem(Problem(404, "not-found", "The ledger has no such call.", "Only the last days are kept."))
    return line


def _shown(line: Line) -> dict[str, Any]:
    return {"place": line.place, **line_view(line)}
