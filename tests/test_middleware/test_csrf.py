"""What other sites make browsers send is refused, whatever its kind."""

from __future__ import annotations

import pytest

from app.core.config import Settings
from app.middleware.cookies import Transport
from app.middleware.csrf import Csrf
from app.models.people import Person, Role
from tests.test_middleware.layers import Plane, call, scope_of

HOST = (b"host", b"gw.local")
ANN = Person(name="ann", role=Role.ADMIN)
PROGRAM = Person(name="ci", role=Role.ADMIN, via="token")


async def status(method: str, *headers: tuple[bytes, bytes], person: Person | None = ANN, path: str = "/admin") -> int:
    plane = Plane()
    scope = scope_of(method, path, HOST, *headers) | {"state": {"person": person}}
    answer = await call(Csrf(plane, Transport(Settings(_env_file=None))), scope)  # type: ignore[call-arg]
    assert (answer.status == 200) is bool(plane.scopes)
    return answer.status


SITE = b"sec-fetch-site"
OWN = (b"origin", b"http://gw.local")
EVIL = (b"origin", b"https://evil.example")


@pytest.mark.parametrize(
    "headers", [[(SITE, b"same-origin")], [(SITE, b"none")], [OWN], [(SITE, b"same-origin"), EVIL]]
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_own_pages(method: str, headers: list[tuple[bytes, bytes]]) -> None:
    """By the browser's own word, else by the origin."""
    assert await status(method, *headers) == 200


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(SITE, b"cross-site")],
        [(SITE, b"same-site")],
        [(SITE, b"cross-site"), OWN],
        [(SITE, b"Same-Origin")],
        [EVIL],
        [(b"origin", b"null")],
        [(b"origin", b"http://gw.local:8081")],
        [(b"referer", b"http://gw.local/admin")],
        [(b"content-type", b"application/json")],
        [(b"content-type", b"text/plain"), EVIL],
        [(b"x-http-method-override", b"GET"), EVIL],
        [(b"x-requested-with", b"XMLHttpRequest"), EVIL],
    ],
)
@pytest.mark.parametrize("person", [ANN, None], ids=["signed in", "nobody"])
async def test_others(headers: list[tuple[bytes, bytes]], person: Person | None) -> None:
    """Other sites, other ports, no word at all; JSON is not exempt, and a login neither."""
    assert await status("POST", *headers, person=person, path="/login" if person is None else "/admin/api/x") == 403


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_reading_is_free(method: str) -> None:
    """It changes nothing, so anybody may send somebody to a page."""
    assert await status(method, (SITE, b"cross-site"), EVIL) == 200


async def test_a_token_needs_none_of_it() -> None:
    """No browser sends one by itself."""
    assert await status("POST", EVIL, person=PROGRAM, path="/admin/api/x") == 200


async def test_other_kinds_pass() -> None:
    """The start and end of the application are no requests."""
    seen: list[str] = []

    async def app(scope: dict[str, str], *_: object) -> None:
        seen.append(scope["type"])

    await Csrf(app, Transport(Settings(_env_file=None)))({"type": "lifespan"}, None, None)  # type: ignore[arg-type, call-arg]
    assert seen == ["lifespan"]
