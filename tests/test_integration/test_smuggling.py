"""Request smuggling: bytes that two parsers could cut in two ways, sent to the gateway alone and through real proxies.

Each payload hides a second request. The gateway makes one request of it at most, or none, and never the hidden one. A
proxy puts its stamp on each request that it has read itself: none may reach upstream that no proxy has read. An honest
request behind the payload gets its own answer.
"""

from __future__ import annotations

import base64
import contextlib
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import httptools
import pytest

from simulator.catalogue import MODELS
from tests.gateway_process import free_port, running_gateway, wait_until
from tests.simulator_thread import SimulatorThread, running_simulator
from tests.test_deploy.nginx_front import CONFIG, NGINX

HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")
CARRIER = "/api/v1/carrier"
# A payload that leaves its reader waiting for more is given up after this silence.
QUIET_S = 0.25


class Payload(NamedTuple):
    """`taken`: the body of the one request that the gateway may make of it; None: it must refuse the whole."""

    data: bytes
    taken: bytes | None = None


def grid(key: bytes) -> dict[str, Payload]:
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
        "vertical tab": b"\x0b%d", "form feed": b"%d\x0c", "bare cr": b"%d\r", "eight bit": b"\xb2%d",
        "quotes": b'"%d"',
    }.items():  # fmt: skip
        post(f"length with {name}", b"Content-Length: " + value % size + b"\r\n", hidden)
    post("length beyond 64 bits", b"Content-Length: %d\r\n" % (2**64 + size), hidden)
    post("empty length", b"Content-Length:\r\n", hidden)
    post("length with zeros before it", b"Content-Length: 0005\r\n", b"hello", b"hello")
    post("length with blanks around it", b"Content-Length: \t 5 \t\r\n", b"hello" + hidden)
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
    post("crlf in a quoted extension", chunked, b'5;a="\r\nhello\r\n0\r\n\r\n"\r\n' + hidden)
    post("extension of the last chunk with a bare lf", chunked, hello + b"0;a\n\r\n" + hidden)
    post("length as a trailer", chunked, hello + b"0\r\nContent-Length: %d\r\n\r\n" % size + hidden)
    post("coding as a trailer", chunked, hello + b"0\r\nTransfer-Encoding: chunked\r\n\r\n" + hidden)
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
        "encoded crlf": b"/v1/carrier%0d%0a%0d%0aGET%20/v1/hidden",
        "request within": b"/v1/carrier HTTP/1.1\r\n\r\nGET /x",
        "spaces": b"/v1/carrier HTTP/1.1 /v1/hidden", "eight bits": b"/v1/carrier\xff", "bare cr": b"/v1/carrier\rx",
        "dot segments": b"/v1/carrier/../hidden", "encoded dots": b"/v1/carrier/%2e%2e/hidden",
    }.items():  # fmt: skip
        raw(f"target: {name}", b"POST " + target + b" HTTP/1.1\r\n" + host + rest)
    for name, version in {
        "HTTP/0.9": b"HTTP/0.9", "HTTP/1.2": b"HTTP/1.2", "HTTP/2.0": b"HTTP/2.0", "HTTP/11": b"HTTP/11",
        "http/1.1": b"http/1.1", "HTTP/1.10": b"HTTP/1.10", "HTTP/01.1": b"HTTP/01.1", "HTTP/1.1x": b"HTTP/1.1x",
        "HTTP 1.1": b"HTTP 1.1", "nothing but a space": b"", "two versions": b"HTTP/1.1 HTTP/1.1",
    }.items():  # fmt: skip
        raw(f"version: {name}", b"POST /v1/carrier " + version + b"\r\n" + host + rest)
    # The parser takes it for HTTP/1.0: one request all the same.
    raw("version: RTSP/1.0", b"POST /v1/carrier RTSP/1.0\r\n" + host + rest, b"hello")
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
    head = b"HEAD /v1/carrier HTTP/1.1\r\n" + host + bearer
    raw("HEAD with chunks", head + chunked + b"\r\n" + hello + end, b"hello")
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
        with contextlib.suppress(ConnectionError):
            self._socket.sendall(data)
        self.hear()

    def hear(self) -> None:
        known = len(self.ids)
        try:
            while len(self.ids) == known and (piece := self._socket.recv(65536)):
                self._parser.feed_data(piece)
        except (TimeoutError, ConnectionError, httptools.HttpParserError):
            pass
        self.closed = self.closed or len(self.ids) == known

    def ask(self, key: str) -> tuple[str, bytes]:
        """An honest request: its id and its body. Answers to what was sent before may come before its own."""
        name = uuid.uuid4().hex
        body = b'{"model":"%b","messages":[{"role":"user","content":"%b"}]}' % (MODELS[0].id.encode(), name.encode())
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {key}\r\n"
        head += f"X-Request-Id: {name}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.say(head.encode() + body, within_s=5)
        while name not in self.ids and not self.broken:
            self.hear()
        return name, body

    @property
    def broken(self) -> bool:
        """Whether no further answer is to be waited for."""
        return self.closed or self.statuses[-1:] == [400]


