"""Paths that users of earlier gateways know, and where their functions are now: all of them behind the sign-in."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel
from starlette.responses import Response

from app.panel.api.conventions import ApiProblem, Id, instant
from app.panel.api.openrouter_deeds import rest_over
from app.panel.api.openrouter_keys import OpenRouterKeyOut, TestOut, list_keys, test_key
from app.panel.api.system import (
    StrategyBody,
    StrategyOut,
    SystemOut,
    dashboard,
    get_strategy,
    set_strategy,
    system_status,
)
from app.panel.context import Context, SignedIn
from app.panel.entry import Access
from app.panel.problems import Problem, problem_answer
from app.services.selection import Strategy

router: Final = APIRouter(tags=["Earlier paths"])


class SessionOut(BaseModel):
    """Who is signed in, and until when at the longest. Without a session everything else is empty."""

    authenticated: bool
    user: str = ""
    role: str = ""
    created_at: datetime | None = None
    last_activity: datetime | None = None
    expires_at: datetime | None = None


def _session(request: Request, access: Access) -> SessionOut:
    person, live = request.state.person, request.state.session
    if person is None:
        return SessionOut(authenticated=False)
    if live is None:
        return SessionOut(authenticated=True, user=person.name, role=person.role)
    record = live.record
    return SessionOut(
        authenticated=True,
        user=person.name,
        role=person.role,
        created_at=instant(record.created_s),
        last_activity=instant(record.seen_s),
        expires_at=instant(record.created_s + access.sessions.timeouts.absolute_s),
    )


@router.get("/session-status")
async def session_status(request: Request, access: Access) -> SessionOut:
    """Whether somebody is signed in."""
    return _session(request, access)


@router.get("/check-auth")
async def check_auth(request: Request, access: Access) -> SessionOut:
    """200, or 401 for nobody."""
    return _session(request, access)


@router.get("/session-info")
async def session_info(request: Request, access: Access) -> SessionOut:
    return _session(request, access)


@router.post("/extend-session")
async def extend_session(request: Request, access: Access) -> SessionOut:
    """Counts as activity. The longest life of a session stays what it is."""
    if (live := request.state.session) is not None:
        await access.sessions.touch(live)
    return _session(request, access)


@router.post("/refresh-csrf")
async def refresh_csrf() -> dict[str, str]:
    """There is no token to renew: where a request comes from is told by the browser itself (Sec-Fetch-Site, Origin)."""
    return {"csrf_token": ""}  # nosec B105 - no secret, on purpose


@router.post("/validate-credentials", status_code=410, response_class=Response)
async def validate_credentials() -> Response:
    """Gone: it told anybody whether a password is right. `POST /login` is bounded, and /admin/confirm asks again."""
    return problem_answer(Problem(410, "gone", "Passwords are not tried out here.", "Sign in at /login."))


@router.get("/proxy/health")
async def proxy_health(ctx: Context) -> SystemOut:
    return await system_status(ctx)


@router.get("/proxy/stats")
async def proxy_stats(ctx: Context) -> dict[str, object]:
    return await dashboard(ctx)


@router.get("/proxy/keys/status")
async def keys_status(ctx: Context) -> list[OpenRouterKeyOut]:
    """The newest 500 keys; /admin/api/openrouter-keys pages through all of them."""
    return (await list_keys(ctx, limit=500)).data


@router.post("/proxy/keys/{key_id}/test")
async def proxy_test_key(key_id: Id, ctx: Context) -> TestOut:
    return await test_key(key_id, ctx)


@router.get("/proxy/circuit-breakers")
async def circuit_breakers(ctx: Context) -> list[OpenRouterKeyOut]:
    """The keys that rest, with why and until when."""
    return [one for one in (await list_keys(ctx, limit=500)).data if one.marks]


@router.post("/proxy/circuit-breakers/{key_id}/reset")
async def reset_breaker(key_id: Id, ctx: Context, access: Access, person: SignedIn) -> OpenRouterKeyOut:
    """Takes the mark away from a key: the next call tries it out."""
    return await rest_over(key_id, ctx, access, person)


@router.get("/proxy/rotation/strategy")
async def proxy_strategy(ctx: Context) -> StrategyOut:
    return await get_strategy(ctx)


@router.post("/proxy/rotation/strategy/{strategy}")
async def proxy_set_strategy(
    strategy: Annotated[str, Path(max_length=50)], ctx: Context, person: SignedIn
) -> StrategyOut:
    if strategy not in list(Strategy):
        detail = f"A strategy is one of {', '.join(Strategy)}."
        raise ApiProblem(Problem(422, "invalid", detail, errors=(("strategy", detail),)))
    return await set_strategy(StrategyBody(strategy=Strategy(strategy)), ctx, person)
