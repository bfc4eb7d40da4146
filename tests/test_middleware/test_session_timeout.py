"""Sessions end by time, and are noted as used, on a real Redis."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.middleware.session import person_of
from app.middleware.session_timeout import SessionTimeout
from app.services.session_rules import End
from app.services.sign_in import SignedIn
from tests.redis_server import RedisServer
from tests.test_core.conftest import redis_server
from tests.test_middleware.layers import Answer, Plane, call, scope_of
from tests.test_services.people_world import People, people

__all__ = ["redis_server"]


@contextlib.asynccontextmanager
async def signed_in(server: RedisServer, folder: Path) -> AsyncIterator[tuple[People, SignedIn]]:
    async with people(server, folder) as world:
        yield world, await world.sign_in()


async def ask(world: People, signed: SignedIn, plane: Plane) -> Answer:
    live = await world.access.sessions.look(signed.token)
    person = person_of(live, "") if live else None
    state: dict[str, Any] = {"session": live, "person": person, "secure": False}
    layer = SessionTimeout(plane, world.access.sessions, world.clock)
    return await call(layer, scope_of() | {"state": state})


@pytest.mark.parametrize(("away_s", "step_s", "end"), [(1799, 0, None), (1800, 0, End.IDLE), (43_200, 1000, End.OLD)])
async def test_sessions_end(
    redis_server: RedisServer, tmp_path: Path, away_s: int, step_s: int, end: End | None
) -> None:
    """After half an hour without a request, or after twelve hours with them; for real, and the cookie goes."""
    async with signed_in(redis_server, tmp_path) as (world, signed):
        plane = Plane()
        for _ in range(away_s // step_s if step_s else 0):
            world.clock.now_s += step_s
            await ask(world, signed, plane)
        world.clock.now_s += away_s % step_s if step_s else away_s
        answer = await ask(world, signed, plane)
        state = plane.scopes[-1]["state"]

        assert state.get("ended") is end
        assert (state["person"] is None) is (end is not None)
        assert (await world.access.sessions.look(signed.token) is None) is (end is not None)
        assert ((answer.get(b"set-cookie") or b"").startswith(b"session=; ")) is (end is not None)
        assert await world.told("session") == [("session", "login")]


async def test_use_is_noted_once_a_minute(redis_server: RedisServer, tmp_path: Path) -> None:
    """And keeps the session alive."""
    async with signed_in(redis_server, tmp_path) as (world, signed):
        began = (await world.live(signed.token)).record.seen_s
        seen = []
        for step in (0, 59, 1, 1000, 1700, 1700):
            world.clock.now_s += step
            await ask(world, signed, Plane())
            seen.append((await world.live(signed.token)).record.seen_s - began)

        assert seen == [0, 0, 60, 1060, 2760, 4460]


async def test_a_logout_in_this_moment_counts(redis_server: RedisServer, tmp_path: Path) -> None:
    """Between finding the session and noting its use: nobody is signed in, and nothing is revived."""
    async with signed_in(redis_server, tmp_path) as (world, signed):
        world.clock.now_s += 100
        live = await world.live(signed.token)
        await world.access.sessions.end([live], by="admin")
        plane = Plane()
        state: dict[str, Any] = {"session": live, "person": person_of(live, ""), "secure": False}
        await call(SessionTimeout(plane, world.access.sessions, world.clock), scope_of() | {"state": state})

        assert plane.scopes[-1]["state"]["person"] is None
        assert plane.scopes[-1]["state"]["ended"] is End.CHANGED
        assert await world.access.sessions.look(signed.token) is None


async def test_a_new_session_in_the_answer_stays(redis_server: RedisServer, tmp_path: Path) -> None:
    """Whoever signs in again with the old cookie still there gets the new one."""
    async with signed_in(redis_server, tmp_path) as (world, signed):
        world.clock.now_s += 10_000
        answer = await ask(world, signed, Plane(headers=[(b"set-cookie", b"session=new")]))

        assert answer.get(b"set-cookie") == b"session=new"


async def test_without_redis_nothing_is_decided(redis_server: RedisServer, tmp_path: Path) -> None:
    """503, and not another minute of a session that may have ended."""
    async with signed_in(redis_server, tmp_path) as (world, signed):
        live = await world.live(signed.token)
        world.clock.now_s += 100
        redis_server.kill()
        plane = Plane()
        state: dict[str, Any] = {"session": live, "person": person_of(live, ""), "secure": False}
        answer = await call(SessionTimeout(plane, world.access.sessions, world.clock), scope_of() | {"state": state})

        assert (answer.status, plane.scopes) == (503, [])
        redis_server.start()


async def test_a_page_that_renews_itself_keeps_nothing_alive(redis_server: RedisServer, tmp_path: Path) -> None:
    """The stream and what the page asks for because of it are no use: nobody is at the keyboard."""
    async with signed_in(redis_server, tmp_path) as (world, signed):
        for scope in ({"path": "/admin/live"}, {"path": "/admin", "headers": [(b"x-live", b"1")]}):
            world.clock.now_s += 800
            live = await world.access.sessions.look(signed.token)
            assert live is not None
            state: dict[str, Any] = {"session": live, "person": person_of(live, ""), "secure": False}
            layer = SessionTimeout(Plane(), world.access.sessions, world.clock)
            await call(layer, scope_of() | scope | {"state": state})
        world.clock.now_s += 300
        plane = Plane()
        await ask(world, signed, plane)

        assert plane.scopes[-1]["state"]["ended"] is End.IDLE
