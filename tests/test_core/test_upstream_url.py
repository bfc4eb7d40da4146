from __future__ import annotations

import pytest

from app.core.upstream_url import UpstreamUrl, parse_upstream

OPENROUTER = UpstreamUrl("https", "openrouter.ai", 443, "/api")


@pytest.mark.parametrize("ending", ["", "/", "/api", "/api/", "/api/v1", "/api/v1/"])
def test_upstream_endings(ending: str) -> None:
    """OPENROUTER_BASE_URL may be written in all the ways people write it."""
    assert parse_upstream(f"https://openrouter.ai{ending}", allow_plain_http=False) == OPENROUTER


@pytest.mark.parametrize(
    ("url", "upstream"),
    [
        ("https://OpenRouter.ai:8443", UpstreamUrl("https", "openrouter.ai", 8443, "/api")),
        ("https://proxy.example/team/api/v1", UpstreamUrl("https", "proxy.example", 443, "/team/api")),
        ("http://127.0.0.1:9000/api/v1", UpstreamUrl("http", "127.0.0.1", 9000, "/api")),
        ("http://127.8.9.10", UpstreamUrl("http", "127.8.9.10", 80, "/api")),
        ("http://[::1]:9000", UpstreamUrl("http", "::1", 9000, "/api")),
        ("http://localhost:9000/", UpstreamUrl("http", "localhost", 9000, "/api")),
    ],
)
def test_upstream_forms(url: str, upstream: UpstreamUrl) -> None:
    """Ports, prefixes and loopback addresses."""
    assert parse_upstream(url, allow_plain_http=False) == upstream
    assert parse_upstream(str(upstream), allow_plain_http=False) == upstream


@pytest.mark.parametrize(
    "url",
    [
        "",
        "openrouter.ai",
        "ftp://openrouter.ai",
        "https://",
        "https:///api",
        "https://user@openrouter.ai",
        "https://user:pw@openrouter.ai",
        "https://@openrouter.ai",
        "https://openrouter.ai?x=1",
        "https://openrouter.ai/api?",
        "https://openrouter.ai/api#f",
        "https://openrouter.ai/api#",
        "https://openrouter.ai/v1",
        "https://openrouter.ai/api/v2",
        "https://openrouter.ai/api/v1/v1",
        "https://openrouter.ai//api",
        "https://openrouter.ai/../api",
        "https://openrouter.ai/%2e%2e/api",
        "https://openrouter.ai\\@evil.example/api",
        "https://openrouter.ai /api",
        "https://openrouter.ai\r\nX: y/api",
        "https://openrouter.ai:0",
        "https://openrouter.ai:99999",
        "https://openrouter.ai:",
        "https://[::1",
        "https://öpenrouter.ai",
        "http://openrouter.ai",
        "http://10.0.0.1:9000",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "http://0.0.0.0:9000",
    ],
)
def test_upstream_refusals(url: str) -> None:
    """Nothing that could lead a key to another place, or in plain over a network."""
    with pytest.raises(ValueError):
        parse_upstream(url, allow_plain_http=False)
