"""The guard in front of a real uvicorn, spoken to over raw sockets: with our protocol and with uvicorn's own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.api.server_protocol import GatewayHttpProtocol
from app.core.config import load_settings
from app.middleware.guard import Guard, Limits
from app.middleware.request_log import RequestLog
from tests.asgi_server import Echo, Raw, Wire, ask, serving
from tests.test_middleware.layers import Plane, call

LIMITS = Limits(max_body_bytes=100_000, body_idle_timeout_s=0.4)
HEAD = b"Host: localhost\r\n"
KEY = b"gw_live_" + b"a" * 49


class Stand:
    """An application behind the guard, served on a port."""

    def __init__(self, port: int, echo: Echo) -> None:
        self.port = port
        self.echo = echo

    def status(self, payload: bytes) -> int:
        """0 where the connection was closed without an answer."""
        answer = ask(self.port, payload)
        return 0 if answer is None else answer.status


def _stand(protocol: type[HttpToolsProtocol], hosts: tuple[str, ...] = ()) -> Iterator[Stand]:
    echo = Echo()
    with serving(Guard(RequestLog(echo), LIMITS, hosts), protocol) as port:
        yield Stand(port, echo)


@pytest.fixture(scope="module", params=[HttpToolsProtocol, GatewayHttpProtocol], ids=["uvicorn", "gateway"])
def both(request: pytest.FixtureRequest) -> Iterator[Stand]:
    yield from _stand(request.param)


@pytest.fixture(scope="module")
def ours() -> Iterator[Stand]:
    yield from _stand(GatewayHttpProtocol)


@pytest.fixture(scope="module")
def plain() -> Iterator[Stand]:
    yield from _stand(HttpToolsProtocol)


@pytest.fixture(scope="module")
def listed() -> Iterator[Stand]:
    yield from _stand(GatewayHttpProtocol, ("gw.example.com", "*.team.example", "10.0.0.1:8080"))


def get(target: bytes, *headers: bytes, host: bytes = b"localhost") -> bytes:
    lines = b"".join(line + b"\r\n" for line in headers)
    return b"GET " + target + b" HTTP/1.1\r\nHost: " + host + b"\r\n" + lines + b"\r\n"


def post(*headers: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    lines = b"".join(line + b"\r\n" for line in headers)
    return b"POST /v1/x HTTP/" + version + b"\r\nHost: localhost\r\n" + lines + b"\r\n" + body


CHUNKED = b"Transfer-Encoding: chunked"
ABC = b"3\r\nabc\r\n0\r\n\r\n"

FRAMING = {
    "CL and TE": post(b"Content-Length: 3", CHUNKED, body=ABC),
    "TE and CL": post(CHUNKED, b"Content-Length: 3", body=ABC),
    "two equal CL": post(b"Content-Length: 3", b"Content-Length: 3", body=b"abc"),
    "CL list": post(b"Content-Length: 3, 3", body=b"abc"),
    "two different CL": post(b"Content-Length: 3", b"Content-Length: 4", body=b"abcd"),
    "CL +3": post(b"Content-Length: +3", body=b"abc"),
    "CL 0x3": post(b"Content-Length: 0x3", body=b"abc"),
    "CL -1": post(b"Content-Length: -1", body=b"abc"),
    "CL huge": post(b"Content-Length: 99999999999999999999999", body=b"abc"),
    "CL empty": post(b"Content-Length: ", body=b"abc"),
    "CL with space": post(b"Content-Length: 3 3", body=b"abc"),
    "TE xchunked": post(b"Transfer-Encoding: xchunked", body=ABC),
    "TE chunked, identity": post(b"Transfer-Encoding: chunked, identity", body=ABC),
    "TE vtab": post(b"Transfer-Encoding: \x0bchunked", body=ABC),
    "TE space before colon": post(b"Transfer-Encoding : chunked", body=ABC),
    "TE twice": post(CHUNKED, CHUNKED, body=ABC),
    "TE gzip, chunked": post(b"Transfer-Encoding: gzip, chunked", body=ABC),
    "TE identity": post(b"Transfer-Encoding: identity", body=ABC),
    "TE in HTTP/1.0": post(CHUNKED, body=ABC, version=b"1.0"),
    "bare LF in chunks": post(CHUNKED, body=b"3\nabc\n0\n\n"),
    "bad chunk terminator": post(CHUNKED, body=b"3\r\nabcXX0\r\n\r\n"),
    "chunk size overflow": post(CHUNKED, body=b"1000000000000000000000\r\nabc\r\n0\r\n\r\n"),
    "chunk size not hex": post(CHUNKED, body=b"zz\r\nabc\r\n0\r\n\r\n"),
    "bare LF header lines": b"GET /a HTTP/1.1\nHost: localhost\n\n",
    "bare CR in a header": get(b"/a", b"X: a\rb"),
    "obs-fold": get(b"/a", b"X: a\r\n b"),
    "header without colon": get(b"/a", b"Nonsense"),
    "space in a header's name": get(b"/a", b"X Y: 1"),
    "empty header name": get(b"/a", b": 1"),
    "no Host": b"GET /a HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET /a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "two equal Hosts": b"GET /a HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "two content types": post(b"Content-Type: a/b", b"Content-Type: c/d", b"Content-Length: 1", body=b"a"),
    "HTTP/9.9": b"GET /a HTTP/9.9\r\nHost: a\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n",
    "unknown method": b"NONSENSE /a HTTP/1.1\r\nHost: a\r\n\r\n",
    "lower-case method": b"get /a HTTP/1.1\r\nHost: a\r\n\r\n",
}


@pytest.mark.parametrize("payload", FRAMING.values(), ids=FRAMING)
def test_ambiguous_framing_is_refused(both: Stand, payload: bytes) -> None:
    """Whatever two parsers could read in two ways gets a 400, and the application never gets to see it whole."""
    before = len(both.echo.seen)
    with Wire(both.port) as wire:
        wire.send(payload)
        answer = wire.answer()
        assert answer is not None
        assert answer.status == 400
        assert answer.headers[b"connection"] == b"close"
        assert wire.closed()
    assert len(both.echo.seen) == before


BAD_HOSTS = {
    "path and query": b"a/public?x=",
    "fragment": b"a#",
    "user": b"a@b",
    "user and password": b"u:p@b",
    "port too large": b"a:99999",
    "port zero": b"a:0",
    "port empty": b"a:",
    "port with letters": b"a:8x",
    "open bracket": b"[::1",
    "no address in brackets": b"[]",
    "nonsense in brackets": b"[::g]",
    "zone": b"[fe80::1%25eth0]",
    "bare IPv6": b"::1",
    "300 characters": b"a" * 300,
    "IDN": "ex\xe4mple.com".encode(),
    "empty": b"",
    "comma": b"a,b",
    "space": b"a b",
    "dots": b"a..b",
    "only a dot": b".",
    "backslash": b"a\\b",
    "percent": b"a%2eb",
}


@pytest.mark.parametrize("host", BAD_HOSTS.values(), ids=BAD_HOSTS)
def test_malformed_hosts_are_refused(both: Stand, host: bytes) -> None:
    """A Host that is no name and no address never reaches anything that could build an address from it."""
    before = len(both.echo.seen)
    assert both.status(get(b"/v1/models", host=host)) == 400
    assert len(both.echo.seen) == before


@pytest.mark.parametrize(
    "host",
    [b"localhost", b"localhost:8080", b"127.0.0.1:1", b"[::1]:65535", b"[2001:db8::1]", b"my_app", b"a.b."],
)
def test_sound_hosts_pass(both: Stand, host: bytes) -> None:
    """Names, addresses and ports as they occur in practice are let through."""
    assert both.status(get(b"/v1/models", host=host)) == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (b"gw.example.com", 200),
        (b"GW.example.COM", 200),
        (b"gw.example.com:8080", 200),
        (b"gw.example.com.", 200),
        (b"a.team.example", 200),
        (b"team.example", 421),
        (b"xteam.example", 421),
        (b"10.0.0.1:8080", 200),
        (b"10.0.0.1", 421),
        (b"evil.example.com", 421),
        (b"gw.example.com.evil.org", 421),
        (b"localhost", 421),
    ],
)
def test_the_list_of_hosts_decides(listed: Stand, host: bytes, status: int) -> None:
    """With ALLOWED_HOSTS set, a name that is not on it is answered 421."""
    assert listed.status(get(b"/v1/models", host=host)) == status


BAD_TARGETS = [
    b"//evil.com/x", b"/v1//models", b"/v1/models//", b"/\\evil", b"/v1\\models", b"/;/admin", b"/v1/;x",
    b"/v1/../admin/keys", b"/v1/../../x", b"/..", b"/.", b"/v1/./models", b"/v1/.", b"/v1/..", b"/v1/..;/admin",
    b"/v1/%2e%2e/admin", b"/v1/%2E%2e/x", b"/v1/.%2e/x", b"/v1/%2e./x", b"/v1/%2e/models", b"/v1/..%2fadmin",
    b"/v1%2fmodels", b"/v1/a%2Fb", b"/v1/a%5cb", b"/v1/a%5Cb", b"/v1/%00", b"/v1/a%00b", b"/v1/%0a", b"/v1/%0d%0aX:1",
    b"/v1/%7f", b"/v1/%1b[31m", b"/v1/%ff", b"/v1/%c0%ae%c0%ae/x", b"/v1/%c0%af", b"/v1/%e0%80%af", b"/v1/%ed%a0%80",
    b"/v1/%c2%85", b"/v1/%252e%252e/x", b"/v1/%252f", b"/v1/%255c", b"/v1/%2500", b"/v1/%25252e", b"/v1/%2541",
    b"/v1/%", b"/v1/%2", b"/v1/%zz", b"/v1/%u002e", b"/v1/%2e%2e;x/y", b"/v1/caf\xc3\xa9", b"/v1/a b", b"/v1/a\x7fb",
    b"/v1/a\x01b", b"/v1/a\tb", b"/%2e%2e", b"/%2fevil.com", b"/%5cevil.com", b"/v1/%2e%2e%5cx", b"/v1/%%32%65",
]  # fmt: skip


@pytest.mark.parametrize("target", BAD_TARGETS, ids=repr)
def test_tricky_paths_are_refused(both: Stand, target: bytes) -> None:
    """No encoding of `..`, `//`, a slash, a backslash or a control character gets through."""
    before = len(both.echo.seen)
    assert both.status(get(target)) == 400
    assert len(both.echo.seen) == before


@pytest.mark.parametrize(
    "target",
    [b"http://evil/admin", b"HTTP://localhost/v1/models", b"https://evil:443/x", b"*", b"@evil", b"@evil/x", b"evil:80",
     b"?x", b"#a", b"/v1/models#frag", b"/v1/models?a#b", b"ftp://x/y", b"file:///etc/passwd", b"v1/models"],
    ids=repr,
)  # fmt: skip
def test_targets_that_are_no_path_are_refused(ours: Stand, target: bytes) -> None:
    """Absolute-form, authority-form, asterisk-form and fragments end before there is an application."""
    before = len(ours.echo.seen)
    answer = ask(ours.port, get(target))
    assert answer is not None
    assert answer.status == 400
    assert msgspec.json.decode(answer.body)["error"]["code"] == 400
    assert len(ours.echo.seen) == before


@pytest.mark.parametrize(
    "target",
    [b"/", b"/v1/models", b"/v1/models/", b"/v1/models/openai/gpt-5:free/endpoints", b"/v1/a%20b", b"/v1/caf%C3%A9",
     b"/v1/~x/@y", b"/v1/.well-known", b"/v1/...", b"/v1/a;b=c", b"/v1/a!b$c&d'e(f)*g", b"/v1/a..b", b"/%F0%9F%98%80"],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("query", [b"", b"?", b"?a=b&a=%2e%2e%2f&&c", b"?q=%00%ff%252e&x=//..\\", b"?a=http://b/../c"])
def test_honest_targets_pass_to_the_byte(both: Stand, target: bytes, query: bytes) -> None:
    """Path and query arrive exactly as they were sent."""
    assert both.status(get(target + query)) == 200
    assert both.echo.seen[-1][1:3] == (target, query[1:])


@pytest.mark.parametrize("query", [b"a=b c", b"a=\x00", b"a=\x01", b"a=\x7f", b"a=\xc3\xa9"], ids=repr)
def test_queries_with_raw_controls_are_refused(both: Stand, query: bytes) -> None:
    """Control characters, spaces and raw bytes do not pass in a query."""
    assert both.status(get(b"/v1/x?" + query)) == 400


@pytest.mark.parametrize("query", [b"api_key=" + KEY, b"key=gw%5Flive_abc", b"a=sk-or-v1-0123456789", b"k=%67w_live_1"])
def test_keys_in_addresses_are_refused(both: Stand, query: bytes) -> None:
    """A key in the query string is refused with a word of its own, and is not repeated."""
    answer = ask(both.port, get(b"/v1/models?" + query))
    assert answer is not None
    assert answer.status == 400
    assert b"credential_in_url" in answer.body
    assert query not in answer.body


@pytest.mark.parametrize(
    ("payload", "status"),
    [
        (b"TRACE /v1/x HTTP/1.1\r\n" + HEAD + b"\r\n", 405),
        (get(b"/" + b"a" * 5000), 414),
        (get(b"/a?" + b"a" * 5000), 414),
        (get(b"/a", b"X: " + b"a" * 20_000), 431),
        (get(b"/a", *[b"X%d: 1" % n for n in range(100)]), 431),
        (get(b"/a", *[b"X%d: 1" % n for n in range(1000)]), 431),
        (get(b"/a", b"X: " + b"a" * 65_536), 431),
        (post(b"Content-Encoding: gzip", b"Content-Length: 3", body=b"abc"), 415),
        (post(b"Content-Encoding: br, gzip", b"Content-Length: 3", body=b"abc"), 415),
        (post(b"Content-Encoding: identity", b"Content-Length: 3", body=b"abc"), 200),
        (post(b"Expect: x", b"Content-Length: 3", body=b"abc"), 417),
        (get(b"/a", b"X: a\x00b"), 400),
        (get(b"/a", b"X: a\x7fb"), 400),
        (get(b"/a", b"X: \xe9"), 400),
        (get(b"/a", b"X: \xc3\xa9"), 400),
        (get(b"/a", b"X: \x1b[31m"), 400),
        (get(b"/a", b"X: a\tb"), 200),
        (post(b"Content-Length: 0"), 200),
        (post(), 200),
        (post(CHUNKED, body=ABC), 200),
        (post(b"Transfer-Encoding: Chunked", body=ABC), 200),
        (post(CHUNKED, body=b"3;x=y\r\nabc\r\n0\r\n\r\n"), 200),
    ],
    ids=lambda value: repr(value[:60]) if isinstance(value, bytes) else str(value),
)
def test_size_form_and_method_limits(both: Stand, payload: bytes, status: int) -> None:
    """Each bound is answered with the status that names it."""
    assert both.status(payload) == status


def test_refused_methods_say_what_is_allowed(both: Stand) -> None:
    """405 carries Allow."""
    answer = ask(both.port, b"TRACE / HTTP/1.1\r\n" + HEAD + b"\r\n")
    assert answer is not None
    assert b"POST" in answer.headers[b"allow"]


def test_tunnels_are_refused(ours: Stand) -> None:
    """CONNECT gets a 405 before there is an application."""
    assert ours.status(b"CONNECT evil:443 HTTP/1.1\r\n" + HEAD + b"\r\n") == 405


def test_a_giant_url_is_too_long(ours: Stand) -> None:
    """uvicorn alone gives up on a target of 100 kB; here it has the status that names it."""
    assert ours.status(get(b"/" + b"a" * 100_000)) == 414


def test_http_0_9_gets_no_service(ours: Stand) -> None:
    """A request line without a version is no request."""
    assert ours.status(b"GET /a\r\n\r\n") == 400


def test_upgrades_without_our_protocol_are_refused_with_advice(plain: Stand) -> None:
    """uvicorn's own protocol loses the body of such a request, so the guard says so instead of waiting for it."""
    for offer in (b"h2c", b"websocket", b"foo"):
        answer = ask(plain.port, post(b"Upgrade: " + offer, b"Connection: Upgrade", b"Content-Length: 3", body=b"abc"))
        assert answer is not None
        assert answer.status == 400
        assert b"HTTP/1.1" in answer.body


