"""What crosses the gateway crosses it to the byte, and what must not cross does not: both ways, on raw sockets."""

from __future__ import annotations

import os
import threading

import pytest

from tests.test_integration.conftest import Wire
from tests.test_integration.wire_tools import (
    Line,
    Pairs,
    Received,
    call,
    call_json,
    is_error_of,
    raw_call,
    read_until,
    status_of,
)

JSON: Pairs = [("Content-Type", "application/json")]
CHAT = b'{"model":"a/b","messages":[{"role":"user","content":"hi"}]}'

ODD_BODIES = {
    "odd spacing": b'  {\r\n\t"model" :\t"a/b" ,"messages":[ ] ,  "z":1.0e+2,"seed":00000}'.replace(b"00000", b"0")
    + b"\n\n",
    "unicode escapes": '{"model":"a/b","messages":[{"content":"\\u00e9\\ud83d\\ude80 é🚀"}]}'.encode(),
    "numbers kept as written": b'{"model":"a/b","temperature":0.10000000000000000001,"top_p":1E0,"seed":-0}',
    "order kept": b'{"endpoint":"x","model":"a/b","requests":[],"a":1,"A":2}',
    "repeated fields that mean nothing here": b'{"model":"a/b","metadata":{"k":1,"k":2}}',
    "one megabyte": b'{"model":"a/b","messages":[{"role":"user","content":"' + b"x" * (1 << 20) + b'"}]}',
}


@pytest.mark.parametrize("name", ODD_BODIES)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/batches"])
def test_json_bodies_are_never_rewritten(wire: Wire, name: str, path: str) -> None:
    """The very bytes of a JSON body reach upstream, however it is written."""
    reply = call(wire.port, "POST", path, headers=JSON, body=ODD_BODIES[name], key=wire.key)
    assert reply.status == 200
    assert wire.upstream.last.body == ODD_BODIES[name]
    assert wire.upstream.last.all("content-length") == [str(len(ODD_BODIES[name])).encode()]


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 300_000])
def test_binary_bodies_at_unknown_paths(wire: Wire, size: int) -> None:
    """A path that the gateway does not know is forwarded, and so are bytes that look like anything."""
    body = (b"\x1f\x8b\x08\x00" + os.urandom(size))[:size]
    pairs = [("Content-Type", "application/octet-stream")]
    reply = call(wire.port, "PUT", "/v1/some/new/thing", headers=pairs, body=body, key=wire.key)
    assert reply.status == 200
    assert wire.upstream.last.body == body
    assert wire.upstream.last.target == b"/api/v1/some/new/thing"


def test_multipart_with_binary(wire: Wire) -> None:
    """A form's boundary and bytes stay as the client made them."""
    kind = "multipart/form-data; boundary=odd--'()+_,-./:=? edge".replace(" edge", "")
    body = (
        b'--odd--\'()+_,-./:=?\r\nContent-Disposition: form-data; name="file"; filename="\xc3\xa9.bin"\r\n\r\n'
        + os.urandom(5000)
    )
    body += b"\r\n--odd--'()+_,-./:=?--\r\n"
    for path in ("/v1/files", "/v1/audio/transcriptions"):
        assert call(wire.port, "POST", path, headers=[("Content-Type", kind)], body=body, key=wire.key).status == 200
        assert wire.upstream.last.body == body
        assert wire.upstream.last.all("content-type") == [kind.encode()]


def test_chunked_upload_arrives_whole(wire: Wire) -> None:
    """A body without a length is gathered and sent with one."""
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {wire.key}\r\n"
    head += "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    pieces = b"".join(b"%x\r\n%b\r\n" % (len(CHAT[i : i + 7]), CHAT[i : i + 7]) for i in range(0, len(CHAT), 7))
    assert status_of(raw_call(wire.port, head.encode() + pieces + b"0\r\n\r\n")) == 200
    assert wire.upstream.last.body == CHAT


