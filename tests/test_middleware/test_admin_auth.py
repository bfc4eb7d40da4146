"""Who is let in where, by a table that the layer is handed."""

from __future__ import annotations

import json

import pytest

from app.middleware.admin_auth import AdminAuth
from app.models.people import Person, Role
from app.services.session_rules import End
from tests.test_middleware.layers import Answer, Plane, call, scope_of


class NoRowError(Exception):
    pass


TABLE = {
    "GET /admin": Role.VIEWER,
    "GET /admin/é": Role.VIEWER,
    "POST /admin/keys": Role.OPERATOR,
    "GET /admin/people": Role.ADMIN,
    "GET /admin/api/keys": Role.VIEWER,
    "GET /login": None,
}


def needed(method: str, path: str) -> Role | None:
    try:
        return TABLE[f"{method} {path}"]
    except KeyError:
        raise NoRowError from None


async def ask(
    method: str,
    path: str,
    role: Role | None,
    *headers: tuple[bytes, bytes],
    query: bytes = b"",
    ended: End | None = None,
) -> Answer:
    plane = Plane()
    person = Person(name="ann", role=role) if role else None
    state = {"person": person} | ({"ended": ended} if ended else {})
    scope = scope_of(method, path, *headers) | {"state": state, "query_string": query}
    answer = await call(AdminAuth(plane, needed, NoRowError), scope)
    assert bool(plane.scopes) is (answer.body == b"abc")
    return answer


@pytest.mark.parametrize("role", [*Role, None])
@pytest.mark.parametrize("row", TABLE)
async def test_every_role_at_every_row(row: str, role: Role | None) -> None:
    """Exactly who the table names."""
    method, path = row.split(" ")
    least = TABLE[row]
    answer = await ask(method, path, role)

    if least is None or (role is not None and role.covers(least)):
        assert answer.body == b"abc"
    elif role is not None:
        assert answer.status == 403
    else:
        assert answer.status == (401 if "/api/" in path else 303)


@pytest.mark.parametrize("role", [*Role, None])
@pytest.mark.parametrize("path", ["/admin/nope", "/admin//", "/admin/people/", "/ADMIN", "/admin/api"])
async def test_what_is_not_in_the_table_is_refused(path: str, role: Role | None) -> None:
    """To everybody alike: no hint of what needs which role."""
    assert (await ask("GET", path, role)).status == 404
    assert (await ask("DELETE", "/admin", role)).status == 404


@pytest.mark.parametrize(
    ("method", "path", "query", "target"),
    [
        ("GET", "/admin", b"", b"/login"),
        ("GET", "/admin/people", b"a=1&b=%2F", b"/login?next=%2Fadmin%2Fpeople%3Fa%3D1%26b%3D%252F"),
        ("GET", "/admin/people", b"a=%0d%0a", b"/login"),
        ("GET", "/admin/\xe9", b"", b"/login"),
        ("POST", "/admin/keys", b"", b"/login"),
    ],
)
async def test_nobody_is_sent_to_the_login(method: str, path: str, query: bytes, target: bytes) -> None:
    """And back to the page afterwards, but never into a deed."""
    answer = await ask(method, path, None, query=query)

    assert (answer.status, answer.get(b"location")) == (303, target)
    assert answer.get(b"cache-control") == b"no-store"


async def test_the_login_page_hears_why() -> None:
    """A session that timed out is told."""
    answer = await ask("GET", "/admin/people", None, ended=End.IDLE)

    assert answer.get(b"location") == b"/login?next=%2Fadmin%2Fpeople&ended=idle"
    assert (await ask("GET", "/admin", None, ended=End.OLD)).get(b"location") == b"/login?ended=old"


async def test_a_link_from_elsewhere_asks_once_more() -> None:
    """The strict cookie stayed away the first time; the page goes on by itself, to an own address only."""
    answer = await ask("GET", "/admin/people", None, (b"sec-fetch-site", b"cross-site"), query=b'a="><script>')

    assert answer.status == 200
    assert b'content="0;url=/admin"' in answer.body
    assert b"<script" not in answer.body
    plain = await ask("GET", "/admin/people", None, (b"sec-fetch-site", b"cross-site"), query=b"a=1&b=2")
    assert b'content="0;url=/admin/people?a=1&amp;b=2"' in plain.body


async def test_a_part_of_a_page_is_not_replaced_by_the_login() -> None:
    """The script is told to leave the page."""
    answer = await ask("GET", "/admin", None, (b"hx-request", b"true"))

    assert (answer.status, answer.get(b"hx-redirect"), answer.get(b"location")) == (401, b"/login", None)


async def test_programs_are_told_in_their_own_form() -> None:
    """problem+json with how to do it right."""
    answer = await ask("GET", "/admin/api/keys", None)
    problem = json.loads(answer.body)

    assert answer.get(b"content-type") == b"application/problem+json"
    assert answer.get(b"www-authenticate") == b'Bearer realm="admin"'
    assert (problem["status"], problem["title"]) == (401, "Unauthorized")
    assert "gwa_" in problem["hint"]
