"""What the control plane says when something cannot be done."""

from __future__ import annotations

import httpx2
import pytest
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Route

from app.core.errors import Fault, GatewayError
from app.core.redis import RedisReplyError, RedisUnavailable
from app.panel.plane import ROUTERS, is_panel, problem_of
from app.services.key_names import KeyRefused, NoSuchKey
from app.services.key_store import ConflictError
from app.services.passwords import PasswordsBusy


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (NoSuchKey("There is no key named x."), 404, "not-found"),
        (KeyRefused("This is not a key."), 422, "refused"),
        (ConflictError(), 409, "conflict"),
        (RedisUnavailable("timeout"), 503, "redis-unavailable"),
        (RedisReplyError("ERR"), 503, "redis-unavailable"),
        (PasswordsBusy(), 503, "busy"),
        (GatewayError(429, "too_many", "Slow.", "Wait.", fault=Fault.CLIENT), 429, "too-many"),
        (HTTPException(404), 404, "not-found"),
        (RequestValidationError([{"loc": ("body", "name"), "msg": "needed", "type": "missing"}]), 422, "invalid"),
    ],
)
def test_every_refusal_is_a_problem(error: Exception, status: int, kind: str) -> None:
    """With a status, a word for programs and a sentence for people."""
    problem = problem_of(error)
    assert (problem.status, problem.kind) == (status, kind)
    assert problem.detail.endswith(".")


def test_fields_are_named_where_they_are_wrong() -> None:
    """By the name that the caller has sent."""
    error = RequestValidationError([{"loc": ("body", "limits", 0, "size"), "msg": "too small", "type": "x"}])
    assert problem_of(error).errors == (("limits.0.size", "too small"),)


def test_pages_and_programs_are_told_in_their_own_way(signed_in: httpx2.Client) -> None:
    """HTML for people, problem+json below the API."""
    page = signed_in.get("/admin/openrouter-keys/there-is-none")
    program = signed_in.get("/admin/api/openrouter-keys/there-is-none")

    assert (page.status_code, program.status_code) == (404, 404)
    assert page.headers["content-type"].startswith("text/html")
    assert 'role="alert"' in page.text
    assert program.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "detail"} <= set(program.json())


@pytest.mark.parametrize(
    ("path", "ours"),
    [
        ("/admin", True),
        ("/admin/api/x", True),
        ("/login", True),
        ("/static/x", True),
        ("/health", False),
        ("/v1/x", False),
    ],
)
def test_the_panel_answers_for_its_own_paths(path: str, ours: bool) -> None:
    """And for no others."""
    assert is_panel(path) is ours


def test_no_two_routes_are_the_same() -> None:
    """The second would never be reached."""
    routes = [
        (method, route.path)
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, Route)
        for method in route.methods or ()
    ]
    assert len(routes) == len(set(routes)) > 20
