"""The one table of who may do what, against every route that there is and everybody who may come."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.core.config import Settings
from app.middleware.admin_auth import AdminAuth
from app.middleware.cookies import Transport
from app.middleware.csrf import Csrf
from app.middleware.panel_refusal import is_api
from app.middleware.session import Session
from app.middleware.session_timeout import SessionTimeout
from app.models.people import Person, Role
from app.panel.access import ACCESS, NoSuchRouteError, may, needed
from tests.redis_server import RedisServer
from tests.test_core.conftest import redis_server
from tests.test_middleware.layers import Plane, call, scope_of
from tests.test_panel.access_world import plane_of, routes_of
from tests.test_services.people_world import People, people

__all__ = ["redis_server"]
# Whatever is open to everybody is listed here too: a row that is opened by mistake must not pass unseen.
OPEN = {
    "GET /login", "POST /login", "GET /login/code", "POST /login/code", "POST /login/oidc", "GET /login/oidc/callback",
    "POST /login/passkey", "POST /login/passkey/options", "GET /logout", "POST /logout", "GET /session-status",
    "GET /static/{place:path}",
}  # fmt: skip


def routes() -> set[str]:
    return {f"{method} {path}" for method, path in routes_of(plane_of(SimpleNamespace(), None))}


def shape(row: str) -> str:
    """However its parameters are called."""
    return re.sub(r"\{\w+", "{", row)


def sample(template: str) -> str:
    """A path of this template that is no other's."""
    return re.sub(r"\{(\w+)(:path)?\}", lambda name: f"x-{name[1]}" + ("/y.css" if name[2] else ""), template)


def test_every_route_has_a_row_and_every_row_a_route() -> None:
    """A new one fails here until somebody has decided who may use it."""
    made, told = {shape(row) for row in routes()}, {shape(row) for row in ACCESS}
    assert made - told == set()
    assert told - made == set()
    assert len(told) == len(ACCESS)


def test_the_rows_stand_in_order() -> None:
    """By path, so that two people who add one see each other's."""
    paths = [shape(row).partition(" ")[2] for row in ACCESS]

    assert paths == sorted(paths)


def test_what_is_open_to_everybody() -> None:
    """The ways in and out, and what they look like."""
    assert {row for row, role in ACCESS.items() if role is None} == OPEN & set(ACCESS)
    assert {"GET /login", "POST /login", "POST /logout"} <= set(ACCESS)


@pytest.mark.parametrize("row", ACCESS)
def test_each_row_is_found_by_its_own_paths(row: str) -> None:
    """No pattern stands before another that is meant."""
    method, _, template = row.partition(" ")

    assert needed(method, sample(template)) is ACCESS[row]
    if method == "GET":
        assert needed("HEAD", sample(template)) is ACCESS[row]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/admin/nope"),
        ("DELETE", "/login"),
        ("get", "/login"),
        ("GET", "/LOGIN"),
        ("GET", "/login/"),
        ("GET", "//login"),
        ("GET", "/login\n"),
        ("GET", "/admin/people/x/y/z"),
        ("POST", "/admin/people//disable"),
        ("OPTIONS", "/admin"),
        ("", ""),
    ],
)
def test_what_has_no_row_is_nobodys(method: str, path: str) -> None:
    """Other methods, other letters, other slashes."""
    with pytest.raises(NoSuchRouteError):
        needed(method, path)


def test_pages_show_what_somebody_may_do() -> None:
    """By the same table."""
    ann = Person(name="ann", role=Role.OPERATOR)

    assert may(None, "GET /login")
    assert not may(None, "GET /admin")
    assert may(ann, "GET /admin")
    assert not may(ann, "GET /admin/people")
    with pytest.raises(KeyError):
        may(ann, "GET /nope")


class World:
    """The layers over a real Redis, before an application that lets everybody do everything."""

    def __init__(self, world: People) -> None:
        transport = Transport(Settings(_env_file=None))  # type: ignore[call-arg]
        self.plane = Plane()
        app: Any = AdminAuth(self.plane, needed, NoSuchRouteError)
        app = SessionTimeout(Csrf(app, transport), world.access.sessions, world.clock)
        self.app = Session(app, world.access, transport)
        self._people = world

    async def visitors(self) -> dict[str, tuple[Role | None, list[tuple[bytes, bytes]]]]:
        """Everybody who may come: their role, and what they send."""
        found: dict[str, tuple[Role | None, list[tuple[bytes, bytes]]]] = {"nobody": (None, [])}
        for role in Role:
            await self._people.person(f"the-{role}", role)
            token = (await self._people.sign_in(f"the-{role}")).token
            found[role.value] = (role, [cookie(token)])
            account = await self._people.access.accounts.get(f"the-{role}")
            _, secret = await self._people.access.tokens.create(account, "ci", role, 1, by="x")
            found[f"{role} by token"] = (role, [(b"authorization", b"Bearer " + secret.reveal().encode())])
        found |= await self._gone()
        found["made up"] = (None, [cookie("A" * 43)])
        found["a client key"] = (None, [(b"authorization", b"Bearer gw_live_" + b"0" * 49)])
        return found

    async def _gone(self) -> dict[str, tuple[Role | None, list[tuple[bytes, bytes]]]]:
        """Administrators that were."""
        world = self._people
        for name in ("left", "disabled", "deleted"):
            await world.person(name, Role.ADMIN)
        tokens = {name: (await world.sign_in(name)).token for name in ("left", "disabled", "deleted")}
        await world.access.sessions.end([await world.live(tokens["left"])], by="left")
        await world.access.accounts.set_disabled("disabled", disabled=True, by="x")
        await world.access.accounts.delete("deleted", by="x")
        return {name: (None, [cookie(token)]) for name, token in tokens.items()}

    async def ask(self, method: str, path: str, headers: list[tuple[bytes, bytes]]) -> int:
        """The status; 200 only where the application was reached."""
        sent = [(b"host", b"gw.local"), (b"sec-fetch-site", b"same-origin"), *headers]
        scope = scope_of(method, path, *sent) | {"client": ("10.0.0.5", 1), "scheme": "http"}
        before = len(self.plane.scopes)
        answer = await call(self.app, scope)
        assert (answer.status == 200) is (len(self.plane.scopes) > before)
        return answer.status


def cookie(token: str) -> tuple[bytes, bytes]:
    return (b"cookie", f"session={token}".encode())


async def test_everybody_at_every_route(redis_server: RedisServer, tmp_path: Path) -> None:
    """Never through where the table says no; never 401, 403 or the login where it says yes."""
    async with people(redis_server, tmp_path) as found:
        world = World(found)
        visitors = await world.visitors()
        wrong = []
        for row, least in ACCESS.items():
            method, _, template = row.partition(" ")
            for name, (role, headers) in visitors.items():
                api = is_api({"path": sample(template)})
                own = None if name.endswith("token") and not api else role
                status = await world.ask(method, sample(template), headers)
                allowed = least is None or (own is not None and own.covers(least))
                refused = {403} if own is not None else {401, 303}
                if (status != 200) is allowed or (not allowed and status not in refused):
                    wrong.append((row, name, status))
        assert wrong == []
