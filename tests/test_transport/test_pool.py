"""The pool: reuse, limits, waiting, expiry, retries, and what cancellation leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import random
import socket
import threading
import time

import pytest
import uvloop

from app.transport import ClosedEarly, ConnectError, Origin, Timeout, TransportError, Upstream
from app.transport.connection import Connection
from tests.test_transport.conftest import (
    OK,
    QUICK,
    RawServer,
    Script,
    always,
    call,
    pool_to,
    read_all,
    read_request,
    serving,
    shorter,
    talking_to,
)


def state(upstream: Upstream) -> str:
    return repr(upstream).partition(str(upstream.origin) + " ")[2]


def spawn(upstream: Upstream) -> asyncio.Task[tuple[int, bytes]]:
    return asyncio.get_running_loop().create_task(call(upstream))


async def settled(upstream: Upstream, expected: str) -> None:
    async with asyncio.timeout(5):
        while state(upstream) != expected:
            await asyncio.sleep(0.005)


async def test_the_request_reaches_the_upstream_as_written() -> None:
    """Head and body in one piece, with host and length added."""
    seen: list[tuple[bytes, bytes]] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_request(reader))
        writer.write(OK)
        await reader.read()

    async with talking_to(script) as (upstream, _):
        async with await upstream.send(b"POST", b"/a?b", [(b"x-a", b"1")], b"body") as answer:
            assert not answer.retried
        head = b"POST /a?b HTTP/1.1\r\nhost: " + upstream.origin.authority + b"\r\nx-a: 1\r\ncontent-length: 4\r\n\r\n"
        assert seen == [(head, b"body")]
        assert repr(upstream) == f"<Upstream {upstream.origin} 1 idle, 0 active, 0 waiting>"


async def test_the_connection_used_last_is_used_next() -> None:
    """LIFO: few connections stay busy, and the others expire."""
    async with talking_to(always(OK)) as (upstream, _):
        await upstream.warm(3)
        last = upstream._idle[-1]
        await call(upstream)
        await call(upstream)
        assert upstream._idle[-1] is last
        assert last.reused


async def test_warming_opens_what_is_missing_and_no_more(caplog: pytest.LogCaptureFixture) -> None:
    """Bounded by the pool's limit; idempotent; a failure is a line in the log."""
    async with talking_to(always(OK), max_connections=3) as (upstream, server):
        await upstream.warm(2)
        await upstream.warm(2)
        assert state(upstream) == "2 idle, 0 active, 0 waiting>"
        await upstream.warm(9)
        await call(upstream)
        assert (state(upstream), server.opened) == ("3 idle, 0 active, 0 waiting>", 3)
        origin = server.origin
    async with pool_to(origin) as upstream:
        with caplog.at_level(logging.WARNING):
            await upstream.warm(1)
        assert caplog.messages == ["upstream warming failed"]
        assert state(upstream) == "0 idle, 0 active, 0 waiting>"


async def test_idle_connections_expire() -> None:
    """Ours ends before the upstream's, so that it is rarely the upstream who closes."""
    async with talking_to(always(OK), timeouts=shorter(keep_alive_s=0.05)) as (upstream, server):
        await upstream.warm(3)
        await settled(upstream, "0 idle, 0 active, 0 waiting>")
        while server.open:
            await asyncio.sleep(0.005)
        assert upstream._sweeper is None, "an empty pool has no timer"


def test_a_process_that_stood_still_blames_nobody() -> None:
    """What came while it could not look is read before anybody is told to be too late."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            for pause_s in (0, 0.1):
                connection.recv(65536)
                time.sleep(pause_s)
                connection.sendall(OK)
            connection.recv(1)

    async def main() -> tuple[int, bytes]:
        origin = Origin("http", "127.0.0.1", listener.getsockname()[1])
        async with pool_to(origin, timeouts=shorter(first_byte_s=0.3)) as upstream:
            await call(upstream)
            loop, (there, here) = asyncio.get_running_loop(), socket.socketpair()
            with there, here:
                loop.add_reader(here, lambda: (loop.remove_reader(here), time.sleep(1.2)))
                loop.call_later(0.01, there.send, b"x")
                return await call(upstream)

    thread = threading.Thread(target=serve, daemon=True)
    with listener:
        thread.start()
        # The program's own loop: it looks at its timers between two looks at its sockets.
        assert uvloop.run(main()) == (200, b"ok")
        thread.join(5)


async def test_a_connection_closed_while_idle_is_forgotten() -> None:
    """The pool notices at once, not at the next request."""
    async with talking_to(always(OK)) as (upstream, server):
        await upstream.warm(2)
        for writer in tuple(server.open):
            writer.transport.abort()
        await settled(upstream, "0 idle, 0 active, 0 waiting>")
        assert await call(upstream) == (200, b"ok")


def stale_after_one(log: list[str]) -> Script:
    """Keeps the connection, then closes it on the second request, as an upstream that timed out would."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        log.append("answered")
        writer.write(OK)
        await reader.readexactly(1)

    return script


