"""Errors in the words of each API."""

from __future__ import annotations

import msgspec
import pytest

from app.api.render import render
from app.core.errors import GatewayError
from app.models.exchange import Skin

ERROR = GatewayError(401, "authentication", "No key.", "Send one.", headers=((b"retry-after", b"7"),))


def test_openrouters_shape() -> None:
    """Code, message with its hint, and the error type where OpenRouter puts it."""
    status, headers, body = render(ERROR, Skin.OPENROUTER, "r1")
    assert status == 401
    assert msgspec.json.decode(body) == {
        "error": {
            "code": 401,
            "message": "No key. Send one.",
            "metadata": {"error_type": "authentication"},
        }
    }
    given = dict(headers)
    assert given[b"content-type"] == b"application/json"
    assert given[b"content-length"] == b"%d" % len(body)
    assert given[b"retry-after"] == b"7"
    assert given[b"cache-control"] == b"no-store"
    assert b"connection" not in given


def test_anthropics_shape() -> None:
    """Its own type, ours beside it, and the request id."""
    _, _, body = render(ERROR, Skin.ANTHROPIC, "r1")
    assert msgspec.json.decode(body) == {
        "type": "error",
        "error": {"type": "authentication_error", "message": "No key. Send one.", "error_type": "authentication"},
        "request_id": "r1",
    }


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "invalid_request_error"), (402, "billing_error"), (403, "permission_error"), (404, "not_found_error"),
     (413, "request_too_large"), (415, "invalid_request_error"), (429, "rate_limit_error"), (500, "api_error"),
     (502, "api_error"), (503, "overloaded_error"), (504, "timeout_error"), (529, "overloaded_error")],
)  # fmt: skip
def test_every_status_has_an_anthropic_type(status: int, kind: str) -> None:
    """Known statuses have their own word, others the general one of their class."""
    _, _, body = render(GatewayError(status, "x", "y"), Skin.ANTHROPIC, "r")
    assert msgspec.json.decode(body)["error"]["type"] == kind


def test_a_closing_error_says_so_and_no_hint_leaves_no_gap() -> None:
    """`connection: close` comes with the error that asks for it."""
    _, headers, body = render(GatewayError(413, "payload_too_large", "Too large.", close=True), Skin.OPENROUTER, "")
    assert (b"connection", b"close") in headers
    assert msgspec.json.decode(body)["error"] == {
        "code": 413,
        "message": "Too large.",
        "metadata": {"error_type": "payload_too_large"},
    }
