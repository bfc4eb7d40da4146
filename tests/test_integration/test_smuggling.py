"""Request smuggling: bytes that two parsers could cut in two ways, sent to the gateway alone and through real proxies.

Each payload hides a second request. Whatever a proxy and the gateway make of it, upstream sees one request at most and
never the hidden one, and an honest request behind it gets its own answer.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import httptools
import pytest

from tests.gateway_process import free_port, running_gateway, wait_until
from tests.simulator_thread import SimulatorThread, running_simulator
from tests.test_deploy.nginx_front import Front, running_nginx

HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")
STACKS = ("gateway", "nginx", "haproxy")
# A payload that leaves its reader waiting for more is given up after this silence.
QUIET_S = 0.25


class Payload(NamedTuple):
    """`taken`: the body of the one request that the gateway may make of it; None: it must refuse the whole."""

    data: bytes
    taken: bytes | None = None


def grid(key: bytes) -> dict[str, Payload]:  # noqa: PLR0915 - a table
    """All payloads by name, with this client key in them."""
    bearer = b"Authorization: Bearer " + key + b"\r\n"
    line, host = b"POST /v1/carrier HTTP/1.1\r\n", b"Host: gw\r\n"
    hidden = b"GET /v1/hidden HTTP/1.1\r\n" + host + bearer + b"\r\n"
    end, chunked = b"0\r\n\r\n", b"Transfer-Encoding: chunked\r\n"
    hello = b"5\r\nhello\r\n"
    behind = len(end + hidden)
    found: dict[str, Payload] = {}

    def raw(name: str, data: bytes, taken: bytes | None = None) -> None:
        assert name not in found
        found[name] = Payload(data, taken)

    def post(name: str, lines: bytes, body: bytes, taken: bytes | None = None) -> None:
        raw(name, line + host + bearer + lines + b"\r\n" + body, taken)

    def length(size: int) -> bytes:
        return b"Content-Length: %d\r\n" % size

    # A length and chunks.
    post("length and chunked", length(behind) + chunked, end + hidden)
    post("chunked and length", chunked + length(behind), end + hidden)
    post("length shorter than the chunk", length(4) + chunked, b"%x\r\n%b\r\n" % (len(hidden), hidden) + end)
    post("length zero and chunked", length(0) + chunked, b"%x\r\n%b\r\n" % (len(hidden), hidden) + end)
    post("length and CHUNKED", length(behind) + b"TRANSFER-ENCODING: ChUnKeD\r\n", end + hidden)
    raw(
        "length and chunked in HTTP/1.0",
        b"POST /v1/carrier HTTP/1.0\r\nConnection: keep-alive\r\n"
        + host + bearer + length(behind) + chunked + b"\r\n" + end + hidden,
    )  # fmt: skip
    raw("chunked in HTTP/1.0", b"POST /v1/carrier HTTP/1.0\r\n" + host + bearer + chunked + b"\r\n" + end + hidden)

    # Several lengths, or one that is none.
    size = len(hidden)
    post("two lengths, first none", length(0) + length(size), hidden)
    post("two lengths, last none", length(size) + length(0), hidden)
    post("two equal lengths", length(size) + length(size), hidden)
    post("list of lengths", b"Content-Length: 0, %d\r\n" % size, hidden)
    post("list of equal lengths", b"Content-Length: %d, %d\r\n" % (size, size), hidden)
    for name, value in {
        "plus": b"+%d", "minus": b"-%d", "hex": b"0x%d", "underscore": b"%d_0", "point": b"%d.0", "comma": b"%d,",
        "semicolon": b"%d;x", "exponent": b"%de0", "inner space": b"%d 0", "inner tab": b"%d\t0", "nul": b"%d\x00",
        "vertical tab": b"\x0b%d", "form feed": b"%d\x0c", "bare cr": b"%d\r", "eight bit": b"\xb2%d", "quotes": b'"%d"',
    }.items():  # fmt: skip
        post(f"length with {name}", b"Content-Length: " + value % size + b"\r\n", hidden)
    post("length beyond 64 bits", b"Content-Length: %d\r\n" % (2**64 + size), hidden)
    post("empty length", b"Content-Length:\r\n", hidden)
    post("length with zeros before it", b"Content-Length: 0005\r\n", b"hello", b"hello")
    post("length with blanks around it", b"Content-Length: \t 5 \t\r\n", b"hello", b"hello")
    post("length of another name", b"Content_Length: 0\r\n" + length(size), hidden, hidden)
    post("space before the length's colon", b"Content-Length : %d\r\n" % size, hidden)
    post("tab before the length's colon", b"Content-Length\t: %d\r\n" % size, hidden)
    post("folded length", b"Content-Length:\r\n %d\r\n" % size, hidden)
    raw("length folded to the host", line + bearer + b"Host: gw\r\n Content-Length: %d\r\n\r\n" % size + hidden)

    # Transfer-Encoding in disguise, with a length that says something else.
    for name, value in {
        "unknown": b"xchunked", "cut": b"chunke", "longer": b"chunkedx", "with identity": b"chunked, identity",
        "behind identity": b"identity, chunked", "behind gzip": b"gzip, chunked", "twice": b"chunked, chunked",
        "in quotes": b'"chunked"', "with a parameter": b"chunked;q=1", "behind a comma": b",chunked",
        "before a comma": b"chunked,", "behind a vertical tab": b"\x0bchunked", "with a nul": b"chunk\x00ed",
        "before a nul": b"chunked\x00", "with a bare cr": b"chunked\rx", "in eight bits": b"\xa0chunked", "empty": b"",
        "identity": b"identity",
    }.items():  # fmt: skip
        post(f"coding {name}", b"Transfer-Encoding: " + value + b"\r\n" + length(behind), end + hidden)
        post(f"coding {name}, alone", b"Transfer-Encoding: " + value + b"\r\n", end + hidden)
    post("two codings", chunked + b"Transfer-Encoding: identity\r\n", end + hidden)
    post("two codings, chunked last", b"Transfer-Encoding: identity\r\n" + chunked, end + hidden)
    post("chunked in two lines", chunked + chunked, end + hidden)
    post("coding with a space before its colon", b"Transfer-Encoding : chunked\r\n" + length(behind), end + hidden)
    post("coding with a space before its name", b" Transfer-Encoding: chunked\r\n" + length(behind), end + hidden)
    post("folded coding", b"Transfer-Encoding:\r\n chunked\r\n" + length(behind), end + hidden)
    post("colon on the next line", b"Transfer-Encoding\r\n: chunked\r\n" + length(behind), end + hidden)
    post("coding behind a bare lf", b"X-A: b\nTransfer-Encoding: chunked\r\n" + length(behind), end + hidden)
    post("coding behind a bare cr", b"X-A: b\rTransfer-Encoding: chunked\r\n" + length(behind), end + hidden)
    post("coding with a nul in its name", b"Transfer-Encoding\x00: chunked\r\n" + length(behind), end + hidden)
    post("coding of another name", b"Transfer_Encoding: chunked\r\n" + length(behind), end + hidden, end + hidden)
    post("coding in capitals", b"Transfer-Encoding: CHUNKED\r\n", hello + end, b"hello")

    # Chunks.
    for name, start in {
        "0x": b"0x5", "plus": b"+5", "minus": b"-5", "a space first": b" 5", "underscore": b"0_5", "point": b"5.0",
        "comma": b"5,5", "nothing": b"", "a letter beyond f": b"g", "a nul": b"5\x00", "a bare cr": b"5\rx",
        "overflow": b"10000000000000005", "much overflow": b"f" * 40, "a vertical tab": b"5\x0b", "quotes": b'"5"',
    }.items():  # fmt: skip
        post(f"chunk size with {name}", chunked, start + b"\r\nhello\r\n" + end + hidden)
    post("chunk line ended by a bare lf", chunked, b"5\nhello\r\n" + end + hidden)
    post("chunk ended by a bare lf", chunked, b"5\r\nhello\n" + end + hidden)
    post("chunk ended by a bare cr", chunked, b"5\r\nhello\r" + end + hidden)
    post("chunk without its end", chunked, b"5\r\nhello" + end + hidden)
    post("chunk ended by other bytes", chunked, b"5\r\nhelloXX" + end + hidden)
    post("last chunk ended by bare lfs", chunked, hello + b"0\n\n" + hidden)
    post("last chunk ended by lf and crlf", chunked, hello + b"0\n\r\n" + hidden)
    post("last chunk ended by crlf and lf", chunked, hello + b"0\r\n\n" + hidden)
    post("last chunk ended by bare crs", chunked, hello + b"0\r\r" + hidden)
    post("last chunk's line runs into a request", chunked, hello + b"0\r\n" + hidden)
    post("chunk extension", chunked, b"5;a=b\r\nhello\r\n" + end, b"hello")
    post("chunk extension with a bare lf", chunked, b"5;a\nhello\r\n" + end + hidden)
    post("chunk extension with a bare cr", chunked, b"5;a\rb\r\nhello\r\n" + end + hidden)
    post("chunk extension with a nul", chunked, b"5;a\x00\r\nhello\r\n" + end + hidden)
    post("request in a chunk extension", chunked, b'5;a="\n\n' + hidden + b'"\r\nhello\r\n' + end)
    post("crlf in a quoted extension", chunked, b'5;a="\r\nhello\r\n0\r\n\r\n"\r\n', b"hello")
    post("extension of the last chunk with a bare lf", chunked, hello + b"0;a\n\r\n" + hidden)
    post("length as a trailer", chunked, hello + b"0\r\nContent-Length: %d\r\n\r\n" % size, b"hello")
    post("coding as a trailer", chunked, hello + b"0\r\nTransfer-Encoding: chunked\r\n\r\n", b"hello")
    post("key and host as trailers", chunked, hello + b"0\r\nHost: evil\r\nAuthorization: x\r\n\r\n", b"hello")
    post("request among the trailers", chunked, hello + b"0\r\nX: y\r\n" + hidden)
    post("folded trailer", chunked, hello + b"0\r\nX: y\r\n z\r\n\r\n" + b"")

    # Lines of the head.
    rest = bearer + length(5) + b"\r\nhello"
    raw("bare lf everywhere", (line + host + rest).replace(b"\r\n", b"\n"))
    raw("bare cr everywhere", (line + host + rest).replace(b"\r\n", b"\r"))
    raw("bare lf after the request line", line.replace(b"\r\n", b"\n") + host + rest)
    raw("head ended by lf and lf", line + host + bearer + b"X: y\n\n" + hidden)
    raw("head ended by crlf and lf", line + host + bearer + b"X: y\r\n\n" + hidden)
    raw("head ended by cr and cr", line + host + bearer + b"X: y\r\r" + hidden)
    raw("obs-fold", line + host + b"X: y\r\n z\r\n" + rest)
    raw("first line folded", line + b" " + host + rest)
    raw("line without a colon", line + host + b"X\r\n" + rest)
    raw("line without a name", line + host + b": x\r\n" + rest)
    raw("nul in a name", line + host + b"X\x00: y\r\n" + rest)
    raw("nul in a value", line + host + b"X: y\x00z\r\n" + rest)
    raw("bare cr in a value", line + host + b"X: y\rz\r\n" + rest)
    raw("blank in a name", line + host + b"X Y: z\r\n" + rest)
    raw("space before a colon", line + host + b"X : y\r\n" + rest)
    raw("host twice", line + host + b"Host: evil\r\n" + rest)
    raw("host twice, equal", line + host + host + rest)
    raw("no host", line + rest)
    raw("host with somebody in it", line + b"Host: gw@evil\r\n" + rest)
    raw("host with a path", line + b"Host: gw/v1/hidden?x=\r\n" + rest)
    raw("host with a request", line + b"Host: gw\n\n" + hidden + b"\r\n" + rest)

    # The request line.
    for name, target in {
        "absolute form": b"http://gw/v1/carrier", "absolute form of another host": b"http://evil/v1/hidden",
        "authority form": b"gw:80", "asterisk": b"*", "no slash": b"v1/carrier", "two slashes": b"//evil/v1/hidden",
        "fragment": b"/v1/carrier#/v1/hidden", "nul": b"/v1/carrier\x00", "tab": b"/v1/carrier\tx",
        "encoded crlf": b"/v1/carrier%0d%0a%0d%0aGET%20/v1/hidden", "request within": b"/v1/carrier HTTP/1.1\r\n\r\nGET /x",
        "spaces": b"/v1/carrier HTTP/1.1 /v1/hidden", "eight bits": b"/v1/carrier\xff", "bare cr": b"/v1/carrier\rx",
        "dot segments": b"/v1/carrier/../hidden", "encoded dots": b"/v1/carrier/%2e%2e/hidden",
    }.items():  # fmt: skip
        raw(f"target: {name}", b"POST " + target + b" HTTP/1.1\r\n" + host + rest)
    for name, version in {
        "HTTP/0.9": b"HTTP/0.9", "HTTP/1.2": b"HTTP/1.2", "HTTP/2.0": b"HTTP/2.0", "HTTP/11": b"HTTP/11",
        "http/1.1": b"http/1.1", "HTTP/1.10": b"HTTP/1.10", "HTTP/01.1": b"HTTP/01.1", "HTTP/1.1x": b"HTTP/1.1x",
        "HTTP 1.1": b"HTTP 1.1", "RTSP/1.0": b"RTSP/1.0", "nothing but a space": b"", "two versions": b"HTTP/1.1 HTTP/1.1",
    }.items():  # fmt: skip
        raw(f"version: {name}", b"POST /v1/carrier " + version + b"\r\n" + host + rest)
    raw("request line without a version", b"POST /v1/carrier\r\n" + host + rest)
    raw("HTTP/0.9 and a request behind it", b"GET /v1/carrier\r\n" + hidden)
    raw("preface of HTTP/2 and a request", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + hidden)
    raw("space before the method", b" " + line + host + rest)
    raw("tabs in the request line", line.replace(b" ", b"\t") + host + rest)
    raw("method in small letters", b"post /v1/carrier HTTP/1.1\r\n" + host + rest)
    raw("method with a bare lf", b"GE\nT /v1/carrier HTTP/1.1\r\n" + host + rest)
    raw("blank lines first", b"\r\n\r\n" + line + host + rest, b"hello")

    # Bodies where few expect them, and requests behind requests that were the last.
    for method in (b"GET", b"DELETE", b"OPTIONS", b"PATCH"):
        covered = method + b" /v1/carrier HTTP/1.1\r\n" + host + bearer + length(size) + b"\r\n" + hidden
        raw(f"{method.decode()} with a request as its body", covered, hidden)
    raw("HEAD with chunks", b"HEAD /v1/carrier HTTP/1.1\r\n" + host + bearer + chunked + b"\r\n" + hello + end, b"hello")
    raw("TRACE with a request as its body", b"TRACE /v1/carrier HTTP/1.1\r\n" + host + length(size) + b"\r\n" + hidden)
    raw("CONNECT and a request behind it", b"CONNECT gw:80 HTTP/1.1\r\n" + host + bearer + b"\r\n" + hidden)
    raw("CONNECT to a path, request behind it", b"CONNECT /v1/carrier HTTP/1.1\r\n" + host + bearer + b"\r\n" + hidden)
    post("request behind the last one", b"Connection: close\r\n" + length(5), b"hello" + hidden, b"hello")
    raw(
        "request behind one of HTTP/1.0",
        b"POST /v1/carrier HTTP/1.0\r\n" + host + bearer + length(5) + b"\r\nhello" + hidden,
        b"hello",
    )
    post("garbage behind", length(5), b"helloXXXX\r\n\r\n", b"hello")
    post("a letter behind", length(5), b"helloG", b"hello")
    post("a last chunk behind", length(5), b"hello" + end, b"hello")
    post("chunked, and a last chunk behind", chunked, hello + end + end, b"hello")

    # What speaks of the connection.
    for name, named in {
        "length": b"content-length", "coding": b"transfer-encoding", "host": b"host", "key": b"authorization",
        "close and length": b"close, content-length", "address": b"x-forwarded-for, x-real-ip",
    }.items():  # fmt: skip
        post(f"Connection names {name}", b"Connection: " + named + b"\r\n" + length(size), hidden, hidden)
    post("Connection names coding of chunks", b"Connection: transfer-encoding\r\n" + chunked, hello + end, b"hello")
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
    post("h2c with a body", b"Upgrade: h2c\r\n" + offer + length(size), hidden, hidden)
    post("h2c with chunks", b"Upgrade: h2c\r\n" + offer + chunked, hello + end, b"hello")
    post("h2c with both framings", b"Upgrade: h2c\r\n" + offer + length(behind) + chunked, end + hidden)
    post("websocket with a body", b"Upgrade: websocket\r\nConnection: upgrade\r\n" + length(size), hidden, hidden)
    post("upgrade that Connection does not name", b"Upgrade: h2c\r\n" + length(size), hidden)
    post("expectation that nobody knows", b"Expect: x\r\n" + length(size), hidden)
    post("expectation without a body", b"Expect: 100-continue\r\n" + length(0), b"", b"")
    post("expectation and both framings", b"Expect: 100-continue\r\n" + length(behind) + chunked, end + hidden)
    return found


NAMES = tuple(grid(b"key"))


@dataclass(frozen=True)
class Stack:
    """A way to the gateway."""

    connect: Callable[[], socket.socket]
    sim: SimulatorThread
    key: str
    payloads: dict[str, Payload]


class Talk:
    """One connection of a client that counts the answers it gets."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._parser = httptools.HttpResponseParser(self)
        self._id = ""
        self.ids: list[str] = []
        """x-request-id of each whole answer."""
        self.statuses: list[int] = []
        self.closed = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"x-request-id":
            self._id = value.decode()

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200:
            self.ids.append(self._id)
            self.statuses.append(status)
            self.closed = self.closed or not self._parser.should_keep_alive()
        self._id = ""

    def say(self, data: bytes, *, within_s: float) -> None:
        """Sends, and returns with the next whole answer, the connection's end or a silence."""
        self._socket.settimeout(within_s)
        known = len(self.ids)
        try:
            self._socket.sendall(data)
            while len(self.ids) == known:
                piece = self._socket.recv(65536)
                if not piece:
                    break
                self._parser.feed_data(piece)
            else:
                return
        except (TimeoutError, ConnectionError, ssl.SSLError, httptools.HttpParserError):
            pass
        self.closed = True

    def ask(self, key: str) -> tuple[str, bytes]:
        """An honest request: its id and its body."""
        name = uuid.uuid4().hex
        body = b'{"model":"openai/gpt-4o","messages":[{"role":"user","content":"%b"}]}' % name.encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {key}\r\nX-Request-Id: {name}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.say(head.encode() + body, within_s=10)
        return name, body


