"""Templates and values as answers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from jinja2 import UndefinedError
from starlette.requests import Request
from starlette.responses import Response

from app.core.clock import SystemClock
from app.models.people import Person, Role
from app.panel.problems import Problem
from app.panel.render import FOLDER, _environment, go, language, page, say

PAYLOAD = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


def request(path: str = "/admin/x", *, person: Person | None = None, **headers: str) -> Request:
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    state = SimpleNamespace(context=SimpleNamespace(clock=SystemClock()))
    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": path, "headers": fields, "query_string": b""}
    return Request(scope | {"app": SimpleNamespace(state=state), "state": {"person": person}})


def text_of(response: Response) -> str:
    return bytes(response.body).decode()


def problem(detail: str = "No.") -> dict[str, Problem]:
    return {"problem": Problem(404, "x", detail, detail, ((detail, detail),))}


def test_values_are_shown_as_text() -> None:
    """Whatever somebody has put into a name."""
    person = Person(name=PAYLOAD, role=Role.VIEWER)

    text = text_of(
        page(request(person=person, cookie=f"told={PAYLOAD.split(';')[0]}"), "problem.html", problem(PAYLOAD))
    )

    assert "<script>alert" not in text
    assert "<img" not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 4


def test_every_page_forbids_what_it_does_not_need() -> None:
    """A policy without any unsafe word, and nothing of it is kept by the browser."""
    headers = page(request(), "problem.html", problem(), status=404).headers

    assert "unsafe" not in headers["content-security-policy"]
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"
    assert "HX-Request-Type" in headers["vary"]


def test_a_part_is_rendered_alone_only_where_it_was_asked_for() -> None:
    """The same address gives the whole page to whoever opens it."""
    alone = text_of(page(request(hx_request_type="partial"), "problem.html", problem("Gone."), part="main"))
    whole = text_of(page(request(hx_request_type="full"), "problem.html", problem("Gone."), part="main"))

    assert "Gone." in alone
    assert "<html" not in alone
    assert whole.lstrip().startswith("<!doctype html>")


def test_what_a_template_was_not_given_is_an_error() -> None:
    """And not an empty place that nobody notices."""
    with pytest.raises(UndefinedError):
        page(request(), "problem.html", {})


def test_a_deed_is_told_once() -> None:
    """By the next whole page, which then forgets it; a part of a page leaves it alone."""
    gone = go("/admin", told="Chave criada: ✓; x=1")
    kept = gone.headers["set-cookie"].partition(";")[0]

    shown = page(request(cookie=kept), "problem.html", problem())
    part = page(request(cookie=kept, hx_request_type="partial"), "problem.html", problem(), part="main")

    assert (gone.status_code, gone.headers["location"]) == (303, "/admin")
    assert "HttpOnly" in gone.headers["set-cookie"]
    assert "Chave criada: ✓; x=1" in text_of(shown)
    assert 'told="";' in shown.headers["set-cookie"]
    assert "set-cookie" not in part.headers


def test_the_theme_stands_in_the_page_itself() -> None:
    """So that nothing flashes; an unknown one is the system's."""
    assert 'data-theme="dark"' in text_of(page(request(cookie="theme=dark"), "problem.html", problem()))
    assert (
        "data-theme"
        not in text_of(page(request(cookie='theme="><b>'), "problem.html", problem())).partition("<body")[0]
    )


def test_the_readers_language_is_said() -> None:
    """For those who listen to the page."""
    assert language(request(accept_language="pt-BR")) == "pt-BR"
    assert '<html lang="pt-BR"' in text_of(page(request(accept_language="pt-BR"), "problem.html", problem()))
    assert say(request(), "%(n)s keys", n=3) == "3 keys"


def test_what_somebody_may_not_do_is_not_shown() -> None:
    """The rail knows who is there."""
    assert "Log out" not in text_of(page(request(), "problem.html", problem()))
    assert "Log out" in text_of(page(request(person=Person(name="ana", role=Role.VIEWER)), "problem.html", problem()))


@pytest.mark.parametrize("name", sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.html")))
@pytest.mark.parametrize("spoken", ["en", "pt-BR"])
def test_every_template_can_be_read(name: str, spoken: str) -> None:
    """In every language."""
    assert _environment(spoken).get_template(name)
