"""Who is asking: sessions and tokens on a real Redis, and whoever is neither."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.core.config import Settings
from app.middleware.cookies import Transport
from app.middleware.session import Session
from app.models.people import Role
from tests.redis_server import RedisServer
from tests.test_core.conftest import redis_server
from tests.test_middleware.layers import Answer, Plane, call, scope_of
from tests.test_services.people_world import People, people

__all__ = ["redis_server"]


@contextlib.asynccontextmanager
async def layer(server: RedisServer, folder: Path, **settings: Any) -> AsyncIterator[tuple[People, Session, Plane]]:
    async with people(server, folder) as world:
        plane = Plane()
        yield world, Session(plane, world.access, Transport(Settings(_env_file=None, **settings))), plane  # type: ignore[call-arg]


def asked(path: str, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return scope_of("GET", path, (b"host", b"gw.local"), *headers) | {"client": ("10.0.0.7", 1), "scheme": "http"}


async def who(session: Session, plane: Plane, path: str, *headers: tuple[bytes, bytes]) -> Any:
    await call(session, asked(path, *headers))
    return plane.scopes[-1]["state"]["person"]


async def test_a_session_names_its_person(redis_server: RedisServer, tmp_path: Path) -> None:
    """As the account is now, from where the request comes."""
    async with layer(redis_server, tmp_path) as (world, session, plane):
        token = (await world.sign_in()).token
        person = await who(session, plane, "/admin", (b"cookie", f"session={token}".encode()))

        assert (person.name, person.role, person.via, person.address) == ("admin", Role.ADMIN, "panel", "10.0.0.7")
        state = plane.scopes[-1]["state"]
        assert (state["secure"], state["address"], state["origin"]) == (False, "10.0.0.7", "http://gw.local")
        assert state["session"].record.id == person.session


@pytest.mark.parametrize(
    "cookie",
    [
        b"",
        b"session=",
        b"session=x",
        b"session=" + b"A" * 43,
        b"session=" + b"A" * 65_536,
        b"session=\xff\xfe",
        b"__Host-session={}",
    ],
)
async def test_whatever_is_no_session_is_nobody(redis_server: RedisServer, tmp_path: Path, cookie: bytes) -> None:
    """Made up, cut, enormous, of the wrong name: nobody, and no error."""
    async with layer(redis_server, tmp_path) as (world, session, plane):
        token = (await world.sign_in()).token.encode()
        assert await who(session, plane, "/admin", (b"cookie", cookie.replace(b"{}", token))) is None


async def test_two_cookies_are_nobody(redis_server: RedisServer, tmp_path: Path) -> None:
    """A neighbouring host has put one there."""
    async with layer(redis_server, tmp_path) as (world, session, plane):
        mine, other = (await world.sign_in()).token, (await world.sign_in()).token
        cookie = f"session={other}; session={mine}".encode()
        assert await who(session, plane, "/admin", (b"cookie", cookie)) is None


async def test_over_tls_only_the_bound_cookie_counts(redis_server: RedisServer, tmp_path: Path) -> None:
    """A page without TLS, or a neighbour, cannot have set it."""
    async with layer(redis_server, tmp_path, public_url="https://gw.local") as (world, session, plane):
        token = (await world.sign_in()).token
        assert await who(session, plane, "/admin", (b"cookie", f"session={token}".encode())) is None
        assert await who(session, plane, "/admin", (b"cookie", f"__Host-session={token}".encode())) is not None


async def test_tls_is_made_to_stay(redis_server: RedisServer, tmp_path: Path) -> None:
    """A browser that was here over TLS comes back over TLS; without TLS nothing of that is said."""
    name = b"strict-transport-security"
    async with layer(redis_server, tmp_path, public_url="https://gw.local") as (_, session, _plane):
        assert (await call(session, asked("/login"))).get(name) == b"max-age=63072000; includeSubDomains"
    async with layer(redis_server, tmp_path) as (_, session, _plane):
        assert (await call(session, asked("/login"))).get(name) is None


async def test_tokens_open_the_api_alone(redis_server: RedisServer, tmp_path: Path) -> None:
    """On a page a token is nobody; below the API it is who it is, whatever cookie comes along."""
    async with layer(redis_server, tmp_path) as (world, session, plane):
        _, secret = await world.access.tokens.create(await world.first(), "ci", Role.VIEWER, 1, by="x")
        bearer = (b"authorization", f"Bearer {secret.reveal()}".encode())
        cookie = (b"cookie", f"session={(await world.sign_in()).token}".encode())

        assert await who(session, plane, "/admin", bearer) is None
        person = await who(session, plane, "/admin/api/keys", bearer, cookie)
        assert (person.via, person.role) == ("token", Role.VIEWER)
        assert plane.scopes[-1]["state"]["session"] is None
        assert await who(session, plane, "/admin/api/keys", (b"authorization", b"Bearer gwa_wrong"), cookie) is None
        assert (await who(session, plane, "/admin/api/keys", (b"authorization", b"Basic eDp5"), cookie)).via == "panel"


async def test_without_redis_nobody_is_guessed(redis_server: RedisServer, tmp_path: Path) -> None:
    """503 for whoever says they are somebody; who says nothing may see the login page."""
    async with layer(redis_server, tmp_path) as (world, session, plane):
        token = (await world.sign_in()).token
        redis_server.kill()
        answer: Answer = await call(session, asked("/admin", (b"cookie", f"session={token}".encode())))
        assert (answer.status, plane.scopes) == (503, [])
        assert b"Redis does not answer" in answer.body
        assert answer.get(b"retry-after") == b"5"
        assert (await call(session, asked("/login"))).status == 200
        redis_server.start()
