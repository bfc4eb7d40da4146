"""The layers and pages of signing in, whole, over a real Redis: what a browser would get, without a process."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
from fastapi import APIRouter, FastAPI
from fastapi.routing import iter_route_contexts

from app.core.config import Settings
from app.middleware.admin_auth import AdminAuth
from app.middleware.cookies import Transport
from app.middleware.csrf import Csrf
from app.middleware.guard import Guard, Limits
from app.middleware.request_log import RequestLog
from app.middleware.security_headers import SecurityHeaders
from app.middleware.session import Session
from app.middleware.session_timeout import SessionTimeout
from app.models.people import Role
from app.panel import account, login, oidc, passkeys, tokens
from app.panel import people as people_page
from app.panel.access import NoSuchRouteError, needed
from app.panel.plane import panel_app
from tests.redis_server import RedisServer
from tests.test_services.people_world import PASSWORD, People, people

MINE = (login.router, account.router, people_page.router, tokens.router, passkeys.router, oidc.router)
OWN = {"sec-fetch-site": "same-origin"}


def plane_of(access: Any, clock: Any) -> FastAPI:
    """The panel's application with every page of signing in."""
    app = panel_app(SimpleNamespace(clock=clock), access)  # type: ignore[arg-type]
    known = {path for _, path in routes_of(app)}
    for router in MINE:
        if not {path for _, path in routes_of(router)} <= known:
            app.include_router(router)
    return app


def routes_of(app: FastAPI | APIRouter) -> set[tuple[str, str]]:
    """Methods and path templates, HEAD left out where GET is."""
    found = {(method, route.path or "") for route in iter_route_contexts(app.routes) for method in route.methods or ()}
    return {(method, path) for method, path in found if method != "HEAD"}


@dataclass
class Doors:
    """`people` is what stands behind; `browser()` is a new one that nobody knows."""

    people: People
    app: Any
    origin: str
    stack: contextlib.AsyncExitStack

    def browser(self, address: str = "10.0.0.5", **headers: str) -> httpx2.AsyncClient:
        transport = httpx2.ASGITransport(app=self.app, client=(address, 4711))
        client = httpx2.AsyncClient(transport=transport, base_url=self.origin, headers=OWN | headers)
        self.stack.push_async_callback(client.aclose)
        return client

    async def signed_in(
        self, name: str = "admin", password: str = PASSWORD, role: Role | None = None
    ) -> httpx2.AsyncClient:
        """A browser with a session; with a role: of a new account."""
        if role is not None:
            await self.people.person(name, role)
        client = self.browser()
        answer = await client.post("/login", data={"username": name, "password": password})
        assert answer.status_code == 303, answer.text
        return client

    def later(self, seconds: float) -> None:
        self.people.clock.now_s += seconds


@contextlib.asynccontextmanager
async def doors(server: RedisServer, folder: Path, **settings: Any) -> AsyncIterator[Doors]:
    public = settings.get("public_url", "")
    given = Settings(_env_file=None, **settings)  # type: ignore[call-arg]
    async with people(server, folder, **settings) as world, contextlib.AsyncExitStack() as stack:
        transport = Transport(given)
        app: Any = SecurityHeaders(plane_of(world.access, world.clock))
        app = AdminAuth(app, needed, NoSuchRouteError)
        app = Csrf(app, transport)
        app = SessionTimeout(app, world.access.sessions, world.clock)
        app = RequestLog(Session(app, world.access, transport))
        yield Doors(world, Guard(app, Limits()), public or "http://gw.local", stack)


def told(answer: httpx2.Response) -> str:
    """The text of a page, its tags and spaces taken away."""
    return " ".join(re.sub(r"<[^>]+>", " ", answer.text).split())
