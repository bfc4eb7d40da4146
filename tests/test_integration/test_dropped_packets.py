"""Packets between the gateway and OpenRouter are dropped: the client is told in time, and no key is blamed for it."""

from __future__ import annotations

import queue
import socket

from tests.black_hole import black_hole
from tests.conftest import GatewayMaker
from tests.test_integration.conftest import made_up_keys
from tests.test_integration.wire_tools import (
    Line,
    Pairs,
    Received,
    call,
    is_error_of,
    read_to_end,
    running_raw_upstream,
)

JSON: Pairs = [("Content-Type", "application/json")]
ASK = b'{"model":"a/b","messages":[],"stream":true}'


def test_a_stream_that_falls_silent_ends_with_an_error_event(own_gateway: GatewayMaker) -> None:
    """At the idle timeout: what came, one error event and no [DONE]; upstream is hung up on, and the key serves on."""
    hung_up: queue.Queue[float] = queue.Queue()

    def silent(_: Received, line: Line) -> None:
        line.begin()
        line.chunk(b'data: {"choices":[]}\n\n')
        hung_up.put(line.wait_closed())

    with running_raw_upstream() as upstream:
        gateway = own_gateway(upstream.base_url, keys=made_up_keys(1), IDLE_TIMEOUT_S="0.3")
        key = gateway.create_client("a").key
        upstream.handler = silent
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n"
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
            connection.sendall(
                (head + f"Content-Type: application/json\r\nContent-Length: {len(ASK)}\r\n\r\n").encode() + ASK
            )
            answer = read_to_end(connection)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.count(b"data: ") == 2
        assert b'"upstream_timeout"' in answer
        assert b"[DONE]" not in answer
        hung_up.get(timeout=10)
        assert len(upstream.received) == 1
        upstream.clear()
        assert call(gateway.port, "GET", "/v1/after", key=key).status == 200
        assert gateway.health()["openrouter_keys"]["ready"] == 1


def test_an_openrouter_that_cannot_be_reached_is_a_504(own_gateway: GatewayMaker) -> None:
    """Each key is tried once at most; the answer has the words of the API that was called, and no key rests."""
    with black_hole() as port:
        gateway = own_gateway(
            f"http://127.0.0.1:{port}/api/v1", keys=made_up_keys(3), CONNECT_TIMEOUT_S="0.2", MAX_ATTEMPTS="2"
        )
        key = gateway.create_client("a").key
        for path, skin in (("/v1/chat/completions", "openrouter"), ("/v1/messages", "anthropic")):
            reply = call(gateway.port, "POST", path, headers=JSON, body=ASK, key=key)
            assert reply.status == 504
            assert is_error_of(skin, reply)
        assert gateway.health()["openrouter_keys"]["ready"] == 3
