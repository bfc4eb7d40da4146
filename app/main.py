"""The composition root: settings in, one ASGI application with two planes out. It decides nothing and serves nothing
itself.

python app/main.py      uvicorn app.main:app --host 0.0.0.0 --port 8080      openrouter-middleware serve
"""

from __future__ import annotations

import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a file: the package's folder stands where its parent must
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.data_plane import DataPlane
from app.api.health import health_app
from app.api.lane import Lane
from app.api.metrics import metrics_router
from app.core.config import Settings, SettingsError, load_settings
from app.gateway import Gateway
from app.middleware.admin_auth import AdminAuth
from app.middleware.client_auth import ClientAuth
from app.middleware.cookies import Transport
from app.middleware.cors import Cors
from app.middleware.csrf import Csrf
from app.middleware.guard import Guard, Limits
from app.middleware.request_log import RequestLog
from app.middleware.security_headers import SecurityHeaders
from app.middleware.session import Session
from app.middleware.session_timeout import SessionTimeout
from app.panel.access import NoSuchRouteError, needed
from app.panel.plane import is_panel, panel_app
from app.server import run_server
from app.services.routes import is_data_plane


def data_stack(gateway: Gateway, plane: ASGIApp) -> ASGIApp:
    """The layers of a proxied call, innermost first: the last added is the first that a call meets."""
    settings = gateway.settings
    app: ASGIApp = ClientAuth(plane, gateway.authenticate, gateway.well_formed, gateway.clock)
    app = Cors(app, settings.allowed_origins)
    app = SecurityHeaders(app)
    return RequestLog(app)


def panel_stack(gateway: Gateway, plane: ASGIApp) -> ASGIApp:
    """The layers of the panel and its API, innermost first."""
    settings, access = gateway.settings, gateway.access
    transport = Transport(settings)
    app: ASGIApp = SecurityHeaders(Cors(plane, ()))
    app = AdminAuth(app, needed, NoSuchRouteError)
    app = Csrf(app, transport)
    app = SessionTimeout(app, access.sessions, gateway.clock)
    app = Session(app, access, transport)
    return RequestLog(app)


def open_stack(plane: ASGIApp) -> ASGIApp:
    """The layers of everything else, innermost first."""
    return RequestLog(SecurityHeaders(plane))


class Planes:
    """Parts the two planes before their layers do, behind one guard, and starts and stops what they share."""

    def __init__(self, settings: Settings) -> None:
        self.gateway = Gateway(settings)
        self._guard = Guard(self._split, Limits.of(settings), settings.allowed_hosts)
        metrics = metrics_router(settings.metrics_token.get_secret_value(), self.gateway.measured)
        self._open = open_stack(health_app(self.gateway.look, metrics, debug=settings.debug))
        self._data: ASGIApp | None = None
        self._panel: ASGIApp | None = None
        self.lane: Lane | None = None
        """Where the server's protocol serves the usual calls by itself, once the gateway has started."""

    def drain(self) -> None:
        """The gateway is being stopped: balancers are told at once."""
        self.gateway.draining = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            await self._guard(scope, receive, send)

    async def _split(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._data is not None and is_data_plane(scope["path"]):
            await self._data(scope, receive, send)
        elif self._panel is not None and is_panel(scope["path"]):
            await self._panel(scope, receive, send)
        else:
            await self._open(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self.gateway.start()
        except (SettingsError, *Gateway.START_ERRORS) as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        gateway = self.gateway
        plane = DataPlane(
            gateway.proxy,
            gateway.catalogue,
            gateway.books.tally,
            gateway.groups,
            gateway.clock,
            public_url=gateway.settings.public_url,
            trusted_proxies=gateway.settings.trusted_proxies,
        )
        self._data = data_stack(gateway, plane)
        self._panel = panel_stack(gateway, panel_app(gateway.panel, gateway.access))
        self.lane = Lane(
            gateway.proxy,
            gateway.authenticate,
            gateway.current_client,
            gateway.clock,
            self._guard,
            origins=gateway.settings.allowed_origins,
        )
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.gateway.close()
        await send({"type": "lifespan.shutdown.complete"})


def create_app(settings: Settings | None = None) -> Planes:
    """The ASGI application. Raises SettingsError, which lists every setting that cannot be used."""
    return Planes(settings or load_settings())


def run(settings: Settings, *, reload: bool = False, reuse_port: bool = False) -> int:
    """Serves until a signal says to stop; the exit code."""
    return run_server(settings, create_app, reload=reload, reuse_port=reuse_port)


def __getattr__(name: str) -> Planes:
    """`app` for `uvicorn app.main:app`, made when it is asked for: importing this module reads no settings."""
    if name != "app":
        raise AttributeError(name)
    try:
        return create_app()
    except SettingsError as error:
        sys.exit(f"openrouter-middleware: {error}")


def main() -> int:
    try:
        return run(load_settings())
    except SettingsError as error:
        sys.stderr.write(f"openrouter-middleware: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
