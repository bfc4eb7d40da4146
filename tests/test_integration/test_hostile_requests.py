"""Requests that want more than an answer: none reaches upstream, and each gets a plain refusal without a 500."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator

import pytest

from tests.gateway_process import running_gateway
from tests.test_integration.conftest import Wire, made_up_keys
from tests.test_integration.wire_tools import (
    Pairs,
    call,
    is_error_of,
    raw_call,
    read_to_end,
    running_raw_upstream,
    status_of,
)

JSON: Pairs = [("Content-Type", "application/json")]
CHAT = b'{"model":"a/b","messages":[]}'
REFUSED = {400, 404, 405, 411, 413, 414, 415, 417, 421, 431, 501}


def get(target: str | bytes, key: str, *, host: str = "Host: gw\r\n", method: str = "GET") -> bytes:
    line = target if isinstance(target, bytes) else target.encode("latin-1")
    return (
        method.encode()
        + b" "
        + line
        + f" HTTP/1.1\r\n{host}Authorization: Bearer {key}\r\nConnection: close\r\n\r\n".encode("latin-1")
    )


@pytest.mark.parametrize(
    "target",
    [
        "/v1/../admin/keys", "/v1/models/../../../x", "/v1/..", "/v1/.", "/v1/./models", "/v1/x/.", "/../v1/x",
        "/v1/...%2f..",
        "/v1/%2e%2e/admin", "/v1/%2E%2e/admin", "/v1/.%2e/admin", "/v1/%2e/x", "/v1/..%2fadmin", "/v1/..%2Fadmin",
        "/v1/%2e%2e%2fadmin",
        "/v1/%252e%252e/admin", "/v1/%252e%252e%252fadmin", "/v1/..;/admin", "/v1/..;a=b/admin", "/v1/%2e%2e;/admin",
        "/v1/%c0%ae%c0%ae/admin", "/v1/%e0%80%ae%e0%80%ae/admin", "/v1/a%2fb", "/v1/a%2Fb", "/v1/a%5cb",
        "/v1/..\\admin", "/v1\\..\\x",
        "//evil.example/v1/x", "/v1//x", "///v1/x", "/\\evil.example", "/v1/x%00", "/v1/x%0d%0aX-A:%20b", "/v1/x%0a",
        "/v1/x%7f",
        "/v1/x%1f", "http://evil.example/v1/x", "https://openrouter.ai/api/v1/keys", "HTTP://gw/v1/x",
        "@evil.example/v1/x", "*", "v1/x",
        ":443/v1/x", "/;/v1/keys", "/%2fv1/x", "/v1/%", "/v1/%zz", "/v1/x#fragment",
    ],
)  # fmt: skip
def test_targets_that_try_to_get_out(wire: Wire, target: str) -> None:
    """Dot segments, encodings of them, double slashes, backslashes, absolute forms: refused here, unseen upstream."""
    answer = raw_call(wire.port, get(target, wire.key))
    assert status_of(answer) in REFUSED | {0}, answer[:300]
    assert wire.upstream.received == []


@pytest.mark.parametrize("byte", [0x00, 0x01, 0x09, 0x0B, 0x1F, 0x7F, 0x80, 0xE9, 0xFF])
def test_raw_bytes_in_the_target(wire: Wire, byte: int) -> None:
    """Control and eight-bit bytes in a request line do not get in."""
    answer = raw_call(wire.port, get(b"/v1/x" + bytes([byte]) + b"y", wire.key))
    assert status_of(answer) in REFUSED | {0}, answer[:300]
    assert wire.upstream.received == []


@pytest.mark.parametrize(
    "host",
    [
        "", "Host:\r\n", "Host: a/public?x=\r\n", "Host: a#\r\n", "Host: a@b\r\n", "Host: a:99999\r\n",
        "Host: a:b\r\n", "Host: [::1\r\n",
        "Host: " + "a" * 300 + "\r\n", "Host: b\xfccher.example\r\n", "Host: a b\r\n", "Host: a\r\nHost: b\r\n",
        "Host: a\r\nHost: a\r\n",
        "Host: a, b\r\n", "Host: a\\b\r\n", "Host: http://a\r\n", "Host: a%00\r\n",
    ],
)  # fmt: skip
def test_hosts(wire: Wire, host: str) -> None:
    """Exactly one well-formed Host, or no service."""
    for target in ("/v1/x", "/health"):
        answer = raw_call(wire.port, get(target, wire.key, host=host))
        assert status_of(answer) in {400, 421}, answer[:300]
    assert wire.upstream.received == []


@pytest.mark.parametrize(
    ("name", "lines", "body"),
    [
        ("both lengths", "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
        ("two lengths", "Content-Length: 29\r\nContent-Length: 30\r\n", CHAT),
        ("equal lengths", "Content-Length: 29\r\nContent-Length: 29\r\n", CHAT),
        ("list of lengths", "Content-Length: 29, 29\r\n", CHAT),
        ("signed length", "Content-Length: +29\r\n", CHAT),
        ("negative length", "Content-Length: -1\r\n", CHAT),
        ("hex length", "Content-Length: 0x1d\r\n", CHAT),
        ("giant length", "Content-Length: 99999999999999999999999\r\n", CHAT),
        ("unknown coding", "Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"),
        ("gzip, chunked", "Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"),
        ("chunked, identity", "Transfer-Encoding: chunked, identity\r\n", b"0\r\n\r\n"),
        ("chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
        ("space before colon", "Transfer-Encoding : chunked\r\n", b"0\r\n\r\n"),
        ("vertical tab", "Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n"),
        ("folded line", "Content-Length: 29\r\nX-A: b\r\n c\r\n", CHAT),
        ("chunk size overflow", "Transfer-Encoding: chunked\r\n", b"ffffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
        ("chunk without its end", "Transfer-Encoding: chunked\r\n", b"3\r\nabcXX0\r\n\r\n"),
        ("nul in a value", "X-A: b\x00c\r\nContent-Length: 29\r\n", CHAT),
        ("bare cr in a value", "X-A: b\rc\r\nContent-Length: 29\r\n", CHAT),
        ("nameless", ": b\r\nContent-Length: 29\r\n", CHAT),
    ],
)  # fmt: skip
def test_framing_has_one_reading(wire: Wire, name: str, lines: str, body: bytes) -> None:
    """A message that two parsers could cut differently is refused, and the connection ends."""
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: gw\r\nContent-Type: application/json\r\n"
    head += f"Authorization: Bearer {wire.key}\r\n"
    smuggled = get("/v1/smuggled", wire.key)
    answer = raw_call(wire.port, head.encode() + lines.encode("latin-1") + b"\r\n" + body + smuggled)
    assert status_of(answer) in REFUSED | {0}, answer[:300]
    assert b" 200 " not in answer
    assert wire.upstream.received == []


def test_http_1_0_and_0_9(wire: Wire) -> None:
    """Old versions carry no chunked body and get no answer in a form of their own."""
    head = f"POST /v1/x HTTP/1.0\r\nHost: gw\r\nAuthorization: Bearer {wire.key}\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert status_of(raw_call(wire.port, head.encode() + b"3\r\nabc\r\n0\r\n\r\n")) in REFUSED | {0}
    assert status_of(raw_call(wire.port, b"GET /v1/x\r\n\r\n")) in REFUSED | {0}
    assert wire.upstream.received == []


@pytest.mark.parametrize(
    ("method", "target", "statuses"),
    [("TRACE", "/v1/x", {405}), ("CONNECT", "openrouter.ai:443", {405}), ("CONNECT", "/v1/x", {400, 405})],
)
def test_methods_of_proxies(wire: Wire, method: str, target: str, statuses: set[int]) -> None:
    """TRACE and CONNECT are nobody's business here."""
    assert status_of(raw_call(wire.port, get(target, wire.key, method=method))) in statuses
    assert wire.upstream.received == []


