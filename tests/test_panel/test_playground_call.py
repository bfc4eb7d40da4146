"""The playground's end of a call: pieces in their order, an end in any case, a page that leaves."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from app.panel.playground_call import PANEL_ID, PageCaller, panel_client


async def pieces(caller: PageCaller) -> list[bytes]:
    found = []
    while piece := await caller.next(5):
        found.append(piece)
    return found


async def test_pieces_come_in_order() -> None:
    """Head first; the end ends them."""
    caller = PageCaller(b"{}")
    assert await caller.body() == b"{}"
    assert not caller.begun
    await caller.begin(200, [(b"content-type", b"text/plain")], b"a")
    await caller.write(b"b")
    await caller.end(b"c")
    await caller.over()
    assert (caller.status, await pieces(caller), caller.bytes_out) == (200, [b"a", b"b", b"c"], 3)


async def test_a_whole_answer() -> None:
    """In one piece, or none."""
    for body in (b"all", b""):
        caller = PageCaller(b"")
        await caller.answer(404, [], body)
        await caller.over()
        assert await pieces(caller) == ([body] if body else [])


async def test_who_waits_is_told_that_nothing_came() -> None:
    """And takes nothing away by waiting."""
    caller = PageCaller(b"")
    assert await caller.next(0.001) is None
    await caller.begin(200, [], b"a")
    assert await caller.next(0.001) == b"a"
    await caller.over()
    assert await caller.next(0.001) == b""


async def test_a_page_that_does_not_read_holds_the_call_up() -> None:
    """Not the memory; when it leaves, the call ends all the same."""
    caller = PageCaller(b"")
    written = 0

    async def work() -> None:
        nonlocal written
        async with caller.watched():
            await caller.begin(200, [])
            for _ in range(1000):
                await caller.write(b"x")
                written += 1
        await caller.over()

    task = asyncio.get_running_loop().create_task(work())
    await asyncio.sleep(0.01)
    assert 0 < written < 100
    caller.leave()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)
    assert caller.gone
    assert written < 200


async def test_a_complete_answer_that_nobody_read_ends() -> None:
    """Its page left after the last byte: that is no leaving."""
    caller = PageCaller(b"")

    async def work() -> None:
        await caller.begin(200, [])
        for _ in range(64):
            await caller.write(b"x")
        caller._complete = True
        await caller.over()

    task = asyncio.get_running_loop().create_task(work())
    await asyncio.sleep(0.01)
    assert not task.done()
    caller.leave()
    await asyncio.wait_for(task, 5)
    assert not caller.gone


@pytest.mark.parametrize("early", [False, True])
async def test_who_leaves_cancels_the_call(early: bool) -> None:
    """In the middle of it, or before it has begun; the task itself goes on and can tell."""
    caller = PageCaller(b"")
    if early:
        caller.leave()
    told: list[str] = []

    async def work() -> None:
        try:
            async with caller.watched():
                await asyncio.sleep(60)
        except asyncio.CancelledError:
            told.append("cancelled")
        await asyncio.sleep(0)
        told.append("gone" if caller.gone else "here")

    task = asyncio.get_running_loop().create_task(work())
    await asyncio.sleep(0.01)
    caller.leave()
    await asyncio.wait_for(task, 5)
    assert told == ["cancelled", "gone"]
    assert not task.cancelled()


async def test_who_leaves_at_the_very_end_disturbs_nobody() -> None:
    """The cancellation is met where it belongs."""
    caller = PageCaller(b"")

    async def work() -> str:
        async with caller.watched():
            caller.leave()
        await asyncio.sleep(0)
        return "went on"

    assert await asyncio.get_running_loop().create_task(work()) == "went on"


def test_the_panel_is_a_client_without_a_key() -> None:
    """Nobody can call as it from outside."""
    client = panel_client("ana")
    assert (client.id, client.digest, client.name, client.trace) == (PANEL_ID, "", "panel: ana", True)
