"""The open pages of the control plane: what this is, and how it feels. No secret and no name of a key shows here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException as StarletteHTTPException

from app import __version__
from app.api.render import render
from app.core.errors import GatewayError
from app.models.exchange import Skin
from app.services.health import Health

NAME = "openrouter-middleware"


def health_app(look: Callable[[], Awaitable[Health]], *more: APIRouter, debug: bool) -> FastAPI:
    """A FastAPI application with `/`, `/health`, `/readiness`, `/liveness` and what `more` brings."""
    app = FastAPI(
        title=NAME,
        version=__version__,
        docs_url="/docs" if debug else None,
        redoc_url="/redoc" if debug else None,
        openapi_url="/openapi.json" if debug else None,
    )

    for router in more:
        app.include_router(router)

    @app.exception_handler(StarletteHTTPException)
    async def refused(request: Request, error: StarletteHTTPException) -> Response:
        words = "There is no such page here." if error.status_code == 404 else "This page cannot be asked that way."
        kind = "not_found" if error.status_code == 404 else "method_not_allowed"
        shown = GatewayError(error.status_code, kind, words, "The API is below /v1 and /api/v1.")
        status, headers, body = render(shown, Skin.OPENROUTER, "")
        named = {name.decode(): value.decode() for name, value in headers}
        return Response(body, status, headers=named | dict(error.headers or {}))

    @app.head("/", include_in_schema=False)
    @app.get("/")
    async def root() -> dict[str, Any]:
        return {
            "service": NAME,
            "version": __version__,
            "base_url": "/v1",
            "links": {"health": "/health", "readiness": "/readiness", "liveness": "/liveness"},
        }

    @app.get("/health")
    async def health() -> JSONResponse:
        seen = await look()
        return JSONResponse(
            {
                "status": "healthy" if seen.healthy else "unhealthy",
                "reasons": seen.reasons,
                "version": __version__,
                "redis": {"up": seen.redis_ms is not None, "ms": seen.redis_ms},
                "openrouter_keys": seen.openrouter_keys,
                "client_keys": seen.client_keys,
                "upstream_incident": seen.incident,
                "warnings": list(seen.warnings),
            },
            status_code=200 if seen.healthy else 503,
        )

    @app.get("/readiness")
    async def readiness() -> JSONResponse:
        seen = await look()
        return JSONResponse({"ready": seen.ready, "reasons": seen.reasons}, status_code=200 if seen.ready else 503)

    @app.get("/liveness")
    async def liveness() -> dict[str, bool]:
        return {"alive": True}

    return app
