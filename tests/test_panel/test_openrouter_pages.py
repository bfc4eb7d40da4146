"""The pages of the OpenRouter keys together: every route has a role, and every address leads to its own page."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from app.models.people import Role
from app.panel.access import ACCESS, needed
from app.panel.openrouter_pages import router

PATH = "/admin/openrouter-keys"


def routes() -> list[tuple[str, str]]:
    """Methods and templates."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.include_router(router)
    found = []

    def collect(some: object) -> None:
        for route in some.routes:  # type: ignore[attr-defined]
            if isinstance(route, APIRoute):
                found.extend((method, route.path) for method in route.methods)
            elif hasattr(route, "original_router"):
                collect(route.original_router)

    collect(router)
    return found


def test_every_route_has_a_role() -> None:
    """Looking is for everybody who is signed in, doing is not."""
    found = routes()
    assert len(found) > 30
    for method, path in found:
        role = ACCESS[f"{method} {path}"]
        assert role is not None
        assert role.covers(Role.OPERATOR) or method == "GET"


@pytest.mark.parametrize(
    ("method", "path", "role"),
    [
        ("GET", PATH, Role.VIEWER),
        ("GET", f"{PATH}/{'a' * 16}", Role.VIEWER),
        ("GET", f"{PATH}/new", Role.OPERATOR),
        ("GET", f"{PATH}/import", Role.OPERATOR),
        ("GET", f"{PATH}/export", Role.VIEWER),
        ("POST", f"{PATH}/{'a' * 16}/revoke", Role.OPERATOR),
        ("POST", f"{PATH}/{'a' * 16}/cap", Role.ADMIN),
        ("POST", f"{PATH}/rotation/create", Role.ADMIN),
        ("POST", f"{PATH}/strategy", Role.ADMIN),
    ],
)
def test_who_may_what(method: str, path: str, role: Role) -> None:
    """Money and the whole pool are the administrator's."""
    assert needed(method, path) is role
