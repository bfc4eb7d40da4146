"""The playground's end of a call: pieces in their order, an end in any case, a tab that leaves."""

from __future__ import annotations

import asyncio

import pytest

from app.core.errors import GatewayError
from app.panel.playground_call import PANEL_ID, PageCaller, panel_client


async def test_pieces_come_in_order() -> None:
    """Head first; the end ends them."""
    caller = PageCaller(b"{}")
    assert await caller.body() == b"{}"
    await caller.begin(200, [(b"content-type", b"text/plain")], b"a")
    await caller.write(b"b")
    await caller.end(b"c")
    await caller.begun()
    assert (caller.status, [piece async for piece in caller.pieces()], caller.bytes_out) == (200, [b"a", b"b", b"c"], 3)


async def test_a_call_that_fails_before_its_head_is_told() -> None:
    """As the error that it was."""
    caller = PageCaller(b"")
    caller.failed(GatewayError(402, "payment_required", "No money."))
    with pytest.raises(GatewayError, match="No money"):
        await caller.begun()


async def test_a_call_that_breaks_ends_the_pieces() -> None:
    """Also where nobody has taken them."""
    caller = PageCaller(b"")
    await caller.begin(200, [])
    for _ in range(64):
        await caller.write(b"x")
    caller.failed(None)
    assert [piece async for piece in caller.pieces()][-1:] in ([], [b"x"])


async def test_who_leaves_cancels_the_call() -> None:
    """And is known to have gone."""
    caller = PageCaller(b"")
    ended = asyncio.Event()

    async def work() -> None:
        try:
            async with caller.watched():
                await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.set()

    task = asyncio.get_running_loop().create_task(work())
    await asyncio.sleep(0)
    caller.leave()
    await task
    assert ended.is_set()
    assert caller.gone


def test_the_panel_is_a_client_without_a_key() -> None:
    """Nobody can call as it from outside."""
    client = panel_client("ana")
    assert (client.id, client.digest, client.name) == (PANEL_ID, "", "panel: ana")
