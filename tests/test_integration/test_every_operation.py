"""Every known operation of OpenRouter through the gateway and directly: the same status, headers and bytes.

What the description covers is answered by Prism, which this project did not write; the rest by an echo. The
exceptions, all of them wanted, are this table:

    what                                            through the gateway
    /key, /auth/key, /credits                       the gateway's own answer for the client key, in OpenRouter's schema
    the management key's operations; /auth/keys*,   403 with a sentence; upstream sees nothing
    /oauth/*, /vault*, /organization*,
    /credits/coinbase
    /generation*, /files/{id}*, /batches/{id},      404 unless this client made the object; then the same
    /videos/{id}*, /containers/{id}*
    lists of files and batches                      only what this client made
    public catalogues                               the same body, cached: validators and compression are the gateway's
    errors                                          the same bytes without a top-level `user_id`
    job answers                                     absolute links lead to the gateway
    request headers                                 see test_passthrough
    answer headers                                  without DROPPED, with ADDED
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import jsonschema
import pytest

from tests.gateway_process import running_gateway
from tests.test_integration import openapi_tools as openapi
from tests.test_integration.conftest import Wire, made_up_keys
from tests.test_integration.openapi_tools import Operation, Request
from tests.test_integration.wire_tools import Line, Received, Reply, call, is_error_of, unzipped

pytestmark = pytest.mark.skipif(not openapi.FOUND, reason=openapi.ABSENT)

# Words about a connection, a site or its cookies, not about the answer.
DROPPED = {
    "connection", "keep-alive", "proxy-authenticate", "proxy-connection", "trailer", "transfer-encoding", "upgrade",
    "set-cookie",
    "www-authenticate", "clear-site-data", "alt-svc", "nel", "report-to", "reporting-endpoints", "expect-ct",
    "strict-transport-security",
    "content-security-policy", "content-security-policy-report-only", "server", "date", "via", "location", "refresh",
    "x-powered-by",
    "access-control-allow-origin", "access-control-allow-credentials", "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-expose-headers", "access-control-max-age", "x-request-id",
}  # fmt: skip
# What the gateway says of itself. Framing is each connection's own.
ADDED = {
    "x-request-id", "date", "content-length", "transfer-encoding", "connection", "keep-alive",
    "x-content-type-options", "referrer-policy",
    "content-security-policy", "x-frame-options", "cross-origin-resource-policy", "permissions-policy", "vary",
    "strict-transport-security",
    "cross-origin-opener-policy", "x-robots-tag",
}  # fmt: skip

LISTS = {"/api/v1/files", "/api/v1/batches"}
ACCOUNT = {"/api/v1/key", "/api/v1/auth/key", "/api/v1/credits"}
CLOSED = re.compile(r"/api/v1/(auth/keys|oauth/|vault/|organization|credits/coinbase)")
OWNED = re.compile(r"/api/v1/(generation$|generation/content$|(files|batches|videos|containers)/\{)")
CATALOGUE = re.compile(
    r"/api/v1/(models|models/count|models/\{author\}/\{slug\}/endpoints|model/\{author\}/\{slug\}|embeddings/models|images/models"
    r"|images/models/\{author\}/\{slug\}/endpoints|videos/models|providers|endpoints/zdr)$"
)
# A refusal of the key moves a call to the next key: what then comes back is tested with the SDKs.
OF_THE_KEY = {"401", "402", "429"}


def kind_of(operation: Operation) -> str:
    if operation.path in ACCOUNT and operation.method == "GET":
        return "account"
    if operation.auth == "management" or CLOSED.match(operation.path):
        return "closed"
    if OWNED.match(operation.path):
        return "owned"
    if operation.method == "GET" and CATALOGUE.match(operation.path):
        return "catalogue"
    return "forwarded" if operation.in_spec else "echoed"


def some(*kinds: str) -> list[Operation]:
    return [operation for operation in openapi.operations() if kind_of(operation) in kinds]


@pytest.fixture(scope="module")
def prism() -> Iterator[int]:
    """The port of Prism."""
    with openapi.running_prism() as origin:
        yield int(origin.rpartition(":")[2])


@pytest.fixture(scope="module")
def mocked(prism: int) -> Iterator[Wire]:
    """A gateway before Prism. It has no raw upstream."""
    keys = made_up_keys(3)
    with running_gateway(f"http://127.0.0.1:{prism}/api/v1", keys=keys) as gateway:
        yield Wire(gateway, None, gateway.create_client("operations").key)  # type: ignore[arg-type]


def send(port: int, request: Request, key: str, *more: tuple[str, str]) -> Reply:
    return call(port, request.method, request.target, headers=[*request.headers, *more], body=request.body, key=key)


def told(reply: Reply, without: set[str]) -> list[tuple[str, str]]:
    return sorted((name.lower(), value) for name, value in reply.headers if name.lower() not in without)


def expected_body(direct: Reply) -> bytes:
    """The bytes of a direct answer, without what must not be seen."""
    if direct.status >= 400 and b'"user_id"' in direct.body:
        value = direct.json()
        if isinstance(value, dict) and "user_id" in value:
            # Prism writes compact JSON, so cutting the member out by hand is simple.
            member = f'"user_id":{json.dumps(value["user_id"])}'.encode()
            return direct.body.replace(b"," + member, b"").replace(member + b",", b"").replace(member, b"")
    return direct.body


def assert_same(direct: Reply, through: Reply, *, lists: bool = False) -> None:
    assert through.status == direct.status
    if lists and direct.status == 200:
        whole = direct.json()
        assert through.json() == {name: whole[name] for name in whole if name not in ("first_id", "last_id")} | {
            "data": []
        }
    else:
        assert through.body == expected_body(direct)
    # An answer that says nothing of caches is kept out of them.
    silent = {"cache-control"} if not direct.all("cache-control") else set()
    assert told(through, DROPPED | ADDED | silent) == told(direct, DROPPED | ADDED)
    assert not silent or through.all("cache-control") in ([], ["no-store"])
    assert through.all("content-type") == direct.all("content-type")


def test_the_table_covers_every_operation() -> None:
    """Each operation is in exactly one row, and both mock servers have work."""
    kinds = [kind_of(operation) for operation in openapi.operations()]
    assert len(kinds) > 140
    assert {kind: kinds.count(kind) > 2 for kind in set(kinds)} == dict.fromkeys(set(kinds), True)
    missing = [str(one) for one in openapi.operations() if one.in_spec and one.path not in openapi.spec()["paths"]]
    assert missing == []


@pytest.mark.parametrize("operation", some("forwarded"), ids=str)
def test_forwarded_operations(prism: int, mocked: Wire, operation: Operation) -> None:
    """Each body type, each declared answer that is not about the key, and the streamed form where there is one."""
    pool_key = mocked.gateway.keys[0]
    lists = operation.method == "GET" and operation.path in LISTS
    wishes = [("Prefer", f"code={code}") for code in operation.codes if code.isdigit() and code not in OF_THE_KEY]
    wishes += [("Accept", "text/event-stream")] if operation.streaming else []
    for request in openapi.request_of(operation):
        for wish in [("X-No-Wish", "1"), *wishes]:
            direct = send(prism, request, pool_key, wish)
            assert_same_links(direct, send(mocked.port, request, mocked.key, wish), mocked, lists=lists)


def assert_same_links(direct: Reply, through: Reply, wire: Wire, *, lists: bool = False) -> None:
    """As `assert_same`, with the links of jobs led back before comparing."""
    ours = wire.gateway.origin.encode() + b"/api/"
    moved = re.sub(rb'(?<=")https://openrouter\.ai/api/', ours, direct.body)
    if through.body == moved != direct.body:
        direct = Reply(direct.status, direct.headers, moved)
    assert_same(direct, through, lists=lists)


@pytest.mark.parametrize("operation", some("catalogue"), ids=str)
def test_catalogues(prism: int, mocked: Wire, operation: Operation) -> None:
    """The same body and type, fresh and from the cache; with a validator that saves the second download."""
    for request in openapi.request_of(operation):
        direct = send(prism, request, mocked.gateway.keys[0])
        first, second = (send(mocked.port, request, mocked.key) for _ in range(2))
        packed = send(mocked.port, request, mocked.key, ("Accept-Encoding", "gzip, deflate, br"))
        for reply in (first, second, packed):
            assert reply.status == direct.status
            assert unzipped(reply) == direct.body
            assert reply.all("content-type") == direct.all("content-type")
        if direct.status == 200:
            assert first.first("etag")
            again = send(mocked.port, request, mocked.key, ("If-None-Match", first.first("etag")))
            assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize("operation", some("account"), ids=str)
def test_account_operations(mocked: Wire, operation: Operation) -> None:
    """The gateway's own answer fits the schema that the description promises."""
    (request,) = openapi.request_of(operation)
    reply = send(mocked.port, request, mocked.key)
    assert reply.status == 200
    path = "/api/v1/key" if operation.path == "/api/v1/auth/key" else operation.path
    schema = openapi.spec()["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    jsonschema.Draft202012Validator({**schema, "components": openapi.spec()["components"]}).validate(reply.json())


@pytest.mark.parametrize("operation", some("closed"), ids=str)
def test_closed_operations(wire: Wire, operation: Operation) -> None:
    """Nothing of the pool's account can be read or changed by a client."""
    for request in openapi.request_of(operation):
        reply = send(wire.port, request, wire.key)
        assert reply.status == 403
        assert is_error_of("openrouter", reply)
    assert wire.upstream.received == []


@pytest.mark.parametrize("operation", some("owned"), ids=str)
def test_owned_operations_of_strangers(wire: Wire, operation: Operation) -> None:
    """An object that this client did not make does not exist for it."""
    for request in openapi.request_of(operation):
        reply = send(wire.port, request, wire.key)
        assert reply.status == 404
        assert is_error_of("openrouter", reply)
    assert wire.upstream.received == []


MAKERS = {"files": "file_id", "videos": "jobId"}


@pytest.mark.parametrize("operation", [one for one in some("owned") if one.path.split("/")[3] in MAKERS], ids=str)
def test_owned_operations_of_the_maker(prism: int, mocked: Wire, operation: Operation) -> None:
    """Who made a file or a video gets the same as going direct."""
    group = operation.path.split("/")[3]
    maker = Operation("POST", f"/api/v1/{group}", "key", False, (), True)
    made = send(mocked.port, openapi.request_of(maker)[0], mocked.key)
    assert made.status < 300
    for request in openapi.request_of(operation, {MAKERS[group]: made.json()["id"]}):
        direct = send(prism, request, mocked.gateway.keys[0])
        assert_same_links(direct, send(mocked.port, request, mocked.key), mocked)


def echo(request: Received, line: Line) -> None:
    """Answers with what was asked, and makes objects."""
    headers = [("Content-Type", "application/json"), ("X-Odd", "1")]
    line.answer(200, b'{ "id" : "made-by-echo", "target":%b }' % json.dumps(request.target.decode()).encode(), headers)


@pytest.mark.parametrize("operation", some("echoed"), ids=str)
def test_operations_outside_the_description(wire: Wire, operation: Operation) -> None:
    """What only SDKs and documents know of is forwarded as it is."""
    wire.upstream.handler = echo
    for request in openapi.request_of(operation):
        reply = send(wire.port, request, wire.key)
        assert reply.status == 200
        assert wire.upstream.last.method == request.method
        assert wire.upstream.last.target.decode() == request.target
        assert wire.upstream.last.body == (request.body or b"")
        assert reply.body == b'{ "id" : "made-by-echo", "target":"%b" }' % request.target.encode()
        assert reply.first("x-odd") == "1"


def test_batches_and_generations_of_the_maker(wire: Wire) -> None:
    """Who made a batch or a generation may ask for it, on the key that made it, and nobody else."""

    def make(_: Received, line: Line) -> None:
        headers = [("Content-Type", "application/json"), ("X-Generation-Id", "gen-1-mine")]
        line.answer(200, b'{"id":"batch-mine"}', headers)

    wire.upstream.handler = make
    stranger = wire.gateway.create_client("stranger").key
    body = b'{"model":"a/b","requests":[]}'
    pairs = [("Content-Type", "application/json")]
    paths = {
        "/v1/batches": ["/v1/batches/batch-mine", "/api/beta/batches/batch-mine"],
        "/v1/chat/completions": ["/v1/generation?id=gen-1-mine", "/v1/generation/content?id=gen-1-mine"],
    }
    for maker, readers in paths.items():
        assert call(wire.port, "POST", maker, headers=pairs, body=body, key=wire.key).status == 200
        made_with = wire.upstream.last.all("authorization")
        for reader in readers:
            assert call(wire.port, "GET", reader, key=wire.key).status == 200
            assert wire.upstream.last.all("authorization") == made_with
            before = len(wire.upstream.received)
            assert call(wire.port, "GET", reader, key=stranger).status == 404
            assert len(wire.upstream.received) == before
