"""What is asked of a provider, over loopback sockets, and which answers are none."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from app.core.clock import SystemClock
from app.core.config import Settings
from app.services.oidc_wire import OidcWire, ProviderSilent


class Handler(BaseHTTPRequestHandler):
    answer: tuple[int, bytes] = (200, b'{"a":1}')
    seen: list[tuple[str, str, dict[str, str], bytes]]

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.seen.append((self.command, self.path, headers, body))
        status, content = self.answer
        self.send_response(status)
        self.send_header("location", "/elsewhere")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET  # noqa: N815 - the server calls it so

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def provider() -> Iterator[Any]:
    handler = type("Once", (Handler,), {"seen": []})
    server = HTTPServer(("127.0.0.1", 0), handler)
    handler.base = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield handler
    server.shutdown()
    server.server_close()
    thread.join()


def wire() -> OidcWire:
    return OidcWire(Settings(_env_file=None), SystemClock())  # type: ignore[call-arg]


async def test_questions_and_answers(provider: Any) -> None:
    """With their query, their form, and credentials that are encoded as the standard wants it."""
    assert await wire().get(f"{provider.base}/x?a=1%26", "t0k") == {"a": 1}
    assert await wire().post(f"{provider.base}/token", {"code": "a b&c"}, "me:you", "p%:ü") == {"a": 1}
    (method, path, headers, _), (posted, _, sent, body) = provider.seen
    assert (method, path, headers["authorization"]) == ("GET", "/x?a=1%26", "Bearer t0k")
    assert (posted, body) == ("POST", b"code=a+b%26c")
    assert base64.b64decode(sent["authorization"].removeprefix("Basic ")) == b"me%3Ayou:p%25%3A%C3%BC"
    assert sent["content-type"] == "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((302, b"{}"), "status_302"),
        ((500, b"{}"), "status_500"),
        ((200, b"<html>"), "not_json"),
        ((200, b"[]"), "not_json"),
        ((200, b"\xff"), "not_json"),
        ((200, b'{"a":"' + b"x" * 1_100_000 + b'"}'), "too_large"),
    ],
)
async def test_answers_that_are_none(provider: Any, answer: tuple[int, bytes], reason: str) -> None:
    """Redirects are not followed, and nothing is read without end."""
    provider.answer = answer
    with pytest.raises(ProviderSilent) as caught:
        await wire().get(f"{provider.base}/x")
    assert caught.value.reason == reason
    assert len(provider.seen) == 1


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://id.example/x", "plain_http"),
        ("ftp://127.0.0.1/x", "bad_address"),
        ("https://user:canary@127.0.0.1/", "bad_address"),
        ("//x", "bad_address"),
        ("http://127.0.0.1:1/x", "ConnectError"),
    ],
)
async def test_addresses_that_are_not_asked(url: str, reason: str) -> None:
    """A secret travels sealed or stays here."""
    with pytest.raises(ProviderSilent) as caught:
        await wire().post(url, {"a": "b"}, "client", "canary")
    assert caught.value.reason == reason
    assert "canary" not in str(caught.value)