@pytest.mark.parametrize(
    "query",
    [
        "a=1&a=2&a=",
        "x=%2F%2f%20+&y=a+b",
        "beta=true",
        "q=%C3%A9%00&=&&",
        "id=a%26b=c;d=e",
        "filter[a]=b&c='\"<>",
        "?x=??",
        "a",
    ],
)
def test_query_strings_are_kept_to_the_byte(wire: Wire, query: str) -> None:
    """Repeated names, escapes, plus signs and empty parts stay."""
    query = query.replace('"', "%22").replace("<", "%3C").replace(">", "%3E")
    call(wire.port, "GET", f"/v1/unknown?{query}", key=wire.key)
    assert wire.upstream.last.target == f"/api/v1/unknown?{query}".encode()


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/v1/x", "/api/v1/x"),
        ("/api/v1/x", "/api/v1/x"),
        ("/openrouter/x", "/api/v1/x"),
        ("/openrouter/v1/x", "/api/v1/x"),
        ("/openrouter/api/v1/x", "/api/v1/x"),
        ("/api/alpha/decisions", "/api/alpha/decisions"),
        ("/api/beta/batches", "/api/beta/batches"),
        ("/openrouter/api/beta/x", "/api/beta/x"),
        ("/alpha/decisions", "/api/alpha/decisions"),
        ("/v1/presets/a%20b@c~d!$&'()*+,=:", "/api/v1/presets/a%20b@c~d!$&'()*+,=:"),
        ("/v1/x/", "/api/v1/x/"),
    ],
)
def test_where_paths_lead(wire: Wire, path: str, target: str) -> None:
    """Each mount leads to its place upstream, the rest of the path untouched."""
    call(wire.port, "GET", path, key=wire.key)
    assert wire.upstream.last.target == target.encode()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
def test_methods(wire: Wire, method: str) -> None:
    """Every method passes, with its body where it has one."""
    body = b'{"why": "because"}' if method in {"POST", "PUT", "PATCH", "DELETE"} else None
    reply = call(wire.port, method, "/v1/anything", headers=JSON if body else [], body=body, key=wire.key)
    assert wire.upstream.last.method == method
    assert wire.upstream.last.body == (body or b"")
    assert reply.status == 200
    assert (reply.body == b"") == (method == "HEAD")


SECRET_HEADERS: Pairs = [
    ("Cookie", "session=CANARY"),
    ("x-api-key", "CANARY"),
    ("X-Client-API-Key", "CANARY"),
    ("api-key", "CANARY"),
    ("x-goog-api-key", "CANARY"),
    ("Proxy-Authorization", "Basic CANARY"),
    ("Forwarded", "for=CANARY"),
    ("Via", "1.1 CANARY"),
    ("X-Forwarded-For", "CANARY"),
    ("X-Forwarded-Host", "CANARY"),
    ("X-Forwarded-Proto", "CANARY"),
    ("X-Forwarded-Prefix", "CANARY"),
    ("X-Real-IP", "CANARY"),
    ("True-Client-IP", "CANARY"),
    ("CF-Connecting-IP", "CANARY"),
    ("X-Original-URL", "/CANARY"),
    ("X-Rewrite-URL", "/CANARY"),
    ("Keep-Alive", "CANARY"),
    ("TE", "CANARY"),
    ("Trailer", "CANARY"),
    ("Proxy-Connection", "CANARY"),
    ("X-Hop", "CANARY"),
    ("Connection", "keep-alive, X-Hop"),
]


def test_what_never_reaches_upstream(wire: Wire) -> None:
    """Credentials, cookies, addresses and hop-by-hop headers stay here; one pool key goes in their place."""
    call_json(
        wire.port, "/v1/chat/completions?a=1", {"model": "a/b", "messages": []}, key=wire.key, headers=SECRET_HEADERS
    )
    seen = wire.upstream.last
    assert b"CANARY" not in seen.head
    assert wire.key.encode() not in seen.head
    (authorization,) = seen.all("authorization")
    assert authorization.decode().removeprefix("Bearer ") in wire.gateway.keys
    assert seen.all("host") == [wire.upstream.origin.removeprefix("http://").encode()]
    assert seen.all("accept-encoding") in ([], [b"identity"])


def test_what_connection_names_is_dropped_and_nothing_else(wire: Wire) -> None:
    """`Connection` cannot be used to take the pool key or the host away."""
    pairs = [("Connection", "authorization, host, content-length, content-type, x-mine"), ("X-Mine", "1"), *JSON]
    reply = call(wire.port, "POST", "/v1/chat/completions", headers=pairs, body=CHAT, key=wire.key)
    assert reply.status == 200
    seen = wire.upstream.last
    assert len(seen.all("authorization")) == len(seen.all("host")) == 1
    assert seen.body == CHAT
    assert seen.all("x-mine") == []


