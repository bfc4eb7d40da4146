"""An answer as its reader sees it."""

from __future__ import annotations

import asyncio

import pytest

from app.transport import ClosedEarly
from tests.test_transport.conftest import OK, always, call, read_all, talking_to


async def test_an_answer_read_to_its_end_gives_the_connection_back_by_itself() -> None:
    """The last chunk is the end; closing afterwards changes nothing."""
    async with talking_to(always(OK)) as (upstream, _):
        answer = await upstream.send(b"GET", b"/", [])
        assert " 0 idle, 1 active" in repr(upstream)

        assert await answer.chunk() == b"ok"
        assert " 1 idle, 0 active" in repr(upstream)
        assert await answer.chunk() == b""
        answer.close()
        answer.close()
        assert " 1 idle, 0 active" in repr(upstream)
        assert repr(answer) == "<Answer 200 closed>"


@pytest.mark.parametrize(("writes", "idle"), [([OK[:-1]], 0), ([OK], 1)])
async def test_closing_before_the_end_keeps_only_a_connection_with_nothing_on_it(
    writes: list[bytes], idle: int
) -> None:
    """An answer that has arrived whole leaves a clean connection even unread; half an answer does not."""
    async with talking_to(always(*writes)) as (upstream, server):
        answer = await upstream.send(b"GET", b"/", [])
        await asyncio.sleep(0.02)
        answer.close()

        assert repr(upstream).endswith(f" {idle} idle, 0 active, 0 waiting>")
        with pytest.raises(ClosedEarly):
            await answer.chunk()
        while len(server.open) != idle:
            await asyncio.sleep(0.01)


async def test_leaving_the_block_closes() -> None:
    """`async with` frees the connection on an error of the reader's own."""
    async with talking_to(always(OK[:-1])) as (upstream, _):
        with pytest.raises(KeyError):
            async with await upstream.send(b"GET", b"/", []):
                raise KeyError
        assert repr(upstream).endswith(" 0 idle, 0 active, 0 waiting>")


async def test_chunks_that_came_in_one_read_are_one_chunk() -> None:
    """De-chunked and merged: one wake-up per read of the socket."""
    raw = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 50 + b"0\r\n\r\n"
    async with talking_to(always(raw)) as (upstream, _), await upstream.send(b"GET", b"/", []) as answer:
        await asyncio.sleep(0.02)

        assert await answer.chunk() == b"a" * 50


async def test_a_compressed_answer_stays_compressed() -> None:
    """Whoever asked for gzip gets the upstream's bytes."""
    raw = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n\x1f\x8b\x08\x00"
    async with talking_to(always(raw)) as (upstream, _), await upstream.send(b"GET", b"/", []) as answer:
        assert await read_all(answer) == b"\x1f\x8b\x08\x00"


async def test_redirects_and_cookies_are_only_bytes() -> None:
    """A 302 is an answer, and what it set is not sent back."""
    raw = b"HTTP/1.1 302 Found\r\nlocation: http://evil/\r\nset-cookie: a=b\r\ncontent-length: 0\r\n\r\n"
    async with talking_to(always(raw)) as (upstream, server):
        assert await call(upstream) == (302, b"")
        assert await call(upstream) == (302, b"")
        assert server.opened == 1
