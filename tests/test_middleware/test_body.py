"""Bodies under watch, message by message."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.core.errors import GatewayError
from app.middleware.body import BoundedBody
from app.middleware.facts import Facts


def piece(body: bytes, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def bounded(*messages: dict[str, Any], limit: int = 10, idle_s: float = 0.05) -> tuple[BoundedBody, Facts]:
    """A watched body over these messages, with silence behind them."""
    left = list(messages)

    async def receive() -> dict[str, Any]:
        if not left:
            await asyncio.Event().wait()
        return left.pop(0)

    facts = Facts(body_open=True)
    return BoundedBody(receive, facts, limit, idle_s), facts


async def test_the_end_is_noted() -> None:
    """Layers behind can tell whether bytes are still on their way."""
    body, facts = bounded(piece(b"abc", True), piece(b"d", False))
    assert (await body())["body"] == b"abc"
    assert facts.body_open
    await body()
    assert not facts.body_open


async def test_after_the_end_it_waits_without_limit() -> None:
    """Watching for a disconnect is no body: the time limit is over."""
    body, _ = bounded(piece(b"abc", False), idle_s=0.01)
    await body()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(body(), 0.08)


async def test_a_disconnect_ends_the_watch() -> None:
    """A client that leaves is passed on as it is."""
    body, facts = bounded(piece(b"abc", True), {"type": "http.disconnect"})
    await body()
    assert (await body())["type"] == "http.disconnect"
    assert not facts.body_open


async def test_received_bytes_count() -> None:
    """The limit falls with the byte that passes it, not with a promise."""
    body, _ = bounded(piece(b"a" * 10, True), piece(b"b", True), piece(b"c", False))
    await body()
    with pytest.raises(GatewayError) as caught:
        await body()
    assert (caught.value.status, caught.value.close) == (413, True)
    assert (await body())["body"] == b"c", "what is left can be read away"


async def test_silence_is_cut_and_leaves_no_cancellation() -> None:
    """408 is raised in the task that reads, which goes on afterwards."""
    body, _ = bounded(piece(b"a", True))
    await body()
    with pytest.raises(GatewayError) as caught:
        await body()
    assert caught.value.status == 408
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_a_cancellation_from_outside_stays_one() -> None:
    """Only the time limit's own cancellation becomes a 408."""
    body, _ = bounded(idle_s=5)
    task = asyncio.get_running_loop().create_task(body())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_slow_all_the_time_is_cut_although_it_moves() -> None:
    """Pieces that each come in time do not buy time without end."""

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0.02)
        return piece(b"a", True)

    body = BoundedBody(receive, Facts(body_open=True), 1000, 0.1)

    async def read_all() -> None:
        while True:
            await body()

    with pytest.raises(GatewayError) as caught:
        await read_all()
    assert caught.value.status == 408
