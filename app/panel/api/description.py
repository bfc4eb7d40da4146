"""The admin API's description of itself: OpenAPI for programs, and a page for people, both behind the login."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from starlette.responses import JSONResponse, Response

from app import __version__
from app.panel.render import page

router: Final = APIRouter(prefix="/admin/api", include_in_schema=False)
_TEXT: Final = """Everything that the panel can do. Sign in, or send an admin token as `Authorization: Bearer gwa_…`.

Errors are `application/problem+json` (RFC 9457). Lists are paged by `next` and `after`. Records carry an `ETag`; with
`If-Match` a change is made to what you have seen, or not at all (412). Creations take an `Idempotency-Key`. Amounts are
whole nano-dollars (1 $ = 1,000,000,000) unless a field ends in `_usd`.

What is delicate (people, tokens, a key's new secret, exports and what was said in calls, to reset settings, to sign
everybody out) takes a session whose person has given their password within ten minutes, else the answer is 403
`confirm`: open /admin/confirm. A token has been made by somebody who did, and is not asked."""
_PROBLEM: Final = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "hint": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}
_STATUSES: Final = {
    "401": "Not signed in.",
    "403": "Not allowed for this role, or to be confirmed.",
    "404": "There is no such thing.",
    "409": "It changes at this moment.",
    "412": "Changed since it was read.",
    "413": "Too large.",
    "422": "Not usable; `errors` says which fields.",
    "503": "Redis does not answer.",
}


def described(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of everything below /admin/api; the same object each time."""
    if app.openapi_schema is None:
        document = get_openapi(
            title="OpenRouter gateway: admin API", version=__version__, description=_TEXT, routes=app.routes
        )
        document["components"].setdefault("schemas", {})["Problem"] = _PROBLEM
        document["components"]["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer", "description": "An admin token."},
            "session": {"type": "apiKey", "in": "cookie", "name": "session"},
        }
        document["security"] = [{"token": []}, {"session": []}]
        for operations in document["paths"].values():
            for operation in operations.values():
                for status, words in _STATUSES.items():
                    operation["responses"][status] = problem_response(words)
        app.openapi_schema = document
    return app.openapi_schema


def problem_response(words: str) -> dict[str, Any]:
    """How an answer with a problem is described."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": words, "content": {"application/problem+json": {"schema": schema}}}


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    return JSONResponse(described(request.app), headers={"cache-control": "no-store"})


@router.get("/docs")
async def docs(request: Request) -> Response:
    """A page without any script from elsewhere."""
    document = described(request.app)
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tag = (operation.get("tags") or ["Other"])[0]
            groups.setdefault(tag, []).append({"method": method.upper(), "path": path, **operation})
    return page(request, "api_docs.html", {"document": document, "groups": groups})
