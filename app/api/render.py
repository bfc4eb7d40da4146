"""Errors of the gateway in the words of the API that was called. The only place that knows those shapes."""

from __future__ import annotations

from typing import Any

import msgspec

from app.core.errors import GatewayError
from app.models.exchange import Skin

Headers = list[tuple[bytes, bytes]]

_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def render(error: GatewayError, skin: Skin, request_id: str) -> tuple[int, Headers, bytes]:
    """Status, headers and body. An answer to HEAD keeps the headers and leaves the body out."""
    shape = _anthropic(error, request_id) if skin is Skin.ANTHROPIC else _openrouter(error)
    body = msgspec.json.encode(shape)
    headers: Headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        *error.headers,
    ]
    if error.close:
        headers.append((b"connection", b"close"))
    return error.status, headers, body


def _sentence(error: GatewayError) -> str:
    return f"{error.message} {error.hint}" if error.hint else error.message


def _openrouter(error: GatewayError) -> dict[str, Any]:
    # The hint is part of the message: most programs show nothing else.
    metadata = {"error_type": error.error_type}
    return {"error": {"code": error.status, "message": _sentence(error), "metadata": metadata}}


def _anthropic(error: GatewayError, request_id: str) -> dict[str, Any]:
    fallback = "invalid_request_error" if error.status < 500 else "api_error"
    kind = _ANTHROPIC_TYPES.get(error.status, fallback)
    return {
        "type": "error",
        "error": {"type": kind, "message": _sentence(error), "error_type": error.error_type},
        "request_id": request_id,
    }
