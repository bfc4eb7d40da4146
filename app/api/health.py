"""The open pages of the control plane: what this is, and how it feels. No secret and no name of a key shows here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse

from app import __version__
from app.services.health import Health

NAME = "openrouter-middleware"


def health_app(look: Callable[[], Awaitable[Health]], *, debug: bool) -> FastAPI:
    """A FastAPI application with `/`, `/health`, `/readiness` and `/liveness`."""
    app = FastAPI(
        title=NAME,
        version=__version__,
        docs_url="/docs" if debug else None,
        redoc_url="/redoc" if debug else None,
        openapi_url="/openapi.json" if debug else None,
    )

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
