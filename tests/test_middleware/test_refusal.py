"""How an error leaves: with a usable connection where possible, and with an end where not."""

from __future__ import annotations

import asyncio
from typing import Any

from app.core.errors import GatewayError
from app.middleware.refusal import refuse
from tests.test_middleware.layers import scope_of

DENIED = GatewayError(401, "authentication", "No.")


class Line:
    """A server's two ends, with these messages of a body and silence behind them."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.left = list(messages)
        self.sent: list[dict[str, Any]] = []

    async def receive(self) -> dict[str, Any]:
        if not self.left:
            await asyncio.Event().wait()
        return self.left.pop(0)

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    @property
    def closes(self) -> bool:
        return (b"connection", b"close") in self.sent[0]["headers"]


def piece(body: bytes, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_without_a_body_the_connection_stays() -> None:
    """A refused GET costs nothing but its answer."""
    line = Line()
    await refuse(scope_of(request_id="r1"), line.receive, line.send, DENIED)
    assert not line.closes
    assert (b"x-request-id", b"r1") in line.sent[0]["headers"]
    assert line.sent[-1]["more_body"] is False


async def test_a_small_body_is_let_in() -> None:
    """What is on its way already is read off, so that the next request finds the connection clean."""
    line = Line(piece(b"ab", True), piece(b"c", False))
    await refuse(scope_of(body_open=True, content_length=3), line.receive, line.send, DENIED)
    assert not line.closes
    assert not line.left


async def test_a_large_body_costs_the_connection() -> None:
    """Its answer goes first, complete; only then the rest is read away."""
    line = Line(piece(b"a", True), piece(b"b", False))
    await refuse(scope_of("POST", body_open=True, content_length=10**8), line.receive, line.send, DENIED)
    assert line.closes
    assert line.sent[1]["body"]
    assert line.sent[1]["more_body"] is True
    assert line.sent[2] == {"type": "http.response.body", "body": b"", "more_body": False}
    assert not line.left


async def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    """A refused caller cannot hold the connection by dripping."""
    line = Line(piece(b"a", True))
    await refuse(scope_of("POST", body_open=True, content_length=3), line.receive, line.send, DENIED)
    assert line.closes


async def test_a_client_that_waits_to_be_asked_is_not_asked() -> None:
    """Reading would send `100 Continue` to somebody who was refused."""
    line = Line(piece(b"abc", False))
    scope = scope_of("POST", body_open=True, content_length=3, expects_continue=True)
    await refuse(scope, line.receive, line.send, DENIED)
    assert line.closes
    assert len(line.left) == 1


async def test_a_client_that_left_ends_it() -> None:
    """A disconnect is the end of the body, not a message to be read for ever."""
    line = Line({"type": "http.disconnect"})
    await refuse(scope_of("POST", body_open=True, content_length=3), line.receive, line.send, DENIED)
    assert line.sent[-1]["more_body"] is False
