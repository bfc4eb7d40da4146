"""The control plane's application: every router of the panel, and what it says when something cannot be done."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from app.core.errors import GatewayError
from app.core.redis import RedisReplyError, RedisUnavailable
from app.middleware.panel_refusal import API, EARLIER, is_api
from app.panel import (
    account,
    audit_page,
    client_detail,
    client_edit,
    clients,
    clients_new,
    live,
    login,
    oidc,
    openrouter_pages,
    overview,
    passkeys,
    patterns,
    people,
    playground,
    preferences,
    requests_detail,
    requests_list,
    settings_alerts,
    settings_page,
    tokens,
    usage_export,
)
from app.panel import groups as group_pages
from app.panel import usage as usage_page
from app.panel.api import (
    alerts,
    audit,
    client_keys,
    description,
    groups,
    logs,
    openrouter_deeds,
    openrouter_drift,
    openrouter_journal,
    openrouter_keys,
    openrouter_renewals,
    openrouter_rotation,
    promised,
    requests,
    sessions,
    system,
    usage,
)
from app.panel.api import people as people_api
from app.panel.api import settings as settings_api
from app.panel.api import tokens as tokens_api
from app.panel.api.conventions import ApiProblem
from app.panel.assets import PREFIX
from app.panel.context import PanelContext
from app.panel.problems import Problem, problem_answer
from app.panel.render import assets, page
from app.services.access import PanelAccess
from app.services.key_names import KeyRefused, NoSuchKey, Outdated
from app.services.key_store import ConflictError
from app.services.passwords import PasswordsBusy

log = logging.getLogger(__name__)

ROUTERS: Final[tuple[APIRouter, ...]] = (
    overview.router,
    live.router,
    patterns.router,
    preferences.router,
    openrouter_pages.router,
    login.router,
    account.router,
    passkeys.router,
    people.router,
    tokens.router,
    oidc.router,
    clients_new.router,
    client_edit.router,
    clients.router,
    client_detail.router,
    group_pages.router,
    requests_list.router,
    requests_detail.router,
    usage_page.router,
    usage_export.router,
    audit_page.router,
    settings_page.router,
    settings_alerts.router,
    playground.router,
    openrouter_keys.router,
    openrouter_deeds.router,
    openrouter_renewals.router,
    openrouter_journal.router,
    openrouter_rotation.router,
    openrouter_drift.router,
    client_keys.router,
    groups.router,
    requests.router,
    usage.router,
    audit.router,
    system.router,
    settings_api.router,
    people_api.router,
    tokens_api.router,
    sessions.router,
    alerts.router,
    logs.router,
    promised.router,
    description.router,
)
_TOLD: Final[tuple[type[Exception], ...]] = (
    ApiProblem,
    HTTPException,
    RequestValidationError,
    GatewayError,
    KeyRefused,
    NoSuchKey,
    ConflictError,
    Outdated,
    RedisUnavailable,
    RedisReplyError,
    PasswordsBusy,
)


def is_panel(path: str) -> bool:
    """Whether the panel answers for a path."""
    return path.startswith(("/admin", "/login", "/logout", f"{PREFIX}/", *EARLIER))


def panel_app(context: PanelContext, access: PanelAccess) -> FastAPI:
    """The application behind the layers; `request.state.person` is whoever is signed in."""
    app = FastAPI(title="OpenRouter gateway: panel", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.context = context
    app.state.access = access
    app.router.routes.append(Route(f"{PREFIX}/{{place:path}}", assets.serve, name="static"))
    add_routes(app)
    for kind in _TOLD:
        app.add_exception_handler(kind, _answer)
    app.add_exception_handler(Exception, _answer)
    return app


def add_routes(app: FastAPI) -> None:
    """All of them; the pages are no part of the API's description."""
    for router in ROUTERS:
        app.include_router(router, include_in_schema=router.prefix.startswith(API) or router is promised.router)


async def _answer(request: Request, error: Exception) -> Response:
    problem = problem_of(error)
    if is_api(request.scope):
        return problem_answer(problem)
    return page(request, "problem.html", {"problem": problem}, status=problem.status)


def problem_of(error: Exception) -> Problem:
    """What a person or a program is told. Nothing of it quotes a secret: the services' sentences never do."""
    match error:
        case ApiProblem():
            return error.problem
        case NoSuchKey():
            return Problem(404, "not-found", str(error))
        case KeyRefused():
            return Problem(422, "refused", str(error))
        case Outdated():
            return Problem(412, "outdated", "Somebody else has changed this since it was read.", "Get it again.")
        case ConflictError():
            return Problem(409, "conflict", "Somebody else has changed this in the meantime.", "Load it again.")
        case RedisUnavailable() | RedisReplyError():
            return Problem(503, "redis-unavailable", "Redis does not answer.", "Calls go on; try again in a moment.")
        case PasswordsBusy():
            return Problem(503, "busy", "Very many passwords are being checked.", "Try again.")
        case GatewayError():
            return Problem(error.status, error.error_type.replace("_", "-"), error.message, error.hint)
        case RequestValidationError():
            errors = [(".".join(map(str, found["loc"][1:])), str(found["msg"])) for found in error.errors()]
            return Problem(422, "invalid", "Something in this request is not usable.", errors=tuple(errors))
        case HTTPException(status_code=404):
            return Problem(404, "not-found", "There is no such page here.", "Go on from the overview.")
        case HTTPException():
            return Problem(error.status_code, "refused", HTTPStatus(error.status_code).phrase + ".")
    # The framework raises it again behind this answer, and so it stands in the log.
    return Problem(500, "server", "The gateway failed at this request.", "Its log has the details.")