def test_upgrade_is_not_taken(wire: Wire) -> None:
    """An offer to switch protocols neither switches nor swallows the body."""
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: gw\r\nContent-Type: application/json\r\n"
    head += f"Authorization: Bearer {wire.key}\r\n"
    head += f"Upgrade: h2c\r\nConnection: Upgrade, close\r\nContent-Length: {len(CHAT)}\r\n\r\n"
    status = status_of(raw_call(wire.port, head.encode() + CHAT))
    assert status in REFUSED | {200}
    for seen in wire.upstream.received:
        assert seen.body == CHAT
        assert seen.all("upgrade") == []


def test_pipelined_requests_are_answered_in_order(wire: Wire) -> None:
    """Ten requests on one connection, each with its own body, ten answers in their order."""
    wire.upstream.handler = lambda request, line: line.answer(200, request.body)
    data = b""
    for number in range(10):
        body = b"body-%d" % number
        closing = "close" if number == 9 else "keep-alive"
        head = f"POST /v1/echo HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {wire.key}\r\n"
        data += (head + f"Content-Length: {len(body)}\r\nConnection: {closing}\r\n\r\n").encode() + body
    answer = raw_call(wire.port, data)
    places = [answer.find(b"body-%d" % number) for number in range(10)]
    assert places == sorted(places)
    assert -1 not in places


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "deflate", "gzip, gzip"])
def test_compressed_bodies(wire: Wire, coding: str) -> None:
    """A compressed request is refused and never opened."""
    reply = call(
        wire.port,
        "POST",
        "/v1/chat/completions",
        headers=[*JSON, ("Content-Encoding", coding)],
        body=CHAT,
        key=wire.key,
    )
    assert reply.status == 415
    assert is_error_of("openrouter", reply)
    assert wire.upstream.received == []


