"""Who calls the admin API, and what of it asks for the password again."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.routing import APIRoute, iter_route_contexts

from app.models.people import Role
from app.panel.api.callers import PROVED
from tests.redis_server import RedisServer
from tests.test_core.conftest import redis_server
from tests.test_panel.access_world import Doors, doors, plane_of

__all__ = ["redis_server"]
PEOPLE = "/admin/api/people"
DELICATE = {
    "DELETE /admin/api/people/{person_id}", "DELETE /admin/api/people/{person_id}/factors",
    "GET /admin/api/logs/export", "GET /admin/api/requests/export", "PATCH /admin/api/people/{person_id}",
    "POST /admin/api/openrouter-keys/{key_id}/replace", "POST /admin/api/people",
    "POST /admin/api/people/{person_id}/password", "POST /admin/api/requests/{request_id}/body",
    "POST /admin/api/sessions/end-everybody", "POST /admin/api/settings/reset", "POST /admin/api/tokens",
}  # fmt: skip


def delicate_routes() -> set[str]:
    """Those that carry the question."""
    found = set()
    for context in iter_route_contexts(plane_of(SimpleNamespace(), None).routes):
        route = context.original_route
        if isinstance(route, APIRoute) and PROVED in route.dependencies:
            found |= {f"{method} {context.path}" for method in context.methods or ()}
    return found


def test_what_is_delicate() -> None:
    """A route that loses the question by mistake must not pass unseen."""
    assert delicate_routes() == DELICATE


async def token_of(world: Doors, name: str, role: Role) -> str:
    account = await world.people.access.accounts.get(name)
    _, secret = await world.people.access.tokens.create(account, "ci", role, 30, by="x")
    return secret.reveal()


@pytest.mark.parametrize("row", sorted(DELICATE))
async def test_a_session_is_asked_again(redis_server: RedisServer, tmp_path: Path, row: str) -> None:
    """Ten minutes after the last proof nothing happens without a new one."""
    async with doors(redis_server, tmp_path) as world:
        admin = await world.signed_in()
        await world.people.person("ann")
        before = len(await world.people.deeds())
        world.later(600)
        method, _, path = row.partition(" ")
        path = path.replace("{person_id}", "ann").replace("{key_id}", "x").replace("{request_id}", "x")
        answer = await admin.request(method, path, json={})
        assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (403, "confirm")
        assert "/admin/confirm" in answer.json()["hint"]
        assert len(await world.people.deeds()) == before


async def test_a_token_is_not_asked(redis_server: RedisServer, tmp_path: Path) -> None:
    """Whoever made it was; what it does is noted as its deed."""
    async with doors(redis_server, tmp_path) as world:
        await world.people.person("ann")
        token = await token_of(world, "admin", Role.ADMIN)
        world.later(86_400)
        program = world.browser(authorization=f"Bearer {token}")
        answer = await program.patch(f"{PEOPLE}/ann", json={"role": "operator"})
        assert (answer.status_code, answer.json()["role"]) == (200, "operator")
        last = (await world.people.deeds("account"))[-1]
        assert last.by.startswith("admin/ci (token, 10.0.0.5, gwa_…")


async def test_a_token_speaks_for_its_account(redis_server: RedisServer, tmp_path: Path) -> None:
    """It cannot change its owner either, and one of a lesser role signs nobody out."""
    async with doors(redis_server, tmp_path) as world:
        await world.people.person("ann", Role.ADMIN)
        browser = await world.signed_in("ann")
        admin = world.browser(authorization=f"Bearer {await token_of(world, 'ann', Role.ADMIN)}")
        viewer = world.browser(authorization=f"Bearer {await token_of(world, 'ann', Role.VIEWER)}")
        own = await admin.patch(f"{PEOPLE}/ann", json={"role": "viewer"})
        assert (own.status_code, "own account" in own.json()["detail"]) == (422, True)
        (live,) = (await viewer.get("/admin/api/sessions")).json()["data"]
        for path, method in (
            (f"/admin/api/sessions/{live['id']}", "DELETE"),
            ("/admin/api/sessions/end-others", "POST"),
        ):
            assert (await viewer.request(method, path)).status_code == 403
        assert (await browser.get("/admin/account")).status_code == 200
        assert (await admin.post("/admin/api/sessions/end-others")).json() == {"ended": 1}
        assert (await browser.get("/admin/account")).status_code == 303


async def test_a_token_that_is_gone(redis_server: RedisServer, tmp_path: Path) -> None:
    """Is nobody."""
    async with doors(redis_server, tmp_path) as world:
        program: Any = world.browser(authorization=f"Bearer {await token_of(world, 'admin', Role.ADMIN)}")
        (record,) = await world.people.access.tokens.of_account()
        await world.people.access.tokens.revoke(record.id, by="x")
        assert (await program.get("/admin/api/tokens")).status_code == 401
