"""The lane beside the long way: the same call must get the same answer, byte for byte, whichever way it took."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from app.api import server_protocol
from tests.asgi_server import Raw, Wire
from tests.gateway_process import GatewayProcess, wait_until
from tests.test_integration.conftest import Wire as RawHouse
from tests.test_integration.wire_tools import Line, Received

CHAT = "/v1/chat/completions"
SAID = {"messages": [{"role": "user", "content": "hi"}], "seed": 7}
# Dropped before it goes upstream, and too unusual for the lane.
LONG_WAY = b"TE: trailers\r\n"
_CHANGING = re.compile(
    rb"(?:gen|chatcmpl|resp|msg|req|rs|fc)[-_][A-Za-z0-9_-]+|\"created(?:_at)?\":\d+|\b[0-9a-f]{32}\b"
)
_OWN = frozenset({b"date", b"x-request-id", b"x-generation-id", b"cf-ray", b"content-length"})


def request(key: str, path: str, body: bytes, extra: bytes = b"") -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
    )
    return head.encode() + extra + b"Content-Length: %d\r\n\r\n" % len(body) + body


def plain(answer: Raw | None) -> tuple[int, dict[bytes, bytes], bytes]:
    """What must be equal: all but ids and times."""
    assert answer is not None
    headers = {name: value for name, value in answer.headers.items() if name not in _OWN}
    return answer.status, headers, _CHANGING.sub(b"#", answer.body)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"model": "openai/gpt-4o-mini", **SAID}),
        (CHAT, {"model": "openai/gpt-4o-mini", "stream": True, **SAID}),
        ("/openrouter/v1/messages", {"model": "anthropic/claude-haiku-4.5", "max_tokens": 9, **SAID}),
        ("/api/v1/messages", {"model": "anthropic/claude-haiku-4.5", "max_tokens": 9, "stream": True, **SAID}),
        ("/v1/responses", {"model": "sim/echo", "input": "hi"}),
        ("/v1/responses", {"model": "sim/echo", "input": "hi", "stream": True}),
        ("/v1/embeddings", {"model": "openai/text-embedding-3-small", "input": "hi"}),
        (CHAT, {"model": "sim/400-context", **SAID}),
        (CHAT, {"model": "sim/502", **SAID}),
        ("/v1/messages", {"model": "sim/502", "max_tokens": 9, **SAID}),
        (CHAT, {"model": 7, **SAID}),
        ("/v1/messages", {"model": 7, **SAID}),
        (CHAT, []),
        (CHAT, b'{"model":NaN}'),
        (CHAT, b"{"),
    ],
)
def test_both_ways_answer_alike(gateway: GatewayProcess, client_key: str, path: str, body: Any) -> None:
    """Answers, streams, upstream's errors and the gateway's own."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    with Wire(gateway.port) as wire:
        wire.send(request(client_key, path, content, LONG_WAY))
        long_way = plain(wire.answer())
        for _ in range(2):  # the second one comes with the first one's ticket
            wire.send(request(client_key, path, content))
            assert plain(wire.answer()) == long_way


def test_calls_that_wait_in_line_are_answered_in_their_order(gateway: GatewayProcess, client_key: str) -> None:
    """Sent at once on one connection: lane, long way, lane, and one that is refused."""
    models = ["openai/gpt-4o-mini", "sim/echo", "google/gemini-2.5-flash"]
    bodies = [json.dumps({"model": model, **SAID}).encode() for model in models]
    with Wire(gateway.port) as wire:
        wire.send(
            request(client_key, CHAT, bodies[0])
            + request(client_key, CHAT, bodies[1], LONG_WAY)
            + request(client_key, CHAT, bodies[2])
            + request("gw_live_none", CHAT, bodies[0])
        )
        answers = [wire.answer() for _ in range(4)]

    assert [json.loads(answer.body).get("model") for answer in answers if answer] == [*models, None]
    assert answers[3] is not None
    assert answers[3].status == 401


def test_a_body_in_pieces_is_served(gateway: GatewayProcess, client_key: str) -> None:
    """Head and body of most clients come apart."""
    whole = request(client_key, CHAT, json.dumps({"model": "sim/echo", **SAID}).encode())
    border = whole.index(b"\r\n\r\n") + 4
    with Wire(gateway.port) as wire:
        for piece in (whole[:border], whole[border : border + 9], whole[border + 9 :]):
            wire.send(piece)
        answer = wire.answer()

    assert answer is not None
    assert answer.status == 200


def test_a_slow_body_leaves_the_lane_and_is_served(gateway: GatewayProcess, client_key: str) -> None:
    """It is waited for on the long way, which knows how long that may last."""
    whole = request(client_key, CHAT, json.dumps({"model": "sim/echo", **SAID}).encode())
    with Wire(gateway.port, timeout_s=0.2) as wire:
        wire.send(whole[:-9])
        waited = 0.0
        while waited < server_protocol.GatewayHttpProtocol.head_timeout_s / 2:
            with pytest.raises(TimeoutError):
                wire.answer()
            waited += 0.2
        wire.send(whole[-9:])
        wire.socket.settimeout(10)
        answer = wire.answer()

    assert answer is not None
    assert answer.status == 200


def test_a_revoked_key_is_refused_on_its_open_connection(gateway: GatewayProcess) -> None:
    """The ticket of the calls before is worth nothing any more."""
    client = gateway.create_client("short-lived")
    body = json.dumps({"model": "sim/echo", **SAID}).encode()
    with Wire(gateway.port) as wire:
        wire.send(request(client.key, CHAT, body))
        first = wire.answer()
        gateway.cli("clients", "revoke", client.id)

        def refused() -> bool:
            wire.send(request(client.key, CHAT, body))
            answer = wire.answer()
            return answer is not None and answer.status == 401

        assert first is not None
        assert first.status == 200
        wait_until(refused, what="the refusal")


def test_a_request_that_asks_to_close_is_the_last(gateway: GatewayProcess, client_key: str) -> None:
    """Answered in full, then the connection ends."""
    body = json.dumps({"model": "sim/echo", **SAID}).encode()
    with Wire(gateway.port) as wire:
        wire.send(request(client_key, CHAT, body))
        assert wire.answer() is not None
        wire.send(request(client_key, CHAT, body, b"Connection: close\r\n"))
        answer = wire.answer()
        assert answer is not None
        assert answer.headers[b"connection"] == b"close"
        assert wire.closed()


def test_a_slow_reader_gets_every_byte(wire: RawHouse) -> None:
    """More than the buffers hold: the gateway waits for its client, and upstream for the gateway."""
    piece = b'data: {"x":"' + b"y" * 60_000 + b'"}\n\n'
    count = 200

    def answer(_: Received, line: Line) -> None:
        line.begin()
        for _number in range(count):
            line.chunk(piece)
        line.end()

    wire.upstream.handler = answer
    with Wire(wire.port, timeout_s=20) as client:
        client.send(request(wire.key, CHAT, b'{"model":"a/b","stream":true}'))
        got = client.answer()

    assert got is not None
    assert len(got.body) == count * len(piece)