def test_too_many_and_too_large_headers(wire: Wire) -> None:
    """Header count, header size and URL length have bounds."""
    many = [(f"X-{number}", "1") for number in range(200)]
    assert call(wire.port, "GET", "/v1/x", headers=many, key=wire.key).status == 431
    assert call(wire.port, "GET", "/v1/x", headers=[("X-A", "b" * 40_000)], key=wire.key).status == 431
    assert call(wire.port, "GET", "/v1/x?" + "a" * 5000, key=wire.key).status == 414
    assert wire.upstream.received == []


BAD_JSON = {
    "NaN": b'{"model":"a/b","temperature":NaN}',
    "Infinity": b'{"model":"a/b","temperature":-Infinity}',
    "1e400": b'{"model":"a/b","temperature":1e400}',
    "depth bomb": b'{"model":"a/b","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "object bomb": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "lone surrogate": b'{"model":"a/b","messages":["\\ud800CANARY"]}',
    "lone surrogate in the model": b'{"model":"\\udc00CANARY"}',
    "bad utf-8": b'{"model":"a/b","messages":["\xff\xfeCANARY"]}',
    "encoded surrogate": b'{"model":"a/b","messages":["\xed\xa0\x80CANARY"]}',
    "utf-16": '{"model":"a/b"}'.encode("utf-16"),
    "bom": b"\xef\xbb\xbf" + CHAT,
    "trailing": CHAT + b" CANARY",
    "comment": b'{"model":"a/b" /* CANARY */}',
    "single quotes": b"{'model':'CANARY'}",
    "trailing comma": b'{"model":"a/b",}',
    "empty": b"",
    "half": b'{"model":"CANARY',
    "list": b'["CANARY"]',
    "number": b"1",
    "null": b"null",
    "model twice": b'{"model":"a/b","messages":[],"model":"CANARY"}',
    "model twice, escaped": b'{"model":"a/b","messages":[],"mod\\u0065l":"CANARY"}',
    "models twice": b'{"models":["a"],"models":["CANARY"]}',
    "stream twice": b'{"model":"a/b","stream":true,"stream":false}',
    "model a list": b'{"model":["CANARY"]}',
    "model an object": b'{"model":{"CANARY":1}}',
    "model a number": b'{"model":1}',
    "model too long": b'{"model":"' + b"x" * 10_000 + b'"}',
    "models not strings": b'{"model":"a/b","models":[1]}',
    "stream a string": b'{"model":"a/b","stream":"yes"}',
    "negative tokens": b'{"model":"a/b","max_tokens":-1}',
    "giant tokens": b'{"model":"a/b","max_tokens":9223372036854775808}',
    "tokens a string": b'{"model":"a/b","max_tokens":"1"}',
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_JSON)
@pytest.mark.parametrize(("path", "skin"), [("/v1/chat/completions", "openrouter"), ("/v1/messages", "anthropic")])
def test_bodies_with_no_or_two_readings(wire: Wire, name: str, path: str, skin: str) -> None:
    """What another parser might read differently is a 400 that quotes nothing, never a 500."""
    reply = call(wire.port, "POST", path, headers=JSON, body=BAD_JSON[name], key=wire.key)
    assert reply.status == 400
    assert is_error_of(skin, reply)
    assert b"CANARY" not in reply.body
    assert wire.upstream.received == []


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/json; charset=utf-16", "application/jsonx", "", "a" * 3000]
)
def test_content_type_is_no_way_around_the_check(wire: Wire, kind: str) -> None:
    """An inference body is read whatever it calls itself."""
    reply = call(
        wire.port,
        "POST",
        "/v1/chat/completions",
        headers=[("Content-Type", kind)],
        body=BAD_JSON["model twice"],
        key=wire.key,
    )
    assert reply.status in (400, 415)
    assert wire.upstream.received == []


