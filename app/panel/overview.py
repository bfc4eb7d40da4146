"""The first page: how calls go, what they cost, how the keys feel."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.panel.context import Context
from app.panel.render import page

router: Final = APIRouter()


@router.get("/admin")
@router.get("/admin/", include_in_schema=False)
async def show(request: Request, ctx: Context) -> Response:
    return page(request, "overview.html", {"health": await ctx.look()})