def test_other_headers_pass_untouched(wire: Wire) -> None:
    """Headers with a meaning upstream, and such as nobody knows, arrive once each and in their order."""
    sent = [
        ("HTTP-Referer", "https://app.example/x?y=1"),
        ("X-OpenRouter-Title", "Title"),
        ("anthropic-version", "2023-06-01"),
        ("anthropic-beta", "a,b"),
        ("X-OpenRouter-Cache", "true"),
        ("User-Agent", "Their Program/1.0"),
        ("Accept", "text/event-stream, */*;q=0.1"),
        ("X-Never-Heard-Of", "1"),
        ("X-Never-Heard-Of", "2"),
        ("Idempotency-Key", "abc"),
        ("If-None-Match", '"x"'),
        ("Range", "bytes=0-1"),
    ]
    call(wire.port, "GET", "/v1/anything", headers=sent, key=wire.key)
    got = [(name, value) for name, value in wire.upstream.last.headers if name in {n.lower().encode() for n, _ in sent}]
    assert got == [(name.lower().encode(), value.encode("latin-1")) for name, value in sent]


def test_a_session_is_the_clients_own(wire: Wire) -> None:
    """Sessions name sandboxes: the same name of two clients is not the same session, and one client's is always one."""
    other = wire.gateway.create_client("somebody else").key
    sessions = []
    for key in (wire.key, wire.key, other):
        call(wire.port, "GET", "/v1/anything", headers=[("X-Session-Id", "s-1")], key=key)
        sessions.append(dict(wire.upstream.last.headers)[b"x-session-id"])
    assert sessions[0] == sessions[1] != sessions[2]
    assert b"s-1" not in sessions


FOREIGN_HEADERS: Pairs = [
    ("Set-Cookie", "__cf_bm=CANARY"),
    ("Set-Cookie", "second=CANARY"),
    ("WWW-Authenticate", 'Bearer realm="CANARY"'),
    ("Server", "CANARY"),
    ("Alt-Svc", 'h3=":443"; CANARY'),
    ("NEL", "CANARY"),
    ("Report-To", "CANARY"),
    ("Clear-Site-Data", '"CANARY"'),
    ("Strict-Transport-Security", "CANARY"),
    ("Content-Security-Policy", "CANARY"),
    ("Access-Control-Allow-Origin", "https://CANARY"),
    ("Access-Control-Allow-Credentials", "CANARY"),
    ("X-Powered-By", "CANARY"),
    ("Via", "CANARY"),
    ("X-Request-Id", "CANARY"),
    ("Refresh", "0; url=CANARY"),
    ("Location", "/CANARY"),
    ("X-Hop", "CANARY"),
    ("Connection", "X-Hop"),
    ("Keep-Alive", "timeout=CANARY"),
]
KEPT_HEADERS: Pairs = [
    ("Content-Type", "application/json; charset=utf-8"),
    ("X-Generation-Id", "gen-1-abc"),
    ("Cache-Control", "no-cache"),
    ("X-OpenRouter-Cache-Status", "HIT"),
    ("X-Provider-Name", "Someone"),
    ("Content-Disposition", 'attachment; filename="x"'),
    ("Cf-Ray", "abc-FRA"),
    ("ETag", '"1"'),
    ("X-Never-Heard-Of", "1"),
    ("X-Never-Heard-Of", "2"),
]


@pytest.mark.parametrize("status", [200, 404])
def test_what_answers_bring_and_what_they_do_not(wire: Wire, status: int) -> None:
    """Cookies and words about upstream's own site stop here; what speaks of the answer goes on."""
    wire.upstream.handler = lambda _, line: line.answer(status, b'{"a": 1}', [*FOREIGN_HEADERS, *KEPT_HEADERS])
    reply = call(wire.port, "GET", "/v1/anything", key=wire.key)
    assert reply.status == status
    assert reply.body == b'{"a": 1}'
    assert "CANARY" not in str(reply.headers)
    for name, value in KEPT_HEADERS:
        assert value in reply.all(name), name
    assert len(reply.all("content-type")) == 1


def test_cookies_are_never_kept(wire: Wire) -> None:
    """A cookie of one answer is not sent with the next request."""
    wire.upstream.handler = lambda _, line: line.answer(200, b"{}", [("Set-Cookie", "a=1; Path=/")])
    for _ in range(4):
        call(wire.port, "GET", "/v1/anything", key=wire.key)
    assert all(seen.all("cookie") == [] for seen in wire.upstream.received)