async def test_a_stale_connection_is_replaced_once_a_thousand_times_over() -> None:
    """POST on kept connections that turn out to be closed: every call succeeds, and none is answered twice."""
    answered: list[str] = []
    async with talking_to(stale_after_one(answered)) as (upstream, server):
        retried = 0
        for _ in range(1000):
            async with await upstream.send(b"POST", b"/", [], b"{}") as answer:
                retried += answer.retried
                assert await read_all(answer) == b"ok"
        assert (len(answered), server.opened) == (1000, 1000)
        assert retried == 999
        assert state(upstream) == "1 idle, 0 active, 0 waiting>"


@pytest.mark.parametrize("first", [b"", b"H", b"HTTP/1.1 100 Go\r\n\r\n"])
async def test_only_a_kept_connection_without_one_byte_is_retried_and_only_once(first: bytes) -> None:
    """Bytes of an answer forbid the retry; a fresh connection that closes is the end."""
    requests = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        while True:
            await read_request(reader)
            requests += 1
            if requests > 1:
                writer.write(first)
                await writer.drain()
                writer.close()
                await writer.wait_closed()
                return
            writer.write(OK)

    async with talking_to(script) as (upstream, _):
        await call(upstream)
        with pytest.raises(ClosedEarly) as caught:
            await call(upstream)

        assert requests == (2 if first else 3)
        assert caught.value.reused is bool(first)
        assert state(upstream) == "0 idle, 0 active, 0 waiting>"


def gated(gate: asyncio.Event) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            await gate.wait()
            writer.write(OK)

    return script


async def test_the_limit_holds_and_the_queue_is_fair() -> None:
    """Three at a time; the others wait and are served in the order of arrival."""
    gate = asyncio.Event()
    order: list[int] = []
    async with talking_to(gated(gate), max_connections=3) as (upstream, server):

        async def numbered(i: int) -> None:
            await call(upstream)
            order.append(i)

        tasks = [asyncio.get_running_loop().create_task(numbered(i)) for i in range(20)]
        await settled(upstream, "0 idle, 3 active, 17 waiting>")
        gate.set()
        await asyncio.gather(*tasks)

        assert server.opened == 3
        assert sorted(order[:3]) == [0, 1, 2]
        assert all(abs(place - i) <= 3 for place, i in enumerate(order))
        await settled(upstream, "3 idle, 0 active, 0 waiting>")


async def test_the_queue_is_bounded_in_time() -> None:
    """Nobody waits longer than `pool_s`; nothing was sent."""
    gate = asyncio.Event()
    async with talking_to(gated(gate), max_connections=1, timeouts=shorter(pool_s=0.05)) as (upstream, _):
        holder = spawn(upstream)
        await settled(upstream, "0 idle, 1 active, 0 waiting>")
        with pytest.raises(Timeout) as caught:
            await call(upstream)

        assert (caught.value.phase, caught.value.sent) == ("pool", False)
        assert state(upstream) == "0 idle, 1 active, 0 waiting>"
        gate.set()
        assert await holder == (200, b"ok")


async def test_a_slot_freed_by_a_failure_goes_to_the_next_in_the_queue() -> None:
    """A connection that broke makes room for a fresh one."""
    async with talking_to(always(OK[:-1], close=True), max_connections=1) as (upstream, server):
        results = await asyncio.gather(*(call(upstream) for _ in range(5)), return_exceptions=True)

        assert all(isinstance(result, ClosedEarly) for result in results)
        assert (server.opened, state(upstream)) == (5, "0 idle, 0 active, 0 waiting>")


@pytest.mark.parametrize("turns", [0, 1, 2])
async def test_a_cancelled_waiter_passes_on_what_it_was_given(turns: int) -> None:
    """Cancelled just before, while, or after the slot is handed over."""
    gate = asyncio.Event()
    async with talking_to(gated(gate), max_connections=1) as (upstream, _):
        holder = await upstream._lease()
        first, second = spawn(upstream), spawn(upstream)
        await settled(upstream, "0 idle, 1 active, 2 waiting>")
        gate.set()
        if turns == 0:
            first.cancel()
        holder.keep_alive = True
        upstream._release(holder)
        for _ in range(turns - 1):
            await asyncio.sleep(0)
        first.cancel()

        assert await second == (200, b"ok")
        with pytest.raises(asyncio.CancelledError):
            await first
        assert state(upstream).endswith(" 0 active, 0 waiting>")


