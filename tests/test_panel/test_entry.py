"""What the pages of signing in share: forms, and the question who one is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from starlette.requests import Request

from app.core.errors import GatewayError
from app.models.accounts import Account, SessionRecord
from app.models.people import Person, Role
from app.panel.access import ACCESS as ROUTES
from app.panel.entry import ask_again, body_of, form_of, live_of
from app.services.sessions import Live
from tests.redis_server import RedisServer
from tests.test_core.conftest import redis_server
from tests.test_panel.access_world import doors

__all__ = ["redis_server"]

FORM = (b"content-type", b"application/x-www-form-urlencoded; charset=utf-8")


def request(
    body: bytes = b"", *headers: tuple[bytes, bytes], path: str = "/admin/x", method: str = "POST", **state: Any
) -> Request:
    async def receive() -> dict[str, Any]:
        return (
            {"type": "http.request", "body": body, "more_body": False}
            if body != b"gone"
            else {"type": "http.disconnect"}
        )

    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"a=1",
        "headers": [(b"host", b"gw"), *headers], "state": state, "scheme": "http", "server": ("gw", 80),
    }  # fmt: skip
    return Request(scope, receive)


async def test_forms() -> None:
    """Each field once, blank ones too; none at all where nothing was sent."""
    assert await form_of(request(b"a=1&b=&c=%C3%A9+%26", FORM)) == {"a": "1", "b": "", "c": "é &"}
    assert await form_of(request()) == {}


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"a=1", [], 415),
        (b"{}", [(b"content-type", b"application/json")], 415),
        (b"a=%ff", [FORM], 400),
        (b"a=1&" * 101 + b"a=1", [FORM], 400),
        (b"a" * 65_537, [FORM], 413),
        (b"gone", [FORM], 400),
    ],
)
async def test_no_forms(body: bytes, headers: list[tuple[bytes, bytes]], status: int) -> None:
    """Other kinds, broken text, too many, too long, cut off."""
    with pytest.raises(GatewayError) as caught:
        await form_of(request(body, *headers))
    assert caught.value.status == status
    if status == 413:
        with pytest.raises(GatewayError):
            await body_of(request(body))


NOW = 10_000.0
ANN = Person(name="ann", role=Role.ADMIN)


def live(proved_s: int) -> Live:
    record = SessionRecord(id="s", account="ann", epoch=0, created_s=1, seen_s=1, proved_s=proved_s)
    return Live("d", record, Account(id="ann", name="ann", role=Role.ADMIN, created_s=1))


ACCESS: Any = SimpleNamespace(clock=SimpleNamespace(wall_s=lambda: NOW))


def test_a_fresh_proof_is_enough() -> None:
    """And a token has always given one."""
    assert ask_again(request(person=ANN, session=live(9_401)), ACCESS) is None
    program = Person(name="ci", role=Role.ADMIN, via="token")
    assert ask_again(request(person=program, session=None), ACCESS) is None


@pytest.mark.parametrize(
    ("method", "back", "target"),
    [
        ("GET", "", "/admin/confirm?next=%2Fadmin%2Fx%3Fa%3D1"),
        ("POST", "", "/admin/confirm?next=%2Fadmin"),
        ("POST", "/admin/y", "/admin/confirm?next=%2Fadmin%2Fy"),
        ("POST", "//evil.example", "/admin/confirm?next=%2Fadmin"),
    ],
)
def test_an_old_one_leads_to_the_question(method: str, back: str, target: str) -> None:
    """And back: to a page, never into a deed."""
    answer = ask_again(request(method=method, person=ANN, session=live(9_400)), ACCESS, back)

    assert answer is not None
    assert (answer.status_code, answer.headers["location"]) == (303, target)


def test_the_api_says_it_in_words() -> None:
    """A script is not sent to a page."""
    with pytest.raises(GatewayError) as caught:
        ask_again(request(path="/admin/api/export", person=ANN, session=live(1)), ACCESS)
    assert (caught.value.status, caught.value.error_type) == (403, "confirm")


def test_some_things_are_for_people() -> None:
    """A token has no session."""
    with pytest.raises(GatewayError):
        live_of(request(session=None))


EXPORTS = sorted(row.partition(" ")[2] for row in ROUTES if row.startswith("GET /admin/") and row.endswith("/export"))


@pytest.mark.parametrize("path", EXPORTS)
async def test_an_export_is_asked_for_again(redis_server: RedisServer, tmp_path: Path, path: str) -> None:
    """Ten minutes after the last proof; a page leads to the question and back, the API says so."""
    async with doors(redis_server, tmp_path) as world:
        admin = await world.signed_in()
        world.later(600)
        answer = await admin.get(f"{path}?format=csv")
        if path.startswith("/admin/api/"):
            assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (403, "confirm")
        else:
            assert (answer.status_code, answer.headers["location"]) == (
                303, f"/admin/confirm?next={quote(f'{path}?format=csv', safe='')}"
            )  # fmt: skip


def test_there_are_exports() -> None:
    """Of calls, usage, keys, the audit and the log."""
    assert len(EXPORTS) == 7