@pytest.mark.parametrize("text", ["1" * 5000, "-" + "9" * 400, "0." + "1" * 5000, "1e-400"])
def test_numbers_beyond_common_sense(wire: Wire, text: str) -> None:
    """Digits without end are refused or relayed as they are, never a 500 and never changed."""
    body = b'{"model":"a/b","seed":' + text.encode() + b"}"
    reply = call(wire.port, "POST", "/v1/chat/completions", headers=JSON, body=body, key=wire.key)
    assert reply.status in (200, 400)
    assert [seen.body for seen in wire.upstream.received] in ([], [body])


def test_fields_cannot_steer_the_gateway(wire: Wire) -> None:
    """Destinations and keys in a body are just bytes: they pass, and change neither."""
    value = {
        "model": "a/b",
        "api_base": "http://evil.example",
        "base_url": "http://evil.example",
        "api_key": "x",
        "extra_headers": {"host": "e"},
    }
    body = json.dumps(value).encode()
    assert call(wire.port, "POST", "/v1/chat/completions", headers=JSON, body=body, key=wire.key).status == 200
    assert wire.upstream.last.body == body
    assert wire.upstream.last.all("host") == [wire.upstream.origin.removeprefix("http://").encode()]


# --- who is it? (the credentials of reliability's)

GOOD, OTHER, FOREIGN = "{good}", "{other}", "sk-or-v1-" + "f" * 64


