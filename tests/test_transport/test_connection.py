"""One connection against a server that says anything."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.transport import ClosedEarly, ProtocolError, Timeout, Timeouts
from app.transport.connection import HIGH_WATER, Connection
from app.transport.incoming import MAX_HEAD, MAX_HEADERS
from tests.test_transport.conftest import OK, always, call, read_all, read_request, shorter, split, talking_to

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("method", "raw", "status", "body", "kept"),
    [
        (b"POST", OK, 200, b"ok", True),
        (b"GET", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200, b"", True),
        (b"GET", b"HTTP/1.1 200\r\ncontent-length: 1\r\n\r\n!", 200, b"!", True),
        (b"GET", b"HTTP/1.1 599 x\r\ncontent-length: 4\r\n\r\n\r\n\r\n", 599, b"\r\n\r\n", True),
        (b"POST", CHUNKED + b"1\r\na\r\n2;ext=1\r\nbc\r\n0\r\n\r\n", 200, b"abc", True),
        (b"POST", CHUNKED + b"3\r\nabc\r\n0\r\nx-trailer: 1\r\nx-b: 9\r\n\r\n", 200, b"abc", True),
        (b"POST", CHUNKED.replace(b"chunked", b"Chunked") + b"0\r\n\r\n", 200, b"", True),
        (b"POST", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nlink: x\r\n\r\n" + OK, 200, b"ok", True),
        (b"HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n", 200, b"", True),
        (b"HEAD", CHUNKED, 200, b"", True),
        (b"HEAD", b"HTTP/1.1 200 OK\r\n\r\n", 200, b"", False),
        (b"GET", b"HTTP/1.1 204 No\r\n\r\n", 204, b"", True),
        (b"GET", b"HTTP/1.1 204 No\r\ncontent-length: 2\r\n\r\n", 204, b"", False),
        (b"GET", b"HTTP/1.1 304 No\r\ncontent-length: 20\r\n\r\n", 304, b"", True),
        (b"GET", OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"), 200, b"ok", False),
        (b"GET", OK.replace(b"HTTP/1.1", b"HTTP/1.0"), 200, b"ok", False),
        (b"GET", b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\nok", 200, b"ok", True),
    ],
)
async def test_well_framed_answers_are_read_and_the_connection_kept_if_it_may_be(
    method: bytes, raw: bytes, status: int, body: bytes, kept: bool, step: int
) -> None:
    """Every framing, cut at every place or not at all, twice in a row."""
    async with talking_to(always(*split(raw, step))) as (upstream, server):
        for _ in range(2):
            assert await call(upstream, method) == (status, body)
        await asyncio.sleep(0)

        assert server.opened == (1 if kept else 2)


async def test_header_names_come_lower_case_and_values_as_they_were() -> None:
    """Names of an answer are normalised, values are the upstream's bytes."""
    raw = b"HTTP/1.1 200 OK\r\nX-Generation-Id: gen-\xe9\r\nEMPTY:\r\nContent-Length: 0\r\n\r\n"
    async with talking_to(always(raw)) as (upstream, _), await upstream.send(b"GET", b"/", []) as answer:
        assert answer.headers == [(b"x-generation-id", b"gen-\xe9"), (b"empty", b""), (b"content-length", b"0")]
        assert answer.http_version == "1.1"
        assert repr(answer) == "<Answer 200 open>"


async def test_a_body_may_end_with_the_connection() -> None:
    """Neither length nor chunks: the end of the connection is the end of the body, and nothing is reused."""
    async with talking_to(always(b"HTTP/1.1 200 OK\r\n\r\na", b"b", close=True)) as (upstream, server):
        assert await call(upstream) == (200, b"ab")
        assert await call(upstream) == (200, b"ab")
        assert server.opened == 2


MANY = b"".join(b"h%d: v\r\n" % i for i in range(MAX_HEADERS + 1))