def test_offers_of_other_protocols_are_ignored(ours: Stand) -> None:
    """The body arrives, and so does the next request on the connection (Java's HttpClient offers h2c by default)."""
    offer = (b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk", b"Connection: Upgrade, HTTP2-Settings")
    before = len(ours.echo.seen)
    with Wire(ours.port) as wire:
        wire.send(post(*offer, b"Content-Length: 3", body=b"abc") + get(b"/second"))
        first, second = wire.answer(), wire.answer()
        wire.send(post(*offer, CHUNKED, body=b"3\r\nxyz\r\n"))
        time.sleep(0.05)
        wire.send(b"0\r\n\r\n")
        third = wire.answer()
    assert [answer and answer.status for answer in (first, second, third)] == [200, 200, 200]
    assert [body for *_, body in ours.echo.seen[before:]] == [b"abc", b"", b"xyz"]
    names = {name for name, _ in ours.echo.headers[before]}
    assert not names & {b"upgrade", b"http2-settings"}


def test_many_offers_at_once_are_refused(ours: Stand) -> None:
    """Pipelined upgrades, each of which costs a copy of the rest, end the connection."""
    request = get(b"/a", b"Upgrade: h2c", b"Connection: upgrade")
    with Wire(ours.port) as wire:
        wire.send(request * 50)
        while wire.answer() is not None:
            pass
        assert wire.closed()


@pytest.mark.parametrize("head", [b"Content-Length: 100001", CHUNKED], ids=["length", "chunked"])
def test_bodies_over_the_limit_are_cut(both: Stand, head: bytes) -> None:
    """One byte too much is 413, said at once where the length says so and else when the byte arrives."""
    before = len(both.echo.seen)
    with Wire(both.port) as wire:
        wire.send(post(head))
        if head == CHUNKED:
            wire.send(b"186a0\r\n" + b"a" * 100_000 + b"\r\n1\r\na\r\n")
        answer = wire.answer()
        assert answer is not None
        assert answer.status == 413
        assert b"payload_too_large" in answer.body
        assert wire.closed()
    assert len(both.echo.seen) == before


def test_a_client_that_sends_everything_first_reads_its_413(both: Stand) -> None:
    """The answer is not lost to a reset while the client is still sending."""
    with Wire(both.port) as wire:
        wire.send(post(b"Content-Length: 8000000", body=b"a" * 8_000_000))
        answer = wire.answer()
        assert answer is not None
        assert answer.status == 413


@pytest.mark.parametrize("head", [b"Content-Length: 100000", CHUNKED], ids=["length", "chunked"])
def test_bodies_at_the_limit_pass(both: Stand, head: bytes) -> None:
    """The limit itself is allowed."""
    body = b"a" * 100_000
    framed = body if head != CHUNKED else b"186a0\r\n" + body + b"\r\n0\r\n\r\n"
    assert both.status(post(head, body=framed)) == 200
    assert both.echo.seen[-1][3] == body


def test_a_silent_body_is_cut(both: Stand) -> None:
    """A body that stops in the middle is 408, and the connection ends."""
    with Wire(both.port) as wire:
        wire.send(post(b"Content-Length: 10", body=b"abc"))
        answer = wire.answer()
        assert answer is not None
        assert answer.status == 408
        assert wire.closed()


def test_a_dripping_body_is_cut(both: Stand) -> None:
    """A byte now and then is no progress worth a connection."""
    with Wire(both.port) as wire:
        wire.send(post(b"Content-Length: 1000"))
        answer: Raw | None = None
        for _ in range(40):
            wire.send(b"a")
            wire.socket.settimeout(0.1)
            try:
                answer = wire.answer()
                break
            except TimeoutError:
                continue
        assert answer is not None
        assert answer.status == 408


def test_expectations_are_met_when_the_body_is_read(both: Stand) -> None:
    """`100 Continue` goes out once the application asks for the body, and not before a refusal."""
    with Wire(both.port) as wire:
        wire.send(post(b"Expect: 100-continue", b"Content-Length: 3"))
        assert wire.interim().startswith(b"HTTP/1.1 100 ")
        wire.send(b"abc")
        answer = wire.answer()
        assert answer is not None
        assert answer.body == b"abc"
    with Wire(both.port) as wire:
        wire.send(post(b"Expect: 100-continue", b"Content-Length: 100001"))
        assert wire.interim().startswith(b"HTTP/1.1 413 ")


def test_get_may_have_a_body(both: Stand) -> None:
    """A body is bounded and passed on whatever the method."""
    assert both.status(b"GET /a HTTP/1.1\r\n" + HEAD + b"Content-Length: 3\r\n\r\nabc") == 200
    assert both.echo.seen[-1][3] == b"abc"


def test_pipelined_requests_are_answered_in_order(both: Stand) -> None:
    """50 requests in one piece give 50 answers, each its own."""
    with Wire(both.port) as wire:
        wire.send(b"".join(post(b"Content-Length: 2", body=b"%02d" % n) for n in range(50)))
        bodies = []
        for _ in range(50):
            answer = wire.answer()
            assert answer is not None
            bodies.append(answer.body)
    assert bodies == [b"%02d" % n for n in range(50)]


def test_refusals_have_an_id_and_the_shape_of_the_api(both: Stand) -> None:
    """Anthropic's shape below /messages, OpenRouter's elsewhere, a request id in both."""
    answer = ask(
        both.port, b"POST /v1/messages HTTP/1.1\r\n" + HEAD + b"Expect: x\r\nX-Request-ID: my-own-id-1\r\n\r\n"
    )
    assert answer is not None
    shape = msgspec.json.decode(answer.body)
    assert shape["type"] == "error"
    assert shape["request_id"] == "my-own-id-1"
    assert answer.headers[b"x-request-id"] == b"my-own-id-1"
    other = ask(both.port, post(b"Expect: x"))
    assert other is not None
    assert msgspec.json.decode(other.body)["error"]["metadata"]["error_type"] == "expectation_failed"


def test_refusals_of_head_requests_have_no_body(both: Stand) -> None:
    """HEAD is answered with a head, also when it is refused."""
    with Wire(both.port) as wire:
        wire.send(b"HEAD /v1/../x HTTP/1.1\r\n" + HEAD + b"\r\n")
        answer = wire.answer(head_only=True)
        assert answer is not None
        assert answer.status == 400
        assert wire.closed()


async def test_websockets_are_denied() -> None:
    """What is neither HTTP nor the server's own lifespan does not get in."""
    sent = []

    async def receive() -> dict[str, object]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    await Guard(Echo(), LIMITS)({"type": "websocket"}, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


BY_ITSELF = {
    "controls in a header": ({"headers": [(b"host", b"a"), (b"x", b"a\r\nb: c")]}, 400),
    "CL no number": ({"headers": [(b"host", b"a"), (b"content-length", b"+3")]}, 400),
    "CL endless": ({"headers": [(b"host", b"a"), (b"content-length", b"9" * 30)]}, 400),
    "CL twice": ({"headers": [(b"host", b"a"), (b"content-length", b"3"), (b"content-length", b"3")]}, 400),
    "CL and TE": ({"headers": [(b"host", b"a"), (b"content-length", b"3"), (b"transfer-encoding", b"chunked")]}, 400),
    "HTTP/0.9": ({"headers": [(b"host", b"a")], "http_version": "0.9"}, 400),
    "CONNECT": ({"headers": [(b"host", b"a")], "method": "CONNECT", "raw_path": b"evil:443"}, 405),
    "no slash": ({"headers": [(b"host", b"a")], "raw_path": b"evil"}, 400),
    "empty path": ({"headers": [(b"host", b"a")], "raw_path": b""}, 400),
    "raw bytes": ({"headers": [(b"host", b"a")], "raw_path": b"/\xff"}, 400),
    "HTTP/2": ({"headers": [(b"host", b"a")], "http_version": "2"}, 200),
    "HTTP/1.0": ({"headers": [(b"host", b"a")], "http_version": "1.0"}, 200),
}


@pytest.mark.parametrize(("changes", "status"), BY_ITSELF.values(), ids=BY_ITSELF)
async def test_the_guard_relies_on_no_server(changes: dict[str, Any], status: int) -> None:
    """What httptools would have refused is refused here as well, for servers that do not."""
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/a",
        "raw_path": b"/a",
        "query_string": b"",
        "http_version": "1.1",
    }
    answer = await call(Guard(Plane(), LIMITS), scope | changes)
    assert answer.status == status


async def test_lifespan_passes() -> None:
    """The server's own business goes through."""
    plane = Plane()
    await call(Guard(plane, LIMITS), {"type": "lifespan"})
    assert len(plane.scopes) == 1


def test_limits_come_from_the_settings(tmp_path: Path) -> None:
    """Each bound is the setting of its name."""
    limits = Limits.of(load_settings(env_file=tmp_path / "none"))
    assert limits == Limits()
