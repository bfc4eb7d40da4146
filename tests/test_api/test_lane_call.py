"""One call in the lane with its two neighbours played: the exchange behind it and the connection before it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable

import pytest

from app.api.lane import Ticket
from app.api.lane_call import LaneCall
from app.core.clock import SystemClock
from app.core.errors import Fault, GatewayError
from app.core.inline_task import InlineTask
from app.models.exchange import Outcome, Route, RouteKind, Skin
from app.models.keys import ClientKey
from app.services.answers import AnswerCutError
from app.services.call import Call, Caller, Form
from app.services.client_terms import NO_TERMS
from app.transport import HeadStart

CLIENT = ClientKey(id="c", name="C", digest="", masked="")
OPENROUTER = Route(RouteKind.FORWARD, b"/v1/chat/completions", "chat/completions", Skin.OPENROUTER, inference=True)
ANTHROPIC = Route(RouteKind.FORWARD, b"/v1/messages", "messages", Skin.ANTHROPIC, inference=True)
LENGTH = [(b"content-type", b"text/plain"), (b"content-length", b"3")]
Serve = Callable[[Call, Caller], Awaitable[None]]


class House:
    """The lane as far as a call knows it, and its connection."""

    added_headers = ((b"vary", b"origin"),)
    date_headers = ((b"date", b"today"),)

    def __init__(self, serve: Serve, route: Route = OPENROUTER) -> None:
        self.proxy = self
        self.serve = serve
        self.clock = SystemClock()
        self.loop = asyncio.get_running_loop()
        self.sent = b""
        self.reusable: bool | None = None
        self.running: set[InlineTask] = set()
        self._made = Call("POST", route, b"", [], b"", CLIENT, b"")
        ticket = Ticket(b"", [], 0, route, CLIENT, NO_TERMS, Form(HeadStart(b"POST", b"")))
        self.call_ = LaneCall(self, ticket, b"{}", self, keep_alive=True)  # type: ignore[arg-type]

    def call(self, _: Ticket, request_id: str) -> Call:
        self._made.request_id = request_id
        return self._made

    def send(self, data: bytes) -> None:
        self.sent += data

    write_paused = True

    async def writable(self) -> None:
        await asyncio.sleep(0)

    def began(self) -> None:
        pass

    def answered(self, *, reusable: bool) -> None:
        self.reusable = reusable

    async def run(self) -> None:
        self.loop.call_soon(self.call_.start, self.running)
        await self.over()

    async def over(self) -> None:
        async with asyncio.timeout(5):
            while self.reusable is None:
                await asyncio.sleep(0)

    @property
    def head(self) -> bytes:
        return self.sent.partition(b"\r\n\r\n")[0].lower()

    @property
    def body(self) -> bytes:
        return self.sent.partition(b"\r\n\r\n")[2]


async def whole(call: Call, caller: Caller) -> None:
    assert await caller.body() == b"{}"
    await caller.answer(200, LENGTH, b"abc")


async def test_an_answer_gets_the_gateways_own_headers() -> None:
    """Date, id, what makes a browser careful, and what the cross-origin rules add."""
    house = House(whole)
    await house.run()

    assert house.body == b"abc"
    for line in (b"date: today", b"x-content-type-options: nosniff", b"cache-control: no-store", b"vary: origin"):
        assert line in house.head
    assert b"x-request-id: " in house.head
    assert b"transfer-encoding" not in house.head
    assert house.reusable
    assert house.running == set()


async def test_upstreams_own_word_on_caching_stays() -> None:
    """A header of the answer is never doubled."""

    async def serve(call: Call, caller: Caller) -> None:
        await caller.answer(200, [(b"cache-control", b"no-cache"), *LENGTH], b"abc")

    house = House(serve)
    await house.run()
    assert house.head.count(b"cache-control") == 1


async def test_a_stream_is_framed_in_chunks() -> None:
    """Where no length is known."""

    async def serve(call: Call, caller: Caller) -> None:
        await caller.begin(200, [(b"content-type", b"text/event-stream")], b"one")
        await caller.write(b"two")
        await caller.end(b"three")

    house = House(serve)
    await house.run()
    assert b"transfer-encoding: chunked" in house.head
    assert house.body == b"3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n"


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_that_has_no_body_is_not_framed(status: int) -> None:
    """It ends with its head."""

    async def serve(call: Call, caller: Caller) -> None:
        await caller.answer(status, [], b"")

    house = House(serve)
    await house.run()
    assert b"transfer-encoding" not in house.head
    assert house.body == b""


@pytest.mark.parametrize(("route", "kind"), [(OPENROUTER, "error"), (ANTHROPIC, "error")])
async def test_a_refusal_speaks_the_skin_that_was_called(route: Route, kind: str) -> None:
    """And the connection lives on, because the request was whole."""

    async def serve(call: Call, caller: Caller) -> None:
        call.status, call.outcome = 503, Outcome.FAILED
        raise GatewayError(503, "no_usable_key", "None.", fault=Fault.GATEWAY, headers=((b"retry-after", b"7"),))

    house = House(serve, route)
    await house.run()
    value = json.loads(house.body)
    assert kind in value
    assert (value.get("type") == "error") == (route is ANTHROPIC)
    assert b"http/1.1 503" in house.head
    assert b"retry-after: 7" in house.head
    assert house.reusable


async def test_a_failure_of_our_own_quotes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """500 for the caller; type and place, never the words, for the log."""
    caplog.set_level(logging.INFO)

    async def serve(call: Call, caller: Caller) -> None:
        raise KeyError("sk-or-v1-secret")

    house = House(serve)
    await house.run()
    assert b"http/1.1 500" in house.head
    assert b"secret" not in house.sent
    record = caplog.records[-1]
    assert (record.levelno, vars(record)["error"]) == (logging.ERROR, "KeyError")
    assert "secret" not in str(vars(record))


async def test_a_cut_answer_costs_the_connection() -> None:
    """Nobody may take it for whole."""

    async def serve(call: Call, caller: Caller) -> None:
        await caller.begin(200, [(b"content-type", b"text/event-stream")], b"one")
        raise AnswerCutError

    house = House(serve)
    await house.run()
    assert not house.body.endswith(b"0\r\n\r\n")
    assert house.reusable is False


async def test_a_client_that_leaves_ends_the_exchange() -> None:
    """It is told by a cancellation and can tell it from others."""
    seen: list[bool] = []

    async def serve(call: Call, caller: Caller) -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            seen.append(caller.gone)
            call.outcome, call.status = Outcome.LEFT, 499

    house = House(serve)
    house.loop.call_soon(house.call_.start, house.running)
    await asyncio.sleep(0.001)
    house.call_.leave()
    await house.over()

    assert seen == [True]
    assert house.sent == b""


async def test_the_servers_stop_is_no_leaving() -> None:
    """It cancels what still runs when its patience is over; the call may say goodbye."""
    seen: list[bool] = []

    async def serve(call: Call, caller: Caller) -> None:
        await caller.begin(200, [], b"one")
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            seen.append(caller.gone)
            await caller.end(b"bye")
            raise

    house = House(serve)
    house.loop.call_soon(house.call_.start, house.running)
    await asyncio.sleep(0.001)
    for task in house.running:
        task.cancel(msg="enough")
    await house.over()

    assert seen == [False]
    assert b"bye" in house.body


async def test_a_connection_that_is_to_end_says_so() -> None:
    """The request asked for it, or the server is stopping."""
    house = House(whole)
    house.call_.keep_alive = False
    await house.run()

    assert b"connection: close" in house.head
    assert house.reusable is False