@contextlib.contextmanager
def running(words: Sequence[str], port: int) -> Iterator[int]:
    """The port of a proxy that listens and is surely gone afterwards."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _listens(port), what=words[0])
        yield port
    finally:
        process.terminate()
        process.wait(10)


def nginx_words(folder: Path, port: int, gateway_port: int) -> list[str]:
    """An nginx with the shipped options of what is passed on, and without TLS."""
    assert NGINX is not None, "nginx is needed: apt-get install nginx"
    shipped = [line.strip() for line in CONFIG.read_text().splitlines()]
    http = [line for line in shipped if line.startswith(("client_", "large_client", "keepalive_requests"))]
    passed_on = [line for line in shipped if line.startswith("proxy_")]
    assert "proxy_pass http://gateway;" in passed_on
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    lines = [
        f"worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log;",
        "events { worker_connections 256; }",
        "http { access_log off;",
        *(f"{kind}_temp_path {folder}/{kind};" for kind in kinds),
        *http,
        f"upstream gateway {{ server 127.0.0.1:{gateway_port} max_fails=0; keepalive 128; }}",
        f"server {{ listen 127.0.0.1:{port}; location / {{",
        *passed_on,
        "proxy_set_header X-Stamp $request_id;",
        "} } }",
    ]
    config = folder / "nginx.conf"
    config.write_text("\n".join(lines))
    return [NGINX, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config)]


def haproxy_words(folder: Path, port: int, gateway_port: int) -> list[str]:
    """An haproxy that shares its connections to the gateway among all clients."""
    if HAPROXY is None:
        pytest.skip("haproxy is needed: apt-get install haproxy")
    config = folder / "haproxy.cfg"
    config.write_text(
        "defaults\n mode http\n timeout connect 2s\n timeout client 10s\n timeout server 10s\n"
        " timeout http-request 5s\n timeout http-keep-alive 10s\n option http-keep-alive\n http-reuse always\n"
        f"frontend clients\n bind 127.0.0.1:{port}\n http-request set-header X-Stamp %[uuid()]\n"
        " default_backend gateways\n"
        f"backend gateways\n server one 127.0.0.1:{gateway_port}\n"
    )
    return [HAPROXY, "-db", "-q", "-f", str(config)]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


PROXIES = {"nginx": nginx_words, "haproxy": haproxy_words}
STACKS = ("gateway", *PROXIES)


@dataclass(frozen=True)
class Stack:
    """A way to the gateway, and what stands behind it."""

    name: str
    port: int
    sim: SimulatorThread
    key: str
    payloads: dict[str, Payload]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)


@pytest.fixture(scope="module")
def alone() -> Iterator[Stack]:
    """The gateway before a simulated OpenRouter of this module's own."""
    with running_simulator() as sim, running_gateway(sim.base_url, keys=sim.new_keys(3)) as gateway:
        key = gateway.create_client("smuggler").key
        yield Stack("gateway", gateway.port, sim, key, grid(key.encode()))


