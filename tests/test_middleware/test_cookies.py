"""Cookies: their names, what is believed of a transport, and what is not."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.config import Settings
from app.middleware.cookies import SESSION, Transport, cookie_name, drop_cookie, header, read_cookie, set_cookie


def scope(*headers: tuple[bytes, bytes], peer: str = "10.0.0.5", scheme: str = "http") -> dict[str, Any]:
    return {"type": "http", "scheme": scheme, "client": (peer, 1), "headers": [(b"host", b"gw.local:8080"), *headers]}


def transport(**settings: Any) -> Transport:
    return Transport(Settings(_env_file=None, **settings))  # type: ignore[call-arg]


PROXIED = (b"x-forwarded-proto", b"https")


@pytest.mark.parametrize(
    ("settings", "given", "secure"),
    [
        ({}, scope(), False),
        ({}, scope(scheme="https"), True),
        ({}, scope(PROXIED), False),
        ({"public_url": "https://gw.example"}, scope(), True),
        ({"public_url": "http://gw.example"}, scope(), False),
        ({"trusted_proxies": ("10.0.0.5",)}, scope(PROXIED), True),
        ({"trusted_proxies": ("10.0.0.5",)}, scope(), False),
        ({"trusted_proxies": ("10.0.0.6",)}, scope(PROXIED), False),
        ({"trusted_proxies": ("10.0.0.5",)}, scope((b"x-forwarded-proto", b"https, http")), False),
    ],
)
def test_when_a_browser_speaks_tls(settings: dict[str, Any], given: dict[str, Any], secure: bool) -> None:
    """By our own address, or by the word of a proxy that is trusted: the nearest one's."""
    assert transport(**settings).secure(given) is secure


def test_over_tls_the_names_bind_the_cookies_to_this_host() -> None:
    """`__Host-`: secure, for every path, of no other host."""
    name, value = set_cookie(SESSION, "abc", secure=True, max_age_s=60)

    assert (name, value) == (
        b"set-cookie",
        b"__Host-session=abc; Path=/; Max-Age=60; HttpOnly; SameSite=Strict; Secure",
    )
    plain = set_cookie(SESSION, "abc", secure=False, max_age_s=60)[1]
    assert plain == b"session=abc; Path=/; Max-Age=60; HttpOnly; SameSite=Strict"
    assert b"Max-Age=0" in drop_cookie(SESSION, secure=True)[1]
    assert cookie_name(SESSION, secure=False) == "session"


@pytest.mark.parametrize(
    ("sent", "secure", "found"),
    [
        ([b"session=abc"], False, "abc"),
        ([b"a=1; session=abc; b=2"], False, "abc"),
        ([b"a=1", b"session=abc"], False, "abc"),
        ([b"__Host-session=abc"], True, "abc"),
        ([b"session=abc"], True, ""),
        ([b"__Host-session=abc"], False, ""),
        ([b"session=abc; session=def"], False, ""),
        ([b"session=abc", b"session=abc"], False, ""),
        ([b"session=evil; __Host-session=abc"], True, "abc"),
        ([b"session=a b"], False, ""),
        ([b"session=a\xe9"], False, ""),
        ([b"session=" + b"a" * 600], False, ""),
        ([b"xsession=abc"], False, ""),
        ([b"session"], False, ""),
        ([], False, ""),
    ],
)
def test_which_cookie_counts(sent: list[bytes], secure: bool, found: str) -> None:
    """One of the right name; where somebody else has put a second one there, none."""
    given = scope(*((b"cookie", value) for value in sent))

    assert read_cookie(given, SESSION, secure=secure) == found


@pytest.mark.parametrize(
    ("origin", "own"),
    [
        (b"http://gw.local:8080", True),
        (b"https://GW.local:8080", True),
        (b"https://gw.example", True),
        (b"http://gw.local", False),
        (b"http://gw.local:8081", False),
        (b"http://gw.local:8080.evil.example", False),
        (b"http://evil.example", False),
        (b"gw.local:8080", False),
        (b"ftp://gw.local:8080", False),
        (b"null", False),
        (b"", False),
        (b"http://", False),
    ],
)
def test_own_origins(origin: bytes, own: bool) -> None:
    """The host that was called, to the port, or our public address."""
    assert transport(public_url="https://gw.example").is_own_origin(scope(), origin) is own


def test_addresses_and_headers() -> None:
    """The nearest address that no trusted proxy has; the origin as the browser has it."""
    given = scope((b"x-forwarded-for", b"6.6.6.6, 10.9.9.9"), (b"a", b"1"), (b"a", b"2"))

    assert transport().address(given) == "10.0.0.5"
    assert transport(trusted_proxies=("10.0.0.5",)).address(given) == "10.9.9.9"
    assert transport().address(given | {"client": None}) == ""
    assert transport().origin(given) == "http://gw.local:8080"
    assert transport(public_url="https://GW.example/x").origin(given) == "https://gw.example"
    assert header(given, b"a") == b"2"
    assert header(given, b"b") == b""
