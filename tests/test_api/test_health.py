"""The open pages tell the truth in their status."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from app.api.health import health_app
from app.services.health import Health

WELL = Health(0.5, {"total": 1, "ready": 1}, 2, draining=False, loaded=True)
ILL = Health(None, {"total": 1, "ready": 1}, 2, draining=False, loaded=True)


async def get(path: str, seen: Health, *, debug: bool = False) -> tuple[int, Any]:
    async def look() -> Health:
        return seen

    transport = httpx2.ASGITransport(app=health_app(look, debug=debug))
    async with httpx2.AsyncClient(transport=transport, base_url="http://gw") as client:
        answer = await client.get(path)
        return answer.status_code, answer.json()


@pytest.mark.parametrize(
    ("path", "seen", "status"),
    [
        ("/health", WELL, 200),
        ("/health", ILL, 503),
        ("/readiness", WELL, 200),
        ("/readiness", ILL, 503),
        ("/liveness", ILL, 200),
        ("/", ILL, 200),
        ("/nothing", WELL, 404),
        ("/docs", WELL, 404),
        ("/openapi.json", WELL, 404),
    ],
)
async def test_status_follows_the_truth(path: str, seen: Health, status: int) -> None:
    """A sick gateway never says 200, a living one never 503; a missing page is a 404 and nothing worse."""
    assert (await get(path, seen))[0] == status


async def test_health_names_its_reasons() -> None:
    """Somebody at night learns what is wrong."""
    _, body = await get("/health", ILL)

    assert body["status"] == "unhealthy"
    assert body["reasons"] == ["Redis does not answer"]
    assert body["redis"] == {"up": False, "ms": None}


async def test_the_description_shows_only_when_debugging() -> None:
    """OpenAPI of the open pages is for developers."""
    assert (await get("/openapi.json", WELL, debug=True))[0] == 200


async def test_a_missing_page_is_told_in_the_apis_shape() -> None:
    """A base URL without its last part is a usual mistake: the answer says where the API is."""
    status, body = await get("/v1", WELL)

    assert status == 404
    assert body["error"]["code"] == 404
    assert body["error"]["metadata"]["error_type"] == "not_found"
    assert "/v1" in body["error"]["message"]
