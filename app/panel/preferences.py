"""How somebody likes the panel: theme, language, clock, shortcuts. Kept in cookies, so that no page flashes."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.panel.render import go, page
from app.panel.words import LANGUAGES

router: Final = APIRouter()
_YEAR_S: Final = 31_536_000
_CHOICES: Final = {
    "theme": ("system", "light", "dark"),
    "language": tuple(LANGUAGES),
    "zone": ("utc", "local"),
    "shortcuts": ("on", "off"),
}


@router.get("/admin/preferences")
async def show(request: Request) -> Response:
    return page(request, "preferences.html")


@router.post("/admin/preferences")
async def choose(request: Request) -> Response:
    """Takes the choices that are known, and leaves the others as they are."""
    form = await request.form()
    response = go("/admin/preferences")
    for name, values in _CHOICES.items():
        if (chosen := form.get(name)) in values:
            # Read by the script that switches the theme without loading the page again: no secret, so not HttpOnly.
            response.set_cookie(name, str(chosen), max_age=_YEAR_S, path="/", samesite="strict")
    return response