@contextlib.contextmanager
def running_haproxy(folder: Path, gateway_port: int) -> Iterator[int]:
    """The port of an haproxy that keeps its connections to the gateway and shares them among all clients."""
    assert HAPROXY is not None
    port = free_port()
    config = folder / "haproxy.cfg"
    config.write_text(
        "defaults\n mode http\n timeout connect 2s\n timeout client 10s\n timeout server 10s\n"
        " timeout http-request 5s\n timeout http-keep-alive 10s\n option http-keep-alive\n http-reuse always\n"
        f"frontend clients\n bind 127.0.0.1:{port}\n default_backend gateways\n"
        f"backend gateways\n server one 127.0.0.1:{gateway_port}\n"
    )
    process = subprocess.Popen(
        [HAPROXY, "-db", "-q", "-f", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: _listens(port), what="haproxy")
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _to(port: int) -> Callable[[], socket.socket]:
    return lambda: socket.create_connection(("127.0.0.1", port), timeout=10)


@pytest.fixture(scope="module")
def alone() -> Iterator[tuple[Stack, int]]:
    """The gateway before a simulated OpenRouter of this module's own, and the gateway's port."""
    with running_simulator() as sim, running_gateway(sim.base_url, keys=sim.new_keys(3)) as gateway:
        key = gateway.create_client("smuggler").key
        yield Stack(_to(gateway.port), sim, key, grid(key.encode())), gateway.port


@pytest.fixture(scope="module")
def nginx(alone: tuple[Stack, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """The shipped configuration of nginx, over TLS."""
    with running_nginx(tmp_path_factory.mktemp("nginx"), [alone[1]]) as front:
        yield front


@pytest.fixture(scope="module")
def haproxy_port(alone: tuple[Stack, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    if HAPROXY is None:
        pytest.skip("haproxy is needed: apt-get install haproxy")
    with running_haproxy(tmp_path_factory.mktemp("haproxy"), alone[1]) as port:
        yield port


@pytest.fixture(scope="module", params=STACKS)
def stack(request: pytest.FixtureRequest, alone: tuple[Stack, int]) -> tuple[str, Stack]:
    """Each way to the gateway in its turn."""
    direct = alone[0]
    connect = direct.connect
    if request.param == "nginx":
        connect = request.getfixturevalue("nginx").connect
    elif request.param == "haproxy":
        connect = _to(request.getfixturevalue("haproxy_port"))
    return request.param, Stack(connect, direct.sim, direct.key, direct.payloads)


def _arrived(sim: SimulatorThread) -> list[dict[str, Any]]:
    """What a client has caused upstream, beside the gateway's own questions."""
    own = ("/api/v1/key", "/api/v1/models?", "/api/v1/generation?")
    return [one for one in sim.requests(body=True) if not one["target"].startswith(own)]


@pytest.mark.parametrize("name", NAMES)
def test_no_payload_makes_two_requests_of_one(stack: tuple[str, Stack], name: str) -> None:
    """One request at most, never the hidden one; honest requests behind it get their own answers."""
    where, way = stack
    data, taken = way.payloads[name]
    way.sim.control("requests", method="DELETE")
    honest: dict[str, bytes] = {}

    with contextlib.closing(way.connect()) as connection:
        talk = Talk(connection)
        talk.say(data, within_s=QUIET_S)
        if not talk.closed:
            before = len(talk.ids)
            asked, body = talk.ask(way.key)
            answers = list(zip(talk.ids, talk.statuses, strict=True))[before:]
            # Bytes left over in front of it may spoil it: then it is refused, and nobody else's answer comes.
            assert not answers or answers == [(asked, 200)] or answers[0][1] in (400, 405, 413, 501), answers
            if answers == [(asked, 200)]:
                honest[asked] = body
    with contextlib.closing(way.connect()) as connection:
        talk = Talk(connection)
        asked, body = talk.ask(way.key)
        assert list(zip(talk.ids, talk.statuses, strict=True)) == [(asked, 200)]
        honest[asked] = body

    arrived = _arrived(way.sim)
    carried = [one for one in arrived if one["target"] != "/api/v1/chat/completions"]
    assert [one["target"] for one in carried] in ([], ["/api/v1/carrier"])
    assert [one["body"].encode() for one in arrived if one not in carried] == list(honest.values())
    bodies = [one["body"].encode("latin-1") for one in carried]
    if taken is None:
        assert not any(b"hidden" in body for body in bodies)
    if where == "gateway":
        assert bodies == ([] if taken is None else [taken])
    elif taken is not None:
        assert bodies in ([], [taken])


def test_nothing_hidden_came_late(alone: tuple[Stack, int]) -> None:
    """Nor did anything of it run after its test had looked."""
    assert not [one for one in _arrived(alone[0].sim) if one["target"] == "/api/v1/hidden"]