@pytest.mark.parametrize(
    ("pairs", "status"),
    [
        ([("Authorization", f"Bearer {GOOD}")], 200),
        ([("authorization", f"bearer {GOOD}")], 200),
        ([("x-api-key", GOOD)], 200),
        ([("X-Client-API-Key", GOOD)], 200),
        ([("Authorization", f"Bearer {FOREIGN}"), ("x-api-key", GOOD)], 200),
        ([("Authorization", f"Bearer {GOOD}"), ("x-api-key", "placeholder")], 200),
        ([("Authorization", f"Bearer {FOREIGN}"), ("x-api-key", FOREIGN), ("X-Client-API-Key", GOOD)], 200),
        ([("Authorization", f"Bearer {GOOD}"), ("x-api-key", GOOD), ("X-Client-API-Key", GOOD)], 200),
        ([("Authorization", f"Bearer {GOOD}"), ("x-api-key", OTHER)], 400),
        ([("Authorization", f"Bearer {GOOD}"), ("Authorization", f"Bearer {OTHER}")], 400),
        ([("x-api-key", GOOD), ("x-api-key", OTHER)], 400),
        ([("x-api-key", OTHER), ("X-Client-API-Key", GOOD)], 400),
        ([], 401),
        ([("Authorization", "")], 401),
        ([("Authorization", "Bearer")], 401),
        ([("Authorization", GOOD[:-1])], 401),
        ([("Authorization", f"Bearer {FOREIGN}")], 401),
        ([("Authorization", "Basic {basic}")], 401),
        ([("Cookie", f"key={GOOD}")], 401),
        ([("Authorization", "Bearer gw_live_" + "A" * 49)], 401),
        ([("Authorization", "Bearer \xe9\xff")], 400),
        ([("Authorization", "Bearer ' OR 1=1 --")], 401),
        ([("Authorization", "Bearer *")], 401),
        ([("Authorization", f"Bearer {GOOD}x")], 401),
        ([("Authorization", "Bearer {cut}")], 401),
        ([("Authorization", "Bearer {typo}")], 401),
        ([("x-api-key", "gw_live_" + "z" * 9000)], 401),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("path", "skin"), [("/v1/chat/completions", "openrouter"), ("/v1/messages", "anthropic")])
def test_which_credential_counts(wire: Wire, other_key: str, pairs: Pairs, status: int, path: str, skin: str) -> None:
    """One gateway key anywhere is enough, two different ones are too many, anything else is none."""
    good = wire.key
    words = {
        GOOD: good,
        OTHER: other_key,
        "{basic}": base64.b64encode(f"user:{good}".encode()).decode(),
        "{cut}": good[:40],
        "{typo}": good[:-1] + ("a" if good[-1] != "a" else "b"),
    }

    def filled(value: str) -> str:
        for word, meaning in words.items():
            value = value.replace(word, meaning)
        return value

    headers = [(name, filled(value)) for name, value in pairs]
    reply = call(wire.port, "POST", path, headers=[*JSON, *headers], body=CHAT)
    assert reply.status == status
    if status == 200:
        (authorization,) = wire.upstream.last.all("authorization")
        assert authorization.decode().removeprefix("Bearer ") in wire.gateway.keys
        assert good.encode() not in wire.upstream.last.head
    else:
        assert wire.upstream.received == []
        assert is_error_of(skin, reply)
        assert good[:30] not in reply.body.decode()


@pytest.fixture(scope="module")
def other_key(shared_wire: Wire) -> str:
    """A second client key of the same gateway."""
    return shared_wire.gateway.create_client("other").key


@pytest.mark.parametrize("value", ["Bearer  {0}", "Bearer {0} ", "Bearer\t{0}", "\tBearer {0}", "BEARER {0}"])
def test_blanks_around_a_key_have_one_policy(wire: Wire, value: str) -> None:
    """However a bearer is spaced, the answer is a yes or a no, and the same on every path."""
    statuses = {
        call(wire.port, "POST", path, headers=[*JSON, ("Authorization", value.format(wire.key))], body=CHAT).status
        for path in ("/v1/chat/completions", "/v1/messages", "/v1/unknown")
    }
    assert len(statuses) == 1
    assert statuses <= {200, 400, 401}


def test_a_key_in_the_url_is_none(wire: Wire) -> None:
    """A credential in the query is not taken, and not logged."""
    for name in ("api_key", "key", "access_token"):
        assert call(wire.port, "GET", f"/v1/models?{name}={wire.key}").status in (400, 401)
    assert wire.key not in wire.gateway.log()


def test_paths_that_are_closed_to_clients(wire: Wire) -> None:
    """Administration and the account's secrets are refused with a sentence, however they are spelled."""
    for path in (
        "keys", "keys/abc", "KEYS", "keys/", "keys;x=y", "%6beys", "activity", "analytics/query", "auth/keys",
        "auth/keys/code", "oauth/token",
        "vault/secrets", "organization", "organization/members", "workspaces/1/members/add", "guardrails", "byok/1",
        "scim/groups",
        "observability/destinations", "external-users", "private-endpoints/1/enable", "generation/feedback",
        "credits/coinbase",
    ):  # fmt: skip
        for mount in ("/v1/", "/api/v1/", "/openrouter/", "/openrouter/v1/"):
            reply = call(wire.port, "POST", mount + path, headers=JSON, body=b"{}", key=wire.key)
            assert reply.status == 403, path
            assert is_error_of("openrouter", reply)
    assert wire.upstream.received == []


def test_closed_paths_are_closed_on_every_base(wire: Wire) -> None:
    """The alpha and beta bases are no way around."""
    for path in (
        "/api/beta/keys",
        "/api/alpha/vault/secrets",
        "/alpha/credits/coinbase",
        "/openrouter/api/beta/oauth/token",
    ):
        assert call(wire.port, "GET", path, key=wire.key).status == 403
    assert wire.upstream.received == []


def test_preflight_needs_no_key(wire: Wire) -> None:
    """A browser's preflight is answered by the gateway, without credentials, and lets no foreign origin in."""
    pairs = [("Origin", "https://evil.example"), ("Access-Control-Request-Method", "POST")]
    reply = call(wire.port, "OPTIONS", "/v1/chat/completions", headers=pairs)
    assert reply.status < 401 or reply.status == 403
    assert reply.all("access-control-allow-origin") == []
    assert wire.upstream.received == []


def test_refusals_carry_the_headers_of_safety(wire: Wire) -> None:
    """Errors too have a request id, a JSON type and no sniffing."""
    for path in ("/v1/chat/completions", "/v1/messages", "/v1/%2e%2e/x", "/nowhere"):
        reply = call(wire.port, "POST", path, headers=JSON, body=CHAT)
        assert reply.first("content-type").startswith("application/json")
        assert reply.first("x-request-id")
        assert reply.first("x-content-type-options") == "nosniff"


# --- bounds on bodies, with small figures


@pytest.fixture(scope="module")
def small() -> Iterator[Wire]:
    """A gateway that takes a thousand bytes, waits half a second for them, and knows its name."""
    settings = {"MAX_BODY_BYTES": "1000", "BODY_IDLE_TIMEOUT_S": "0.5", "ALLOWED_HOSTS": "gw.example,127.0.0.1",
                "ALLOWED_ORIGINS": "https://app.example"}  # fmt: skip
    with (
        running_raw_upstream() as upstream,
        running_gateway(upstream.base_url, keys=made_up_keys(1), env=settings) as gateway,
    ):
        yield Wire(gateway, upstream, gateway.create_client("small").key)


@pytest.mark.parametrize("how", ["length", "chunked", "lying"])
def test_one_byte_too_many(small: Wire, how: str) -> None:
    """The bound counts what arrives, not what is promised; the connection ends."""
    body = b"x" * 1001
    head = f"POST /v1/files HTTP/1.1\r\nHost: gw.example\r\nAuthorization: Bearer {small.key}\r\n"
    if how == "length":
        data = f"{head}Content-Length: 1001\r\n\r\n".encode() + body
    elif how == "chunked":
        data = f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + b"3e9\r\n" + body + b"\r\n0\r\n\r\n"
    else:
        data = (
            f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + b"\r\n".join([b"1", b"x"] * 1001) + b"\r\n0\r\n\r\n"
        )
    answer = raw_call(small.port, data)
    assert status_of(answer) == 413
    assert b'"code":413' in answer.replace(b" ", b"")
    assert small.upstream.received == []


def test_a_dripping_body_is_given_up(small: Wire) -> None:
    """A body that pauses too long ends the connection."""
    head = f"POST /v1/files HTTP/1.1\r\nHost: gw.example\r\nAuthorization: Bearer {small.key}\r\n"
    head += "Content-Length: 10\r\n\r\nabc"
    with socket.create_connection(("127.0.0.1", small.port), timeout=10) as connection:
        connection.sendall(head.encode())
        answer = read_to_end(connection)
    assert status_of(answer) in (0, 408)
    assert small.upstream.received == []


@pytest.mark.parametrize(
    ("host", "status"), [("gw.example", 200), ("GW.EXAMPLE:8080", 200), ("evil.example", 421), ("gw.example.evil", 421)]
)
def test_only_names_on_the_list(small: Wire, host: str, status: int) -> None:
    """With ALLOWED_HOSTS set, other names get nothing."""
    answer = raw_call(small.port, get("/v1/x", small.key, host=f"Host: {host}\r\n"))
    assert status_of(answer) == status if status == 200 else status_of(answer) in (400, 421)
    small.upstream.clear()


def test_a_page_on_the_list_may_call(small: Wire) -> None:
    """CORS: an allowed origin's preflight passes without a key, and its calls show the origin; another's do not."""
    for origin, allowed in (("https://app.example", True), ("https://evil.example", False), ("null", False)):
        asking = [("Origin", origin), ("Access-Control-Request-Method", "POST"),
                  ("Access-Control-Request-Headers", "authorization,content-type,x-stainless-lang")]  # fmt: skip
        preflight = call(small.port, "OPTIONS", "/v1/chat/completions", headers=asking)
        assert (preflight.all("access-control-allow-origin") == [origin]) is allowed
        if allowed:
            assert preflight.status in (200, 204)
            assert "authorization" in preflight.first("access-control-allow-headers").lower()
        answer = call(
            small.port, "POST", "/v1/chat/completions", headers=[("Origin", origin), *JSON], body=CHAT, key=small.key
        )
        assert (answer.all("access-control-allow-origin") == [origin]) is allowed
    small.upstream.clear()