async def test_closing_ends_everything() -> None:
    """Who holds, who waits and who comes later all get an error at once."""
    arrived = asyncio.Semaphore(0)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        arrived.release()
        await reader.read()

    async with talking_to(script, max_connections=2) as (upstream, server):
        tasks = [spawn(upstream) for _ in range(3)]
        await arrived.acquire()
        await arrived.acquire()
        await settled(upstream, "0 idle, 2 active, 1 waiting>")
        await upstream.close()
        results = await asyncio.gather(*tasks, return_exceptions=True)

        assert [type(result) for result in results] == [ClosedEarly, ClosedEarly, ConnectError]
        with pytest.raises(ConnectError, match=r"^connect: pool_closed$"):
            await call(upstream)
        assert state(upstream) == "0 idle, 0 active, 0 waiting>"
        async with asyncio.timeout(5):
            while server.open:
                await asyncio.sleep(0.005)


async def moody(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers in any way an upstream may, at its own pace; the request says which."""
    while True:
        head, _ = await read_request(reader)
        mood = int(head.split()[1].rpartition(b"/")[2])
        if mood == 0:
            writer.write(OK)
        elif mood == 1:
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            for _ in range(3):
                await asyncio.sleep(0.001)
                writer.write(b"2\r\nok\r\n")
            writer.write(b"0\r\n\r\n")
        elif mood == 2:
            await asyncio.sleep(0.005)
            writer.write(OK)
        elif mood == 3:
            writer.write(OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
            return
        else:
            await asyncio.sleep(0.002)
            return


async def storm(upstream: Upstream, chance: random.Random, calls: int) -> int:
    """Each call is cancelled after a random number of turns of the loop or a random time, or not at all."""
    loop = asyncio.get_running_loop()
    ended = 0

    async def one() -> None:
        body = b"x" * 300_000 if chance.random() < 0.01 else b"{}"
        async with await upstream.send(b"POST", b"/%d" % chance.randrange(5), [], body) as answer:
            while await answer.chunk():
                await asyncio.sleep(0)

    async def client(share: int) -> None:
        nonlocal ended
        for _ in range(share):
            task = loop.create_task(one())
            for _ in range(chance.randrange(40)):
                await asyncio.sleep(0)
            if chance.random() < 0.9:
                task.cancel()
            try:
                await task
            except (asyncio.CancelledError, TransportError):
                ended += 1

    await asyncio.gather(*(client(calls // 125) for _ in range(125)))
    return ended


async def test_twenty_thousand_cancelled_calls_leave_nothing_behind() -> None:
    """A pool of a hundred, more callers than that, cancelled anywhere: no slot, socket or task is lost."""
    chance = random.Random(20_000)  # the same storm every time
    async with serving(moody) as server, pool_to(server.origin, QUICK, max_connections=100) as upstream:
        tasks = len(asyncio.all_tasks()) - len(server.open)
        ended = await storm(upstream, chance, 20_000)
        assert ended > 10_000, "most were cut short"
        idle = len(upstream._idle)
        await settled(upstream, f"{idle} idle, 0 active, 0 waiting>")

        assert not upstream._lent
        assert upstream._slots == idle <= 100
        await same_number_open(server, upstream)
        assert len(asyncio.all_tasks()) - len(server.open) == tasks
        results = await asyncio.gather(*(healthy(upstream) for _ in range(100)))
        assert results == [(200, b"ok")] * 100
    gc.collect()


async def healthy(upstream: Upstream) -> tuple[int, bytes]:
    async with await upstream.send(b"POST", b"/0", [], b"{}") as answer:
        return answer.status, await read_all(answer)


async def same_number_open(server: RawServer, upstream: Upstream) -> None:
    async with asyncio.timeout(5):
        while len(server.open) != len(upstream._idle):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("end", ["read", "left", "cut"])
async def test_what_has_ended_goes_without_the_collector(end: str) -> None:
    """It comes seldom: whatever forms a cycle would stay for long, with all that it holds."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n") if end == "read" else OK[:-1])
        await writer.drain()
        if end == "left":
            await reader.read()
        writer.close()

    def held() -> int:
        return sum(isinstance(one, Connection) for one in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        async with talking_to(script) as (upstream, _):
            before = held()
            for _ in range(5):
                answer = await upstream.send(b"GET", b"/", [], b"")
                if end == "left":
                    await answer.chunk()
                    answer.close()
                else:
                    with contextlib.suppress(ClosedEarly):
                        await read_all(answer)
                del answer
            await settled(upstream, "0 idle, 0 active, 0 waiting>")
            async with asyncio.timeout(5):
                while held() > before:
                    await asyncio.sleep(0.005)
    finally:
        gc.enable()
