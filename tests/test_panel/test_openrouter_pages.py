"""The pages of the OpenRouter keys together: every route has a role, and every address leads to its own page."""

from __future__ import annotations

import contextlib
import html

import pytest
from fastapi.routing import APIRoute

from app.models.people import Role
from app.panel.access import ACCESS, needed
from app.panel.openrouter_pages import router
from tests.test_panel.keys_world import KeysWorld, keys_world

__all__ = ["keys_world"]

PATH = "/admin/openrouter-keys"


def routes() -> list[tuple[str, str]]:
    """Methods and templates."""
    found: list[tuple[str, str]] = []

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


def test_who_only_looks_sees_no_deed(keys_world: KeysWorld) -> None:
    """And cannot do one by its address; figures and names are there."""
    key = keys_world.add("looked at", fields={"tags": "looked"})
    made = keys_world.post("/admin/people", name="onlooker", role="viewer").text
    password = html.unescape(made.partition('class="secret"><code>')[2].partition("<")[0])
    with contextlib.closing(keys_world.sign_in("onlooker", password)) as viewer:
        page = viewer.get(f"{PATH}?tag=looked").text
        detail = viewer.get(key.path).text
        for text in (page, detail):
            assert "looked at" in text
            assert "Test now" not in text
            assert 'id="bulk"' not in text
            assert "Danger zone" not in text
        assert viewer.get(f"{PATH}/rotation").status_code == 200
        for deed in ("disable", "test", "cool", "edit", "delete", "replace", "revoke", "rotate", "cap", "undo"):
            assert viewer.post(f"{key.path}/{deed}", data={"minutes": "5"}).status_code == 403, deed
        for path in ("", "/bulk", "/import", "/strategy", "/rotation/create", "/rotation/settle"):
            assert viewer.post(f"{PATH}{path}", data={"key": key.id}).status_code == 403, path
    assert keys_world.record(key)["state"] == "enabled"
    assert [deed for deed, _, _ in keys_world.deeds(key)] == ["add"]
