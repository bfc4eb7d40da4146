"""What only the protocol can see: heads that do not end, drip or are no HTTP. Over raw sockets to a real server."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from app.api.server_protocol import GatewayHttpProtocol
from app.middleware.guard import Guard, Limits
from app.middleware.request_log import RequestLog
from tests.asgi_server import Echo, Wire, ask, serving

GET = b"GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Hasty(GatewayHttpProtocol):
    """The same with time limits that a test can wait for."""

    head_timeout_s = 0.4
    max_head_bytes = 30_000


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving(Guard(RequestLog(Echo()), Limits()), Hasty) as bound:
        yield bound


def test_refusals_are_json_and_end_the_connection(port: int) -> None:
    """OpenRouter's error shape where uvicorn sends plain text, with an id and without sniffing."""
    with Wire(port) as wire:
        wire.send(b"NONSENSE\r\n\r\n")
        answer = wire.answer()
        assert answer is not None
        error = msgspec.json.decode(answer.body)["error"]
        assert (answer.status, error["code"]) == (400, 400)
        assert error["metadata"]["error_type"] == "invalid_request"
        assert answer.headers[b"content-type"] == b"application/json"
        assert answer.headers[b"connection"] == b"close"
        assert len(answer.headers[b"x-request-id"]) == 32
        assert b"date" in answer.headers
        assert wire.closed()


def test_bad_requests_do_not_flood_the_log(port: int, caplog: pytest.LogCaptureFixture) -> None:
    """A scanner costs no line above DEBUG."""
    caplog.set_level(logging.INFO)
    for _ in range(3):
        ask(port, b"\x16\x03\x01 hello\r\n\r\n")
    assert not [record for record in caplog.records if record.levelno > logging.DEBUG]


def test_a_dripping_head_is_cut(port: int) -> None:
    """Slowloris: a head that goes on for too long gets 408, however alive it looks."""
    with Wire(port, 0.05) as wire:
        wire.send(b"GET /a HTTP/1.1\r\n")
        answer = None
        for n in range(60):
            wire.send(b"X%d: 1\r\n" % n)
            try:
                answer = wire.answer()
                break
            except TimeoutError:
                continue
        assert answer is not None
        assert answer.status == 408


@pytest.mark.parametrize("first", [b"", b"\r\n"], ids=["nothing", "an empty line"])
def test_a_silent_connection_is_closed(port: int, first: bytes) -> None:
    """Who connects and sends no request is let go without a word."""
    with Wire(port) as wire:
        wire.send(first)
        assert wire.closed()


def test_empty_lines_keep_nothing_alive(port: int) -> None:
    """After an answer, too, bytes that begin no request do not hold the connection."""
    with Wire(port, 0.05) as wire:
        wire.send(GET)
        assert wire.answer() is not None
        for _ in range(60):
            wire.send(b"\r\n")
            if wire.closed():
                break
        else:
            pytest.fail("the connection is still open")


def test_an_idle_connection_lives_as_long_as_keep_alive(port: int) -> None:
    """The head's time limit does not cut short the pause between two requests."""
    with Wire(port) as wire:
        wire.send(GET)
        assert wire.answer() is not None
        time.sleep(0.8)
        wire.send(GET)
        answer = wire.answer()
        assert answer is not None
        assert answer.status == 200


def test_a_head_in_pieces_is_served(port: int) -> None:
    """Slow but within the limit is no reason."""
    with Wire(port) as wire:
        for byte in GET:
            wire.send(bytes([byte]))
        answer = wire.answer()
        assert answer is not None
        assert answer.status == 200


@pytest.mark.parametrize("start", [b"GET /a HTTP/1.1\r\nX: ", b"GET /"], ids=["header", "url"])
def test_an_endless_head_is_cut(port: int, start: bytes) -> None:
    """A head without an end is refused while it arrives, before it fills the memory."""
    with Wire(port) as wire:
        wire.send(start)
        time.sleep(0.05)
        for _ in range(400):
            wire.send(b"a" * 10_000)
        answer = wire.answer()
        assert answer is not None
        assert answer.status in (414, 431)


def test_a_body_may_be_larger_than_any_head(port: int) -> None:
    """The bound counts heads only."""
    body = b"a" * 300_000
    with Wire(port) as wire:
        wire.send(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n" + body + GET[:10])
        first = wire.answer()
        wire.send(GET[10:])
        second = wire.answer()
    assert first is not None
    assert second is not None
    assert (first.body, second.status) == (body, 200)


@pytest.mark.parametrize(
    "after", [b"NONSENSE\r\n\r\n", b"GET http://evil/ HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /b HTTP/9.9\r\n"]
)
def test_garbage_behind_a_request_does_not_take_its_answer(port: int, after: bytes) -> None:
    """The request that was whole is answered, nothing is said to the rest, and the connection ends."""
    with Wire(port) as wire:
        wire.send(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" + after)
        answer = wire.answer()
        assert answer is not None
        assert (answer.status, answer.body) == (200, b"abc")
        assert wire.closed()


def test_a_broken_body_is_answered_and_the_application_let_go() -> None:
    """The application waits for a body that will never be whole: it hears of a disconnect."""
    heard: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] == "http.request" and message["more_body"]:
            pass
        heard.append(message["type"])

    with serving(app, Hasty) as bound:
        answer = ask(bound, b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcXX")
    assert answer is not None
    assert answer.status == 400
    assert heard == ["http.disconnect"]


def test_a_broken_body_under_a_running_answer_ends_both() -> None:
    """Half an answer is not continued as if nothing had happened, and nothing foreign is written into it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        while (await receive())["type"] == "http.request":
            pass

    with serving(app, Hasty) as bound, Wire(bound) as wire:
        wire.send(b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert wire.interim().endswith(b"half")
        wire.send(b"zz\r\n")
        answer = wire.answer()
        assert answer is not None
        assert answer.body == b"half"
        assert wire.closed()


def test_a_long_answer_is_not_cut_by_the_heads_limit() -> None:
    """Time limits are for what the client owes; a stream may take its time."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        for _ in range(4):
            await asyncio.sleep(0.3)
            await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    with serving(app, Hasty) as bound, Wire(bound) as wire:
        wire.send(GET + GET[:10])
        answer = wire.answer()
        assert answer is not None
        assert answer.body == b"aaaa"


def test_a_body_that_nobody_wanted_cannot_hold_the_connection() -> None:
    """The answer is out, the rest of the body drips: the connection ends."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    with serving(app, Hasty) as bound, Wire(bound, 0.05) as wire:
        wire.send(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
        assert wire.answer() is not None
        for _ in range(60):
            wire.send(b"a")
            if wire.closed():
                break
        else:
            pytest.fail("the connection is still open")


def test_it_is_a_protocol_like_any_other_to_the_loop() -> None:
    """asyncio's own loop serves as well as uvloop."""
    with serving(Echo(), Hasty, loop="asyncio") as bound:
        answer = ask(bound, GET)
        assert answer is not None
        assert answer.status == 200
        refused = ask(bound, b"NONSENSE\r\n\r\n")
        assert refused is not None
        assert refused.status == 400
