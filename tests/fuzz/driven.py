"""Targets that need a machine around the parser: both ends of a wire, a file, a request. None opens a socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, cast

import uvicorn
from fastapi import Request
from uvicorn.server import ServerState

from app.api.server_protocol import GatewayHttpProtocol
from app.cli.output import CommandFailed
from app.cli.secret_input import decode, read_many
from app.core.errors import GatewayError
from app.core.log_segment import HEADER_BYTES, Damaged, frame, read_header, records
from app.middleware.guard import Guard, Limits
from app.panel.entry import form_of
from app.panel.openrouter_forms import nano, read_form, whole
from app.transport.connection import Connection
from app.transport.errors import TransportError
from app.transport.incoming import MAX_HEAD
from app.transport.origin import Timeouts
from tests.asgi_server import Echo
from tests.fuzz.pieces import cut, refused, target


class _Wire(asyncio.Transport):
    """The socket's end that a protocol writes to. It keeps what was written and delivers nothing."""

    def __init__(self, closed: Callable[[], object]) -> None:
        super().__init__()
        self.written = bytearray()
        self._closed = closed
        self._closing = False

    def write(self, data: Any) -> None:
        if not self._closing:
            self.written += data

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._closed()

    abort = close

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


@contextlib.contextmanager
def _loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop in which nothing may fail unseen."""
    loop = asyncio.new_event_loop()
    failures: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: failures.append(context))
    try:
        yield loop
    finally:
        loop.close()
    assert not failures, failures


# --- answers of upstream


class _Answer:
    """What a reader of an answer sees of it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, head_only: bool) -> None:
        self.lost = 0
        self.connection = Connection(loop, Timeouts(), loop.time, self._on_lost)
        self.wire = _Wire(lambda: None)
        self.connection.connection_made(self.wire)
        self._exchange = self.connection.exchange(b"GET / HTTP/1.1\r\n\r\n", b"", head_only=head_only)
        with contextlib.suppress(StopIteration):
            self._exchange.send(None)
        self.body = b""
        self.error = ""

    def _on_lost(self, _: Connection) -> None:
        self.lost += 1

    def feed(self, piece: bytes) -> None:
        if piece and not self.wire.is_closing():
            self.connection.data_received(piece)
            self.body += b"".join(self.connection.pieces)
            self.connection.pieces = []

    def end(self) -> None:
        """The other end closes."""
        if not self.wire.is_closing():
            self.connection.eof_received()
        self.connection.connection_lost(None)
        try:
            self._exchange.send(None)
        except StopIteration:
            pass
        except TransportError as error:
            self.error = error.code
        else:
            self._exchange.close()

    @property
    def seen(self) -> tuple[Any, ...]:
        return self.connection.status, self.connection.headers, self.connection.http_version


@target
def transport_answer(data: bytes) -> None:
    """In whatever pieces it comes, an answer is the same answer, of the length that it told."""
    text, pieces = cut(data)
    if len(text) > MAX_HEAD:
        return
    with _loop() as loop:
        for head_only in (False, True):
            whole, piecemeal = _Answer(loop, head_only=head_only), _Answer(loop, head_only=head_only)
            whole.feed(text)
            at_once = whole.connection.complete and whole.connection.failure is None
            for piece in pieces:
                piecemeal.feed(piece)
            in_pieces = piecemeal.connection.complete and piecemeal.connection.failure is None
            whole.end()
            piecemeal.end()
            if at_once or in_pieces:
                assert at_once == in_pieces, (whole.connection.failure, piecemeal.connection.failure)
                assert whole.seen == piecemeal.seen
                assert whole.body == piecemeal.body
                _sound_answer(whole, text, head_only=head_only)
            assert bool(whole.error) == (not whole.connection.status)


def _sound_answer(answer: _Answer, text: bytes, *, head_only: bool) -> None:
    status, headers, version = answer.seen
    assert 200 <= status <= 599
    assert version in ("1.0", "1.1")
    assert text.startswith(b"HTTP/1.")
    for name, value in headers:
        assert name == name.lower()
        assert not set(name + value) & set(b"\r\n\0")
    lengths = [value for name, value in headers if name == b"content-length"]
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    assert len(lengths) + len(codings) <= 1
    if head_only or status in (204, 304):
        assert answer.body == b""
    elif lengths:
        assert len(answer.body) == int(lengths[0])
        assert text.endswith(answer.body)


# --- requests of clients