@pytest.fixture(scope="module", params=STACKS)
def stack(request: pytest.FixtureRequest, alone: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Each way to the gateway in its turn."""
    if request.param == "gateway":
        yield alone
        return
    folder, port = tmp_path_factory.mktemp(request.param), free_port()
    with running(PROXIES[request.param](folder, port, alone.port), port):
        yield replace(alone, name=request.param, port=port)


def _arrived(sim: SimulatorThread) -> list[dict[str, Any]]:
    """What a client has caused upstream, beside the gateway's own questions."""
    own = ("/api/v1/key", "/api/v1/models?", "/api/v1/generation?")
    found = [one for one in sim.requests(body=True) if not one["target"].startswith(own)]
    return [{**one, "body": base64.b64decode(one["body"])} for one in found]


def _stamps(one: dict[str, Any]) -> list[str]:
    return [value for name, value in one["headers"] if name == "x-stamp"]


@pytest.mark.parametrize("name", NAMES)
def test_no_payload_makes_two_requests_of_one(stack: Stack, name: str) -> None:
    """One request at most, never a hidden one; honest requests behind it get their own answers."""
    data, taken = stack.payloads[name]
    stack.sim.control("requests", method="DELETE")
    honest: dict[str, bytes] = {}
    with contextlib.closing(stack.connect()) as connection:
        talk = Talk(connection)
        talk.say(data, within_s=QUIET_S)
        if not talk.closed:
            asked, body = talk.ask(stack.key)
            # Bytes left over in front of it may have spoilt it: then it is refused, or the connection has ended.
            if asked in talk.ids:
                assert (talk.ids[-1], talk.statuses[-1]) == (asked, 200)
                honest[asked] = body
            else:
                assert talk.broken
    with contextlib.closing(stack.connect()) as connection:
        talk = Talk(connection)
        asked, body = talk.ask(stack.key)
        assert list(zip(talk.ids, talk.statuses, strict=True)) == [(asked, 200)]
        honest[asked] = body

    arrived = _arrived(stack.sim)
    assert [one["body"] for one in arrived if one["target"] == "/api/v1/chat/completions"] == list(honest.values())
    carried = [one for one in arrived if one["target"] != "/api/v1/chat/completions"]
    if stack.name == "gateway":
        assert [(one["target"], one["body"]) for one in carried] == ([] if taken is None else [(CARRIER, taken)])
        return
    # A proxy may be so lenient that it reads two requests itself; then both are none but its own.
    assert len([one for one in carried if one["target"] == CARRIER]) <= 1
    stamps = [_stamps(one) for one in arrived]
    assert all(len(found) == 1 for found in stamps)
    assert len({found[0] for found in stamps}) == len(arrived)
    if taken is not None:
        assert [(one["target"], one["body"]) for one in carried] in ([], [(CARRIER, taken)])


def test_a_request_that_is_one_would_be_seen(alone: Stack) -> None:
    """The same bytes as a request of their own do arrive: the checks above look in the right place."""
    alone.sim.control("requests", method="DELETE")
    data, body = alone.payloads["GET with a request as its body"]
    assert body is not None
    with contextlib.closing(alone.connect()) as connection:
        talk = Talk(connection)
        talk.say(data + body, within_s=5)
        while len(talk.ids) < 2 and not talk.closed:
            talk.hear()
    assert [one["target"] for one in _arrived(alone.sim)] == [CARRIER, "/api/v1/hidden"]


def test_a_late_trailer_is_no_header(alone: Stack) -> None:
    """What comes behind the body, when the head was judged long ago, joins no header on its way upstream."""
    alone.sim.control("requests", method="DELETE")
    body = b'{"model":"no/such","messages":[]}'
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {alone.key}\r\n"
    head += "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    with contextlib.closing(alone.connect()) as connection:
        talk = Talk(connection)
        connection.sendall(head.encode() + b"%x\r\n%b\r\n" % (len(body), body))
        time.sleep(0.2)
        talk.say(b"0\r\nX-Title: hidden\r\nX-Eight: \xff\r\n\r\n", within_s=10)
        assert talk.statuses == [400]
    (one,) = _arrived(alone.sim)
    assert one["body"] == body
    assert not {"x-title", "x-eight"} & {name for name, _ in one["headers"]}