def test_request_id_goes_in_and_out(wire: Wire) -> None:
    """A caller's request id comes back; without one there is a new one; a bad one is not echoed."""
    assert (
        call(wire.port, "GET", "/v1/x", headers=[("X-Request-ID", "mine-0001")], key=wire.key).first("x-request-id")
        == "mine-0001"
    )
    first, second = (call(wire.port, "GET", "/v1/x", key=wire.key).first("x-request-id") for _ in range(2))
    assert first
    assert first != second
    odd = call(wire.port, "GET", "/v1/x", headers=[("X-Request-ID", "<script>" + "x" * 500)], key=wire.key)
    assert "<script>" not in odd.first("x-request-id")


STREAM_PIECES = [
    b": OPENROUTER PROCESSING\n\n",
    b'data: {"choices":[{"delta":{"content":"\xc3',
    b'\xa9"}}]}\n',
    b"\n",
    b"event: odd\r\nid: 7\r\nretry: 10\r\ndata:no space\r\ndata: two\r\n\r\n",
    b"data: \xf0\x9f",
    b"\x9a\x80\n\n: another comment\n\n\n\n",
    b"\xef\xbb\xbfdata: bom\n\n",
    b"unknown-field: x\rdata: cr only\r\r",
    b"data: " + b"y" * 70_000 + b"\n\n",
    b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"cost":0.001}}\n\n',
    b"data: [DONE]\n\n",
    b"data: after the end\n\n",
]


@pytest.mark.parametrize("cut", [0, 1, 7])
def test_streams_are_relayed_to_the_byte(wire: Wire, cut: int) -> None:
    """Comments, odd line ends, odd splits and unknown fields come out as they went in, in order."""
    whole = b"".join(STREAM_PIECES)
    step = cut * 97
    pieces = [whole[i : i + step] for i in range(0, len(whole), step)] if cut else STREAM_PIECES
    if cut == 1:
        pieces = [whole[i : i + 1] for i in range(600)] + [whole[600:]]

    def stream(_: Received, line: Line) -> None:
        line.begin()
        for piece in pieces:
            line.chunk(piece)
        line.end()

    wire.upstream.handler = stream
    for path in ("/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/unknown"):
        reply = call(wire.port, "POST", path, headers=JSON, body=CHAT[:-1] + b',"stream":true}', key=wire.key)
        assert reply.body == whole
        assert reply.first("content-type") == "text/event-stream"


