"""The ASGI side of an exchange: bodies come whole, and a client that leaves is noticed."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterable
from typing import Any

import pytest

from app.api.caller import AsgiCaller
from app.services.call import CallerGoneError


class Server:
    """Plays an ASGI server: hands out messages in turn, then waits until told that the client left."""

    def __init__(self, messages: Iterable[dict[str, Any]] = ()) -> None:
        self.messages = list(messages)
        self.left = asyncio.Event()
        self.sent: list[dict[str, Any]] = []

    async def receive(self) -> dict[str, Any]:
        if self.messages:
            return self.messages.pop(0)
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    def caller(self) -> AsgiCaller:
        return AsgiCaller(self.receive, self.send)


def piece(body: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


@pytest.mark.parametrize(
    ("messages", "body"),
    [
        ([piece(b"", more=False)], b""),
        ([piece(b"abc", more=False)], b"abc"),
        ([piece(b"a", more=True), piece(b"", more=True), piece(b"bc", more=False)], b"abc"),
    ],
)
async def test_the_body_comes_whole(messages: list[dict[str, Any]], body: bytes) -> None:
    """However it is cut."""
    assert body == await Server(messages).caller().body()


@pytest.mark.parametrize(
    "messages", [[{"type": "http.disconnect"}], [piece(b"a", more=True), {"type": "http.disconnect"}]]
)
async def test_a_client_that_leaves_in_its_body_is_gone(messages: list[dict[str, Any]]) -> None:
    """Half a body is never passed on."""
    caller = Server(messages).caller()
    with pytest.raises(CallerGoneError):
        await caller.body()
    assert caller.gone


async def test_leaving_cancels_the_work() -> None:
    """What is awaited inside the block ends at once, and the task can go on with its own end."""
    server = Server()
    caller = server.caller()
    asyncio.get_running_loop().call_later(0.01, server.left.set)

    with pytest.raises(asyncio.CancelledError):
        async with caller.watched():
            await asyncio.sleep(60)

    assert caller.gone
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_leaving_as_the_work_ends_cancels_nobody_else() -> None:
    """A cancellation that comes too late for the block is met in it."""
    server = Server()
    caller = server.caller()

    async with caller.watched():
        await asyncio.sleep(0)
        server.left.set()
        while not caller.gone:
            # Runs the watcher without giving this task a place to be cancelled at.
            future = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(future.set_result, None)
            try:
                await future
            except asyncio.CancelledError:
                break

    await asyncio.sleep(0)
    assert caller.gone


async def test_a_foreign_cancellation_is_not_a_client_leaving() -> None:
    """When the server cancels, nobody is gone and the cancellation stands."""
    caller = Server().caller()

    async def work() -> None:
        async with caller.watched():
            await asyncio.sleep(60)

    task = asyncio.get_running_loop().create_task(work())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not caller.gone


async def test_a_complete_answer_is_not_a_client_leaving() -> None:
    """The server reports the end of an answer like a disconnect; nobody left."""
    server = Server()
    caller = server.caller()
    async with caller.watched():
        await caller.begin(200, [(b"a", b"b")])
        await caller.write(b"xy")
        await caller.end()
        server.left.set()
        await asyncio.sleep(0.01)

    assert not caller.gone
    assert [message.get("body") for message in server.sent] == [None, b"xy", b""]


class Departure:
    """A server that tells of a client's leaving by itself."""

    on_leave: Any = None
    lost = False


async def test_a_server_that_tells_needs_no_watcher() -> None:
    """It calls back, and the work ends at once; before and after the block it has nobody to call."""
    server, departure = Server(), Departure()
    caller = AsgiCaller(server.receive, server.send, departure)
    assert departure.on_leave is None

    async def work() -> None:
        async with caller.watched():
            asyncio.get_running_loop().call_soon(departure.on_leave)
            await asyncio.sleep(60)

    with pytest.raises(asyncio.CancelledError):
        await work()

    assert caller.gone
    assert departure.on_leave is None


async def test_a_client_that_left_before_the_block_is_gone() -> None:
    """The connection was lost while the body was being read."""
    server, departure = Server(), Departure()
    departure.lost = True
    caller = AsgiCaller(server.receive, server.send, departure)
    with pytest.raises(asyncio.CancelledError):
        async with caller.watched():
            await asyncio.sleep(60)

    assert caller.gone


async def test_a_call_leaves_nothing_to_the_garbage_collector() -> None:
    """No circle leads from the task back to itself."""
    gc.collect()
    gc.disable()
    try:
        for departure in (None, Departure()):
            server = Server()
            caller = AsgiCaller(server.receive, server.send, departure)
            async with caller.watched():
                await caller.end()
            alive = weakref.ref(server)
            del caller, server
            await asyncio.sleep(0.01)
            assert alive() is None
    finally:
        gc.enable()
