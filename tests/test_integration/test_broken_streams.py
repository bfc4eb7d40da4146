"""Clients that leave and upstreams that break: who learns of it, how soon, and in which words."""

from __future__ import annotations

import http.client
import json
import queue
import socket
import threading
import time

import pytest

from tests.gateway_process import wait_until
from tests.test_integration.conftest import Wire
from tests.test_integration.wire_tools import Line, Pairs, Received, call, is_error_of, read_until

JSON: Pairs = [("Content-Type", "application/json")]
# Promised are 100 ms; a loaded machine gets more, and a gateway that does not cancel gets caught all the same.
CANCEL_S = 1.0


def ask(wire: Wire, path: str, body: bytes) -> socket.socket:
    """A connection on which one request was sent."""
    connection = socket.create_connection(("127.0.0.1", wire.port), timeout=10)
    head = f"POST {path} HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {wire.key}\r\n"
    connection.sendall(
        (head + f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body
    )
    return connection


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("moment", ["before the head", "before the first token", "in the middle"])
@pytest.mark.parametrize("manner", ["fin", "rst"])
def test_a_client_that_leaves_ends_the_call_upstream(wire: Wire, stream: bool, moment: str, manner: str) -> None:
    """Nobody pays for tokens that nobody reads: the upstream connection closes as soon as the client's does."""
    closed: queue.Queue[float] = queue.Queue()
    sent = threading.Event()

    def endless(_: Received, line: Line) -> None:
        if moment != "before the head":
            line.begin("text/event-stream" if stream else "application/json")
            line.chunk(b": OPENROUTER PROCESSING\n\n" if stream else b" \n ")
        if moment == "in the middle":
            line.chunk(b"data: {}\n\n" if stream else b'{"id": 1,')
        sent.set()
        closed.put(line.wait_closed())

    wire.upstream.handler = endless
    body = json.dumps({"model": "a/b", "messages": [], "stream": stream}).encode()
    connection = ask(wire, "/v1/chat/completions", body)
    wait_until(lambda: wire.upstream.received, what="the request")
    assert sent.wait(10)
    if moment == "in the middle":
        read_until(connection, b"{}\n\n" if stream else b'{"id": 1,')
    if manner == "rst":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    left_at = time.monotonic()
    connection.close()
    assert closed.get(timeout=10) - left_at < CANCEL_S


def test_leaving_while_uploading_harms_nothing(wire: Wire) -> None:
    """A client that goes in the middle of its body never reaches upstream."""
    connection = socket.create_connection(("127.0.0.1", wire.port), timeout=10)
    head = f"POST /v1/files HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {wire.key}\r\nContent-Length: 1000\r\n\r\n"
    connection.sendall(head.encode() + b"x" * 10)
    connection.close()
    assert call(wire.port, "GET", "/v1/after", key=wire.key).status == 200
    assert [seen.target for seen in wire.upstream.received] == [b"/api/v1/after"]


def test_many_that_leave_leave_nothing_behind(wire: Wire) -> None:
    """Two hundred calls given up at odd moments, and the next ones are served at once."""
    wire.upstream.handler = lambda _, line: (line.begin(), line.chunk(b"data: {}\n\n"), line.wait_closed())[0]
    for number in range(200):
        connection = ask(wire, "/v1/chat/completions", b'{"model":"a/b","stream":true}')
        if number % 3 == 0:
            connection.recv(100)
        connection.close()
    wire.upstream.handler = lambda _, line: line.answer_json({"ok": True})
    for _ in range(20):
        assert call(wire.port, "GET", "/v1/after", key=wire.key, timeout=5).status == 200
    wait_until(lambda: all(seen.target for seen in wire.upstream.received))


PARTS = [
    b'data: {"choices":[{"index":0,"delta":{"content":"one"}}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{"content":"two"}}]}\n\n',
]


@pytest.mark.parametrize("end", ["fin", "rst", "bad chunk", "half an event"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/completions"])
def test_a_stream_that_breaks_ends_with_an_error_event(wire: Wire, end: str, path: str) -> None:
    """The client gets what came, then one error event in the words of its API, and no [DONE]."""

    def broken(_: Received, line: Line) -> None:
        line.begin()
        for part in PARTS:
            line.chunk(part)
        if end == "half an event":
            line.chunk(b'data: {"choices":[{"ind')
        if end == "bad chunk":
            line.send(b"zzz not a chunk\r\n")
        if end == "rst":
            # What was sent must have left, or the reset takes it along.
            line.send(b"")
            released.get(timeout=10)
            line.reset()
        else:
            line.connection.shutdown(socket.SHUT_RDWR)
            line.connection.close()

    released: queue.Queue[bool] = queue.Queue()
    wire.upstream.handler = broken
    with ask(wire, path, b'{"model":"a/b","stream":true}') as connection:
        seen = read_until(connection, b"two")
        released.put(True)
        # The end may have come with what was waited for.
        while not seen.endswith(b"0\r\n\r\n") and (piece := connection.recv(65536)):
            seen += piece
    assert b"[DONE]" not in seen
    after = seen.split(b'"two"}}]}\n\n', 1)[1]
    if path == "/v1/messages":
        assert b"event: error\n" in after
    events = [line for line in after.split(b"\n") if line.startswith(b"data: ") and line.rstrip().endswith(b"}")]
    assert len(events) == 1
    event = json.loads(events[0][6:])
    if path == "/v1/messages":
        assert event["type"] == "error"
        assert event["error"]["message"]
    elif path == "/v1/responses":
        assert event["type"] == "error"
        assert event["message"]
    else:
        assert event["error"]["message"]
        assert event["choices"][0]["finish_reason"] == "error"


def test_a_json_answer_that_breaks_does_not_look_whole(wire: Wire) -> None:
    """Half a JSON answer ends without its last chunk, so that no client takes it for complete."""

    def broken(_: Received, line: Line) -> None:
        line.begin("application/json")
        line.chunk(b'{"choices": [')
        line.connection.shutdown(socket.SHUT_RDWR)
        line.connection.close()

    wire.upstream.handler = broken
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        call(wire.port, "POST", "/v1/chat/completions", headers=JSON, body=b'{"model":"a/b"}', key=wire.key)


@pytest.mark.parametrize("how", ["close", "garbage", "reset", "half a head", "two lengths", "giant header"])
def test_no_answer_is_a_502_in_both_skins(wire: Wire, how: str) -> None:
    """An upstream that does not speak HTTP is told of in the API's own shape, with none of its bytes."""

    def none(_: Received, line: Line) -> None:
        if how == "garbage":
            line.send(b"\x16\x03\x01CANARY not http\r\n\r\n")
        elif how == "half a head":
            line.send(b"HTTP/1.1 200 OK\r\nX-A: CANARY")
        elif how == "two lengths":
            line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nCANARY")
        elif how == "giant header":
            line.send(b"HTTP/1.1 200 OK\r\nX-A: " + b"CANARY" * 100_000 + b"\r\n\r\n")
        if how == "reset":
            line.reset()
        else:
            line.connection.shutdown(socket.SHUT_RDWR)
            line.connection.close()

    wire.upstream.handler = none
    for path, skin in (("/v1/chat/completions", "openrouter"), ("/v1/messages", "anthropic")):
        reply = call(wire.port, "POST", path, headers=JSON, body=b'{"model":"a/b"}', key=wire.key)
        assert reply.status == 502
        assert is_error_of(skin, reply)
        assert b"CANARY" not in reply.body


def test_a_post_is_not_sent_twice(wire: Wire) -> None:
    """A paid call that broke after it was sent is never repeated."""

    def broken(_: Received, line: Line) -> None:
        line.connection.shutdown(socket.SHUT_RDWR)
        line.connection.close()

    wire.upstream.handler = broken
    assert (
        call(wire.port, "POST", "/v1/chat/completions", headers=JSON, body=b'{"model":"a/b"}', key=wire.key).status
        == 502
    )
    assert len(wire.upstream.received) == 1


def test_a_stale_connection_is_not_the_clients_trouble(wire: Wire) -> None:
    """Connections that upstream closed while they were idle are replaced without an error, for POST too."""

    def once(_: Received, line: Line) -> None:
        line.answer_json({"ok": True})
        line.connection.shutdown(socket.SHUT_RDWR)
        line.connection.close()

    wire.upstream.handler = once
    for _ in range(30):
        reply = call(wire.port, "POST", "/v1/chat/completions", headers=JSON, body=b'{"model":"a/b"}', key=wire.key)
        assert reply.status == 200
    assert len(wire.upstream.received) == 30


def test_a_slow_reader_does_not_fill_the_gateway(wire: Wire) -> None:
    """Upstream is read no faster than the client reads: a stalled client stalls upstream, not memory."""
    sent = []

    def flood(_: Received, line: Line) -> None:
        line.begin("application/octet-stream")
        line.connection.settimeout(1.0)
        try:
            for _ in range(2000):
                line.chunk(b"x" * 65536)
                sent.append(1)
        except TimeoutError:
            pass

    wire.upstream.handler = flood
    with ask(wire, "/v1/audio/speech", b'{"model":"a/b"}') as connection:
        connection.recv(100)
        before = -1

        def stalled() -> bool:
            nonlocal before
            same, before = len(sent) == before, len(sent)
            time.sleep(0.3)
            return same and bool(sent)

        wait_until(stalled, what="a stall")
    assert len(sent) < 1000


@pytest.mark.parametrize("cut", [1, 5, 12, 40])
def test_an_error_under_200_with_a_length_arrives_whole_in_pieces(wire: Wire, cut: int) -> None:
    """The account is cut out of it, so the length that upstream told no longer holds."""
    body = b'  {"error":{"code":502,"message":"no luck"},"user_id":"user_canary"}'

    def answer(_: Received, line: Line) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        line.send(head + body[:cut])
        time.sleep(0.05)
        line.send(body[cut:])

    wire.upstream.handler = answer
    reply = call(wire.port, "POST", "/v1/chat/completions", body=b'{"model":"a/b"}', key=wire.key)
    assert (reply.status, reply.json()) == (200, {"error": {"code": 502, "message": "no luck"}})