def test_events_are_not_held_back(wire: Wire) -> None:
    """Each event reaches the client before upstream sends the next one."""
    import socket

    seen = [threading.Event() for _ in range(5)]

    def stream(_: Received, line: Line) -> None:
        line.begin()
        for number, event in enumerate(seen):
            line.chunk(b"data: %d\n\n" % number)
            assert event.wait(10), f"event {number} was held back"
        line.end()

    wire.upstream.handler = stream
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {wire.key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(CHAT)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", wire.port), timeout=10) as connection:
        connection.sendall(head.encode() + CHAT)
        for number, event in enumerate(seen):
            read_until(connection, b"data: %d\n\n" % number)
            event.set()


def test_a_large_answer_arrives_whole(wire: Wire) -> None:
    """Forty megabytes of binary in odd chunks, none lost and none changed."""
    blob = os.urandom(1 << 20)

    def download(_: Received, line: Line) -> None:
        line.begin("audio/mpeg")
        for _ in range(40):
            line.chunk(blob[:300_001])
            line.chunk(blob[300_001:])
        line.end()

    wire.upstream.handler = download
    reply = call(wire.port, "POST", "/v1/audio/speech", headers=JSON, body=CHAT, key=wire.key)
    assert reply.body == blob * 40
    assert reply.first("content-type") == "audio/mpeg"


@pytest.mark.parametrize("status", [201, 202, 204, 304, 400, 403, 404, 409, 413, 418, 422, 500, 502, 503, 524, 529])
def test_statuses_and_error_bodies_are_relayed(wire: Wire, status: int) -> None:
    """Whatever upstream says that is not about the key is said to the client in the same bytes."""
    body = b"" if status in (204, 304) else b'{"error":{"code":%d,"message":"theirs"}}' % status

    def answer(_: Received, line: Line) -> None:
        if body:
            line.answer(status, body, JSON)
        else:
            line.send(b'HTTP/1.1 %d X\r\nETag: "1"\r\n\r\n' % status)

    wire.upstream.handler = answer
    reply = call(wire.port, "POST", "/v1/chat/completions", headers=JSON, body=CHAT, key=wire.key)
    assert (reply.status, reply.body) == (status, body)
    assert len(wire.upstream.received) == 1


def test_html_of_the_edge_is_relayed(wire: Wire) -> None:
    """A page of OpenRouter's front end is no JSON, and no reason to fail otherwise."""
    page = b"<!DOCTYPE html><title>404</title>"
    wire.upstream.handler = lambda _, line: line.answer(404, page, [("Content-Type", "text/html")])
    reply = call(wire.port, "POST", "/v1/messages/count_tokens", headers=JSON, body=CHAT, key=wire.key)
    assert (reply.status, reply.body) == (404, page)


def test_account_data_in_errors_is_cut_out(wire: Wire) -> None:
    """An error keeps its bytes but for the pool account's user id and anything like a key."""
    secret = wire.gateway.keys[0]
    body = b'{ "error" : {"code":403,"message":"key ' + secret.encode() + b' is bad"} ,"user_id":"user_2abc" }'
    wire.upstream.handler = lambda _, line: line.answer(403, body, JSON)
    reply = call(wire.port, "POST", "/v1/chat/completions", headers=JSON, body=CHAT, key=wire.key)
    assert reply.status == 403
    assert is_error_of("openrouter", reply)
    assert "user_id" not in reply.json()
    assert secret.encode() not in reply.body
    assert b"user_2abc" not in reply.body


@pytest.mark.parametrize(
    "location", ["https://evil.example/", "//evil.example/x", "http://127.0.0.1:1/api/v1/x", "/login"]
)
def test_redirects_lead_nowhere_else(wire: Wire, location: str) -> None:
    """A redirect out of the API is a 502 without its Location, and nothing follows it."""
    wire.upstream.handler = lambda _, line: line.answer(302, b"", [("Location", location)])
    reply = call(wire.port, "GET", "/v1/anything", key=wire.key)
    assert reply.status == 502
    assert reply.all("location") == []
    assert is_error_of("openrouter", reply)
    assert len(wire.upstream.received) == 1


def test_a_redirect_inside_the_api_comes_back_to_the_gateway(wire: Wire) -> None:
    """An alias of a model redirects on this side of the gateway."""
    absolute = f"{wire.upstream.origin}/api/v1/model/a/new"
    for location in ("/api/v1/model/a/new", absolute):
        wire.upstream.handler = lambda _, line, location=location: line.answer(308, b"", [("Location", location)])
        reply = call(wire.port, "POST", "/v1/anything", key=wire.key)
        assert reply.status == 308
        assert reply.first("location") in ("/api/v1/model/a/new", f"{wire.gateway.origin}/api/v1/model/a/new")


def test_links_of_jobs_lead_back(wire: Wire) -> None:
    """Absolute links of video and batch jobs point to the gateway; the rest of the answer stays to the byte."""
    own = f"{wire.upstream.origin}/api/v1/videos/v1"
    job = (
        b'{ "id":"v1", "polling_url":"https://openrouter.ai/api/v1/videos/v1" ,"unsigned_urls":["%s/content?index=0"]}'
    )
    wire.upstream.handler = lambda _, line: line.answer(202, job % own.encode(), JSON)
    reply = call(wire.port, "POST", "/v1/videos", headers=JSON, body=CHAT, key=wire.key)
    ours = f"{wire.gateway.origin}/api/v1/videos/v1".encode()
    assert reply.status == 202
    assert reply.body == b'{ "id":"v1", "polling_url":"%s" ,"unsigned_urls":["%s/content?index=0"]}' % (ours, ours)


def test_keep_alive_upstream_is_reused(wire: Wire) -> None:
    """Thirty calls in a row open hardly any new connection to OpenRouter."""
    call(wire.port, "GET", "/v1/anything", key=wire.key)
    before = wire.upstream.connections
    for _ in range(30):
        assert call(wire.port, "GET", "/v1/anything", key=wire.key).status == 200
    assert wire.upstream.connections - before <= 1


def test_upload_of_a_hundred_megabytes(wire: Wire) -> None:
    """The promised size passes; one byte more is refused in the API's own shape, in both skins."""
    most = 100 * 1024 * 1024
    body = os.urandom(1024) * (most // 1024)
    pairs = [("Content-Type", "application/octet-stream")]
    assert call(wire.port, "POST", "/v1/files", headers=pairs, body=body, key=wire.key, timeout=60).status == 200
    assert wire.upstream.last.body == body
    wire.upstream.clear()
    for path, skin in (("/v1/files", "openrouter"), ("/v1/messages", "anthropic")):
        reply = call(wire.port, "POST", path, headers=pairs, body=body + b"x", key=wire.key, timeout=60)
        assert reply.status == 413
        assert is_error_of(skin, reply)
    assert wire.upstream.received == []