@pytest.mark.parametrize(
    ("raw", "detail"),
    [
        (b"SSH-2.0-OpenSSH\r\n", "garbage"),
        (b"RTSP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", "garbage"),
        (b"\r\n" + OK, "garbage"),
        (b"HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n", "version"),
        (b"HTTP/0.9 200 OK\r\ncontent-length: 0\r\n\r\n", "version"),
        (b"HTTP/1.1 099 OK\r\ncontent-length: 0\r\n\r\n", "status"),
        (b"HTTP/1.1 600 OK\r\ncontent-length: 0\r\n\r\n", "status"),
        (b"HTTP/1.1 1000 OK\r\n\r\n", "garbage"),
        (b"HTTP/1.1 101 Switch\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", "status"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok", None),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2, 3\r\n\r\nok", None),
        (b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok", None),
        (b"HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\nok", None),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nok", "transfer_encoding"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "transfer_encoding"),
        (CHUNKED.replace(b"\r\n\r\n", b"\r\ntransfer-encoding: chunked\r\n\r\n"), "ambiguous_length"),
        (CHUNKED.replace(b"1.1", b"1.0"), "transfer_encoding"),
        (b"HTTP/1.1 200 OK\ncontent-length: 0\n\n", "garbage"),
        (b"HTTP/1.1 200 OK\r\nx : y\r\n\r\n", "garbage"),
        (b"HTTP/1.1 200 OK\r\nx: a\r\n b\r\n\r\n", "garbage"),
        (b"HTTP/1.1 200 OK\r\nx: \0\r\n\r\n", "garbage"),
        (b"HTTP/1.1 200 OK\r\n" + MANY + b"content-length: 0\r\n\r\n", "too_many_headers"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"a" * MAX_HEAD + b"\r\n\r\n", "head_too_large"),
        (b"HTTP/1.1 200 " + b"a" * 2_000_000, "head_too_large"),
        (b"HTTP/1.1 100 Go on\r\n\r\n" * 5_000, "head_too_large"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: " + b"9" * 30 + b"\r\n\r\n", None),
    ],
    ids=lambda value: value[:60] if isinstance(value, bytes) else None,
)
async def test_a_malformed_head_is_refused_and_the_connection_closed(raw: bytes, detail: str | None) -> None:
    """Framing that has two readings, or none, never becomes an answer."""
    async with talking_to(always(raw)) as (upstream, _):
        with pytest.raises(ProtocolError) as caught:
            await call(upstream)

        assert caught.value.sent
        assert detail is None or caught.value.detail == detail
        assert repr(upstream).endswith(" 0 idle, 0 active, 0 waiting>")


@pytest.mark.parametrize(
    "raw",
    [
        CHUNKED + b"2\r\nok\r\nzz\r\n",
        CHUNKED + b"2\r\nokX",
        CHUNKED + b"2\r\nok\r\nFFFFFFFFFFFFFFFFF\r\n",
        CHUNKED + b"2\r\nok\r\n1;" + b"x" * 200_000,
        CHUNKED + b"2\r\nok\r\n0\r\n" + b"x: y\r\n" * 40_000,
    ],
    ids=["size", "no-crlf", "overflow", "extension", "trailers"],
)
async def test_a_malformed_body_delivers_what_was_good_and_then_fails(raw: bytes, step: int) -> None:
    """The error comes in its place: after the bytes before it."""
    writes = split(raw, step) if len(raw) < 1000 else split(raw, 50_000)
    async with talking_to(always(*writes)) as (upstream, _), await upstream.send(b"GET", b"/", []) as answer:
        body = b""
        while body != b"ok":
            body += await answer.chunk()
        with pytest.raises(ProtocolError):
            await answer.chunk()
        with pytest.raises(ClosedEarly):
            await answer.chunk()


@pytest.mark.parametrize("surplus", [b"X", b"\r\n", OK, b"HTTP/1.1 500 x\r\n\r\n"])
@pytest.mark.parametrize(
    "raw", [OK, CHUNKED + b"2\r\nok\r\n0\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"]
)
@pytest.mark.parametrize("apart", [False, True])
async def test_bytes_after_an_answer_cost_the_connection_and_nothing_else(
    raw: bytes, surplus: bytes, apart: bool
) -> None:
    """The answer stands; the bytes after it are never read as the next one."""
    async with talking_to(always(*([raw, surplus] if apart else [raw + surplus]))) as (upstream, server):
        for _ in range(3):
            status, body = await call(upstream)
            assert (status, body) in {(200, b"ok"), (200, b"")}
            await asyncio.sleep(0.02)

        assert server.opened == 3
        assert repr(upstream).endswith(" 0 idle, 0 active, 0 waiting>")


@pytest.mark.parametrize("raw", [OK, CHUNKED + b"2\r\nok\r\n0\r\n\r\n", b"HTTP/1.1 100 Go\r\n\r\n" + OK])
async def test_an_early_close_is_reported_at_every_point(raw: bytes) -> None:
    """Cut after n bytes, for every n: never a short answer that looks whole."""
    for cut in range(len(raw)):
        async with talking_to(always(raw[:cut], close=True)) as (upstream, server):
            with pytest.raises(ClosedEarly) as caught:
                await call(upstream)

            assert (caught.value.reused, caught.value.started, caught.value.sent) == (False, cut > 0, True)
            assert server.opened == 1, "a fresh connection is not retried"


async def test_a_slow_reader_pauses_the_upstream() -> None:
    """A body without end against a reader that sleeps: memory stays bounded, and no byte is lost."""
    written = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await read_request(reader)
        writer.write(CHUNKED)
        while True:
            writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            await writer.drain()
            written += 65536

    async with talking_to(endless) as (upstream, _), await upstream.send(b"GET", b"/", []) as answer:
        await asyncio.sleep(0.1)
        stuck = written
        await asyncio.sleep(0.1)
        connection = next(iter(upstream._lent))

        assert written == stuck, "the upstream was stopped"
        assert connection._buffered <= HIGH_WATER + 256 * 1024
        taken = 0
        while taken < stuck + 1_000_000:
            taken += len(await answer.chunk())


async def test_a_large_upload_waits_for_a_slow_upstream() -> None:
    """Five megabytes arrive whole though the server reads late and slowly."""
    body = bytes(range(256)) * 20_000

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.05)
        _, received = await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n" + (b"same" if received == body else b"else"))
        await reader.read()

    async with talking_to(slow) as (upstream, _):
        assert await call(upstream, body=body) == (200, b"same")
        assert " 1 idle" in repr(upstream)


async def test_an_answer_during_the_upload_ends_it() -> None:
    """An early 413 is returned, and the connection with the half request on it is never used again."""
    received = 0

    async def refusing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig")
        await asyncio.sleep(0.1)
        while data := await reader.read(65536):
            received += len(data)

    async with talking_to(refusing) as (upstream, server):
        assert await call(upstream, body=b"x" * 50_000_000) == (413, b"big")
        assert repr(upstream).endswith(" 0 idle, 0 active, 0 waiting>")
        while server.open:
            await asyncio.sleep(0.01)
        assert received < 20_000_000


async def test_a_close_during_the_upload_is_reported() -> None:
    """The upstream hangs up on a large body without an answer."""

    async def leaving(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    async with talking_to(leaving) as (upstream, _):
        with pytest.raises(ClosedEarly) as caught:
            await call(upstream, body=b"x" * 50_000_000)

        assert not caught.value.started
        assert repr(upstream).endswith(" 0 idle, 0 active, 0 waiting>")


@pytest.mark.parametrize(
    ("timeouts", "writes", "body", "phase"),
    [
        (shorter(first_byte_s=0.05), [], b"", "first_byte"),
        (shorter(first_byte_s=0.05), [b"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 200"], b"", "first_byte"),
        (shorter(idle_s=0.05), [OK[:-1]], b"", "idle"),
        (shorter(idle_s=0.05), [], b"x" * 30_000_000, "idle"),
    ],
    ids=["silent", "half-head", "half-body", "upload-not-read"],
)
async def test_each_phase_has_its_own_timeout(timeouts: Timeouts, writes: list[bytes], body: bytes, phase: str) -> None:
    """Silence ends in the phase in which it happens, and the connection with it."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not body:
            await read_request(reader)
        for write in writes:
            writer.write(write)
        await asyncio.sleep(60)

    async with talking_to(script, timeouts=timeouts) as (upstream, _):
        with pytest.raises(Timeout) as caught:
            await call(upstream, body=body)

        assert (caught.value.phase, caught.value.sent) == (phase, True)
        assert repr(upstream).endswith(" 0 idle, 0 active, 0 waiting>")


async def test_a_slow_reader_is_not_the_upstreams_silence() -> None:
    """The idle timeout runs only while somebody waits for bytes."""
    async with talking_to(always(OK), timeouts=shorter(idle_s=0.03)) as (upstream, _):
        answer = await upstream.send(b"GET", b"/", [])
        await asyncio.sleep(0.15)

        assert await read_all(answer) == b"ok"


async def test_two_readers_on_one_answer_are_refused() -> None:
    """A second `chunk()` at the same time is a mistake, not a hang."""
    async with talking_to(always(OK[:-2])) as (upstream, _), await upstream.send(b"GET", b"/", []) as answer:
        first = asyncio.get_running_loop().create_task(answer.chunk())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError):
            await answer.chunk()
        with pytest.raises(ClosedEarly):
            await first


class Wire(asyncio.Transport):
    """As much of a transport as feeding bytes by hand needs."""

    closing = False

    def write(self, data: object) -> None: ...

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.closing = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def feed(pieces: list[bytes]) -> tuple[int, list[tuple[bytes, bytes]], bytes, bool]:
    loop = asyncio.new_event_loop()
    try:
        connection = Connection(loop, Timeouts(), loop.time, lambda lost: None)
        connection.connection_made(Wire())
        sending = connection.exchange(b"", b"", head_only=False)
        sending.send(None)
        for piece in pieces:
            connection.data_received(piece)
        sending.close()
        return connection.status, connection.headers, b"".join(connection.pieces), connection.complete
    finally:
        loop.close()


@st.composite
def answers(draw: st.DrawFn) -> tuple[bytes, bytes]:
    body = draw(st.lists(st.binary(min_size=1, max_size=50), max_size=6))
    interim = draw(st.sampled_from([b"", b"HTTP/1.1 100 Go\r\n\r\n", b"HTTP/1.1 103 x\r\na: b\r\n\r\n" * 2]))
    head = interim + b"HTTP/1.1 200 OK\r\nX-A: 1\r\nempty:\r\n"
    whole = b"".join(body)
    if draw(st.booleans()):
        return head + b"content-length: %d\r\n\r\n" % len(whole) + whole, whole
    chunks = b"".join(b"%x;e=1\r\n%b\r\n" % (len(piece), piece) for piece in body)
    trailer = draw(st.sampled_from([b"", b"t: 1\r\n"]))
    return head + b"transfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n" + trailer + b"\r\n", whole


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(answers(), st.lists(st.integers(0, 600), max_size=12))
def test_any_split_of_an_answer_gives_the_same_bytes(answer: tuple[bytes, bytes], cuts: list[int]) -> None:
    """How TCP cuts an answer changes nothing."""
    raw, body = answer
    places = sorted({cut for cut in cuts if 0 < cut < len(raw)})
    pieces = [raw[a:b] for a, b in zip([0, *places], [*places, len(raw)], strict=True)]

    status, headers, read, complete = feed(pieces)

    assert (status, read, complete) == (200, body, True)
    assert headers[:2] == [(b"x-a", b"1"), (b"empty", b"")]
    assert feed([raw]) == (status, headers, read, complete)
