"""Careful headers on every answer."""

from __future__ import annotations

from app.middleware.security_headers import SecurityHeaders
from tests.test_middleware.layers import Plane, call, scope_of


async def test_an_answer_gets_them_all() -> None:
    """Whatever answers, a browser sniffs, frames, refers and stores nothing."""
    answer = await call(SecurityHeaders(Plane()), scope_of())
    assert answer.get(b"x-content-type-options") == b"nosniff"
    assert answer.get(b"referrer-policy") == b"no-referrer"
    assert answer.get(b"x-frame-options") == b"DENY"
    assert answer.get(b"content-security-policy") == b"default-src 'none'; frame-ancestors 'none'"
    assert answer.get(b"cross-origin-resource-policy") == b"same-origin"
    assert answer.get(b"cache-control") == b"no-store"
    assert answer.body == b"abc"


async def test_what_is_there_stays() -> None:
    """Upstream's caching and a page's own policy are kept, and nothing stands there twice."""
    own = [(b"cache-control", b"private, max-age=60"), (b"content-security-policy", b"default-src 'self'")]
    answer = await call(SecurityHeaders(Plane(headers=own)), scope_of())
    assert answer.get(b"cache-control") == b"private, max-age=60"
    assert answer.get(b"content-security-policy") == b"default-src 'self'"


async def test_other_scopes_pass() -> None:
    """Lifespan is none of its business."""
    plane = Plane()
    await call(SecurityHeaders(plane), {"type": "lifespan"})
    assert plane.scopes == [{"type": "lifespan"}]