class _Server:
    """The gateway's own server protocol before its guard and an application that remembers."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.echo = Echo()
        config = uvicorn.Config(
            Guard(self.echo, Limits()), http=GatewayHttpProtocol, ws="none", lifespan="off", log_config=None,
            access_log=False, server_header=False,
        )  # fmt: skip
        config.load()
        self.state = ServerState()
        self.protocol = GatewayHttpProtocol(config, self.state, {}, loop)
        self._loop = loop
        self.wire = _Wire(lambda: loop.call_soon(self.protocol.connection_lost, None))
        self.protocol.connection_made(self.wire)

    async def feed(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            if self.wire.is_closing():
                break
            self.protocol.data_received(piece)
            await self._settle()
        for _ in range(20):
            await self._settle()
        self.wire.close()
        await self._settle()
        for task in tuple(self.state.tasks):
            task.cancel()
        await asyncio.gather(*self.state.tasks, return_exceptions=True)

    async def _settle(self) -> None:
        for _ in range(6):
            await asyncio.sleep(0)


def _served(pieces: list[bytes]) -> _Server:
    with _loop() as loop:
        server = _Server(loop)
        loop.run_until_complete(server.feed(pieces))
        return server


@target
def server_request(data: bytes) -> None:
    """In whatever pieces they come, requests are the same requests; the guard's promises hold for each."""
    text, pieces = cut(data)
    whole, piecemeal = _served([text] if text else []), _served(pieces)
    for server in (whole, piecemeal):
        for headers in server.echo.headers:
            assert all(name == name.lower() for name, _ in headers)
            assert not set(b"".join(name + value for name, value in headers)) - set(range(32, 127)) - {9}
            names = [name for name, _ in headers]
            assert names.count(b"host") == 1
            assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1
    # Garbage behind ends a connection at once: of requests that wait in front of it, fewer may have been served.
    most = min(len(whole.echo.seen), len(piecemeal.echo.seen))
    assert whole.echo.seen[:most] == piecemeal.echo.seen[:most]
    assert whole.echo.headers[:most] == piecemeal.echo.headers[:most]
    assert len(whole.echo.seen) <= len(piecemeal.echo.seen)


# --- forms


def _at_once(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that has nothing to wait for."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits")


def _request(body: bytes) -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(b"content-type", b"application/x-www-form-urlencoded")]
    return Request({"type": "http", "method": "POST", "headers": headers}, cast("Any", receive))


@target
def form(data: bytes) -> None:
    """A 400, or fields of text; amounts and numbers in them are amounts and numbers, or none."""
    for read in (form_of, read_form):
        try:
            found = _at_once(read(_request(data)))
        except GatewayError as error:
            refused(error, 400, 413)
            continue
        pairs = found.items() if isinstance(found, dict) else found._pairs
        for name, value in pairs:
            assert isinstance(name, str)
            amount, count = nano(value), whole(value)
            assert amount is None or 0 <= amount <= 10**18
            assert count is None or 0 <= count < 10**18
            assert count is None or str(count) == (value.strip().lstrip("0") or "0")


@target
def secret_input(data: bytes) -> None:
    """A file of secrets reads as its bytes do, whatever they are."""
    path = _file()
    path.write_bytes(data)
    try:
        text = read_many(path, "")
    except CommandFailed as error:
        raise AssertionError("it was small") from error
    assert text == decode(data)
    if data.isascii():
        assert text == data.decode("ascii")
    with contextlib.suppress(UnicodeDecodeError):
        plain = data.decode()
        assert text == plain.removeprefix("\ufeff")


# --- the commit log

_kept: list[Path] = []


def _file() -> Path:
    """One for the whole process; in memory where that is possible, because libFuzzer ends without cleaning up."""
    if not _kept:
        if hasattr(os, "memfd_create"):
            _kept.append(Path(f"/proc/self/fd/{os.memfd_create('fuzz')}"))
        else:
            _kept.append(Path(tempfile.mkdtemp(prefix="fuzz-")) / "file")
    return _kept[0]


_SEED = 0x1234ABCD


@target
def log_segment(data: bytes) -> None:
    """A broken log gives back the records in front of its break, as they were written, and never one more."""
    path = _file()
    path.write_bytes(data)
    with contextlib.suppress(Damaged):
        read_header(path)
    found = list(records(path, _SEED, 1, 0))
    assert (
        b"".join(frame(content, number, _SEED) for number, content, _ in found) == data[: found[-1][2] if found else 0]
    )

    where, byte, text = data[:2], data[2:3], data[3:]
    written = text.split(b"\n") if text else []
    content = bytearray(HEADER_BYTES)
    ends = [HEADER_BYTES]
    for number, record in enumerate(written, 1):
        content += frame(record, number, _SEED)
        ends.append(len(content))
    content += bytes(64)
    at = int.from_bytes(where, "little") % len(content)
    broken = bytes(content)
    if byte:
        broken = broken[:at] + bytes([broken[at] ^ byte[0]]) + broken[at + 1 :]
    path.write_bytes(broken)
    found = list(records(path, _SEED, 1))
    whole_ones = len(written) if broken == content else sum(end <= at for end in ends[1:])
    assert [record for _, record, _ in found] == written[: len(found)]
    assert len(found) >= whole_ones
    assert [end for _, _, end in found] == ends[1 : len(found) + 1]
