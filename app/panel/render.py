"""Turns a template and its values into an answer, whole or only the part that the page asked for. Decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from app import __version__
from app.panel import figures, plots
from app.panel.access import may
from app.panel.assets import Assets
from app.panel.words import LANGUAGES, language_of, words_of
from app.services.live_settings import value_of
from app.services.switches import Switch

FOLDER: Final = Path(__file__).parent / "templates"
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; font-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "content-security-policy": POLICY,
    "cache-control": "no-store",
    "referrer-policy": "same-origin",
    "vary": "HX-Request-Type, Cookie",
}
_MACROS: Final = ("parts", "plots")
_TOLD: Final = "told"
_TOLD_S: Final = 30
assets: Final = Assets()


@cache
def _environment(language: str) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    words = words_of(language)
    environment.install_gettext_callables(words.gettext, words.ngettext, newstyle=True)  # type: ignore[attr-defined]
    for name in ("usd", "count", "short", "share", "span", "size", "within", "clock_time", "iso_time", "change"):
        environment.filters[name] = getattr(figures, name)
    environment.globals.update(asset=assets.url, version=__version__, languages=LANGUAGES, may=may, geometry=plots)
    return environment


def page(
    request: Request,
    template: str,
    values: Mapping[str, Any] | None = None,
    *,
    status: int = 200,
    part: str = "",
) -> Response:
    """The page; for a request of htmx that replaces a part, only the template's block of that name. The values are
    escaped where they are shown.
    """
    environment = _environment(language(request))
    found = environment.get_template(template)
    context = _common(request)
    for name in _MACROS:
        # A part is rendered without the page around it: what it calls must be there all the same.
        context[name] = environment.get_template(f"{name}.html").make_module(context)
    context |= values or {}
    partial = bool(part) and request.headers.get("hx-request-type") == "partial"
    body = "".join(found.blocks[part](found.new_context(context))) if partial else found.render(context)
    response = HTMLResponse(body, status, headers=_HEADERS)
    if _TOLD in request.cookies and not partial:
        response.delete_cookie(_TOLD, path="/")
    return response


def go(url: str, told: str = "") -> Response:
    """Sends the browser to an own address after a deed, where `told` is shown once."""
    response = RedirectResponse(url, 303, headers={"cache-control": "no-store"})
    if told:
        response.set_cookie(
            _TOLD, quote(told[:500], safe=""), max_age=_TOLD_S, path="/", httponly=True, samesite="strict"
        )
    return response


def language(request: Request) -> str:
    return language_of(request.cookies.get("language", ""), request.headers.get("accept-language", ""))


def say(request: Request, text: str, **values: object) -> str:
    """A text of a route in the reader's language; `text` is English, with `%(name)s` for values."""
    return words_of(language(request)).gettext(text) % values


def _off(request: Request) -> tuple[str, ...]:
    """Pages that an administrator has switched off, or that are not for this person."""
    context, person = request.app.state.context, getattr(request.state, "person", None)
    switches = getattr(context, "switches", None)
    is_on = switches is None or value_of(context.settings, switches.get, Switch.PLAYGROUND)
    if is_on and (person is None or may(person, "GET /admin/playground")):
        return ()
    return ("/admin/playground",)


def _common(request: Request) -> dict[str, Any]:
    theme = request.cookies.get("theme", "")
    return {
        "request": request,
        "path": request.url.path,
        "person": getattr(request.state, "person", None),
        "language": language(request),
        "theme": theme if theme in ("light", "dark") else "",
        "zone": "local" if request.cookies.get("zone") == "local" else "utc",
        "shortcuts": request.cookies.get("shortcuts") != "off",
        "told": unquote(request.cookies.get(_TOLD, "")),
        "off": _off(request),
        "now_s": request.app.state.context.clock.wall_s(),
    }
