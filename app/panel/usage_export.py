"""The view of the usage page as a file: its groups, or without any its line over time. CSV, or a JSON object a line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from app.panel.context import Context
from app.panel.entry import Access, ask_again
from app.panel.usage import ask, names_of
from app.panel.usage_view import PATH, query_of, wanted_of
from app.services.export import figures_view, instant, usage_csv
from app.services.insight_plan import Answer

router: Final = APIRouter(include_in_schema=False)
_MOST_ROWS: Final = 1000
_PIECE: Final = 64 * 1024


@router.get(f"{PATH}/export")
async def export(request: Request, ctx: Context, access: Access) -> Response:
    """Every row of the breakdown as it is filtered."""
    if (again := ask_again(request, access)) is not None:
        return again
    wanted = wanted_of(request.query_params, ctx.clock.wall_s())
    answer = await ask(ctx, query_of(wanted, wanted.by, top=_MOST_ROWS))
    names = names_of(ctx, wanted, [answer])
    plain = request.query_params.get("format") == "jsonl"
    headers = {
        "content-disposition": f'attachment; filename="usage.{"jsonl" if plain else "csv"}"',
        "cache-control": "no-store",
    }
    if plain:
        return StreamingResponse(usage_jsonl(answer, names), headers=headers, media_type="application/x-ndjson")
    return StreamingResponse(usage_csv(answer, names), headers=headers, media_type="text/csv")


def usage_jsonl(answer: Answer, names: Mapping[str, str]) -> Iterator[bytes]:
    """In pieces."""
    piece = bytearray()
    for row in _rows(answer, names):
        piece += msgspec.json.encode(row) + b"\n"
        if len(piece) >= _PIECE:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)


def _rows(answer: Answer, names: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    if not answer.by:
        for start_s, figures in zip(answer.starts_s, answer.series, strict=True):
            yield {"since": instant(start_s), **figures_view(figures)}
        return
    for row in answer.rows:
        told = {one.value: value for one, value in zip(answer.by, row.values, strict=True)}
        names_told = {f"{one}_name": names[value] for one, value in told.items() if value in names}
        yield {**told, **names_told, **figures_view(row.figures)}
