"""What the layers say by themselves: two forms, careful headers, nothing of the caller's."""

from __future__ import annotations

import json

import pytest

from app.core.errors import GatewayError
from app.middleware.panel_refusal import leave_page, plain_answer, refuse, see_other
from tests.test_middleware.layers import Answer, call, scope_of

ERROR = GatewayError(403, "cross_site", "No <b>entry</b>.", "Ask & wait.", headers=((b"retry-after", b"5"),))


async def answer_to(path: str, method: str = "GET", body: bytes = b"", **facts: object) -> Answer:
    async def app(scope, receive, send) -> None:
        await refuse(scope, receive, send, ERROR, plain_answer)

    return await call(app, scope_of(method, path, **facts), body)


@pytest.mark.parametrize("path", ["/admin/api", "/admin/api/keys"])
async def test_a_problem_for_programs(path: str) -> None:
    """RFC 9457."""
    answer = await answer_to(path)

    assert json.loads(answer.body) == {
        "type": "urn:openrouter-middleware:problem:cross-site",
        "title": "Forbidden",
        "status": 403,
        "detail": "No <b>entry</b>.",
        "hint": "Ask & wait.",
    }


@pytest.mark.parametrize("path", ["/admin", "/admin/apix", "/login"])
async def test_a_page_for_people(path: str) -> None:
    """Escaped."""
    answer = await answer_to(path)

    assert answer.get(b"content-type") == b"text/html; charset=utf-8"
    assert b"<p>No &lt;b&gt;entry&lt;/b&gt;.</p><p>Ask &amp; wait.</p>" in answer.body


@pytest.mark.parametrize("path", ["/admin/api", "/admin"])
async def test_every_answer_is_careful(path: str) -> None:
    """It stands outside the layer that adds such headers."""
    answer = await answer_to(path)

    assert answer.get(b"cache-control") == b"no-store"
    assert answer.get(b"x-content-type-options") == b"nosniff"
    assert answer.get(b"x-frame-options") == b"DENY"
    assert b"frame-ancestors 'none'" in (answer.get(b"content-security-policy") or b"")
    assert b"unsafe" not in (answer.get(b"content-security-policy") or b"")
    assert answer.get(b"retry-after") == b"5"


async def test_bodies_are_let_in_or_cost_the_connection() -> None:
    """A small one is read, so that the next request on the connection is one."""
    small = await answer_to("/admin", "POST", b"a=1", body_open=True, content_length=3)
    large = await answer_to("/admin", "POST", b"a=1", body_open=True, content_length=10**9)

    assert small.get(b"connection") is None
    assert large.get(b"connection") == b"close"


async def test_head_has_no_body_and_the_log_hears_of_it() -> None:
    """The same head as the page."""
    scope = scope_of("HEAD", "/admin")

    async def app(scope, receive, send) -> None:
        await refuse(scope, receive, send, ERROR, plain_answer)

    answer = await call(app, scope)
    assert (answer.status, answer.body) == (403, b"")
    assert scope["gateway"].error_type == "cross_site"


async def test_ways_elsewhere() -> None:
    """For a browser, and for a script that would follow unseen."""
    there = await call(see_other("/login"), scope_of())
    script = await call(leave_page("/login"), scope_of())

    assert (there.status, there.get(b"location")) == (303, b"/login")
    assert (script.status, script.get(b"hx-redirect")) == (401, b"/login")
