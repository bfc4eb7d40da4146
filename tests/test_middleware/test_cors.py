"""Web pages and the proxy."""

from __future__ import annotations

from typing import Any

import pytest

from app.middleware.cors import Cors
from tests.test_middleware.layers import Answer, Plane, call, scope_of

APP = "https://app.example.com"


def preflight(origin: str = APP, asked: bytes = b"authorization, content-type") -> dict[str, Any]:
    return scope_of(
        "OPTIONS",
        "/v1/chat/completions",
        (b"origin", origin.encode()),
        (b"access-control-request-method", b"POST"),
        (b"access-control-request-headers", asked),
    )


def no_credentials(answer: Answer) -> None:
    assert answer.get(b"access-control-allow-credentials") is None


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [
        ((APP,), APP, APP.encode()),
        ((APP,), "https://evil.example.com", None),
        ((APP,), APP + ".evil.org", None),
        ((APP,), "null", None),
        ((), APP, None),
        (("*",), APP, b"*"),
        (("*", APP), APP, b"*"),
    ],
)
async def test_preflights_are_answered_before_anybody_is_asked_for_a_key(
    origins: tuple[str, ...], origin: str, allowed: bytes | None
) -> None:
    """204 always; the permission only for origins on the list, and never with credentials."""
    plane = Plane()
    answer = await call(Cors(plane, origins), preflight(origin))
    assert (answer.status, answer.body, answer.complete) == (204, b"", True)
    assert answer.get(b"access-control-allow-origin") == allowed
    assert answer.get(b"access-control-allow-headers") == (b"authorization, content-type" if allowed else None)
    assert (answer.get(b"access-control-allow-methods") is not None) == (allowed is not None)
    no_credentials(answer)
    assert not plane.scopes


@pytest.mark.parametrize("asked", [b"", b"a b", b"x;y", b"\xff"])
async def test_only_names_of_headers_are_repeated(asked: bytes) -> None:
    """What a preflight asks for comes back only if it is a list of names."""
    answer = await call(Cors(Plane(), (APP,)), preflight(asked=asked))
    assert answer.get(b"access-control-allow-headers") is None


@pytest.mark.parametrize(
    ("origins", "origin", "allowed", "vary"),
    [
        ((APP,), APP, APP.encode(), b"origin"),
        ((APP,), "https://evil.example.com", None, b"origin"),
        ((APP,), "", None, b"origin"),
        (("*",), APP, b"*", None),
        (("*",), "", None, None),
        ((), APP, None, None),
    ],
)
async def test_answers_are_marked(
    origins: tuple[str, ...], origin: str, allowed: bytes | None, vary: bytes | None
) -> None:
    """A page on the list may read the answer and the headers that clients use."""
    headers = [(b"origin", origin.encode())] if origin else []
    answer = await call(Cors(Plane(), origins), scope_of("POST", "/v1/x", *headers))
    assert answer.get(b"access-control-allow-origin") == allowed
    assert answer.get(b"vary") == vary
    exposed = answer.get(b"access-control-expose-headers") or b""
    assert (b"x-generation-id" in exposed) == (allowed is not None)
    no_credentials(answer)


async def test_other_options_requests_pass() -> None:
    """OPTIONS without the marks of a preflight is a call like any other."""
    plane = Plane()
    await call(Cors(plane, (APP,)), scope_of("OPTIONS", "/v1/x", (b"origin", APP.encode())))
    await call(Cors(plane, (APP,)), scope_of("OPTIONS", "/v1/x", (b"access-control-request-method", b"POST")))
    await call(Cors(plane, ()), {"type": "lifespan"})
    assert len(plane.scopes) == 3
