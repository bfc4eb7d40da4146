"""Packets to OpenRouter are dropped, or it speaks only a TLS of long ago: the call ends, and nothing stays behind."""

from __future__ import annotations

import asyncio
import ssl
import warnings
from pathlib import Path

import pytest

from app.transport import ConnectError, Origin, Timeout, tls_context
from tests.black_hole import black_hole
from tests.test_transport.conftest import OK, always, call, pool_to, read_request, serving, shorter
from tests.test_transport.test_connect import Authority


async def test_a_handshake_that_is_dropped_ends_with_the_connect_timeout() -> None:
    """Nothing was sent, so that the call may go elsewhere; and the slots are free again."""
    with black_hole() as port:
        origin = Origin("http", "127.0.0.1", port)
        async with pool_to(origin, shorter(connect_s=0.1), max_connections=2) as upstream:
            for _ in range(3):
                found = await asyncio.gather(call(upstream), call(upstream), return_exceptions=True)
                for error in found:
                    assert isinstance(error, Timeout)
                    assert (error.code, error.sent) == ("connect_timeout", False)
            assert repr(upstream).endswith(" 0 idle, 0 active, 0 waiting>")


async def test_an_answer_whose_packets_are_dropped_ends_with_the_idle_timeout() -> None:
    """What came is delivered; then the silence is told, and the socket is closed at once and not kept."""
    gone = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        assert await reader.read() == b""
        gone.set()

    async with serving(silent) as server, pool_to(server.origin, shorter(idle_s=0.1)) as upstream:
        async with await upstream.send(b"POST", b"/x", [], b"{}") as answer:
            assert await answer.chunk() == b"hello"
            with pytest.raises(Timeout, match="idle"):
                await answer.chunk()
        await gone.wait()
        assert repr(upstream).endswith(" 0 idle, 0 active, 0 waiting>")


def of_long_ago(context: ssl.SSLContext) -> ssl.SSLContext:
    """TLS 1.1 and nothing newer, which OpenSSL grants only below its usual level of security."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


async def test_a_server_of_tls_1_1_is_refused(tmp_path: Path) -> None:
    """Its certificate is good and an old client is served, but ours sends it nothing."""
    authority = Authority(tmp_path)
    async with serving(always(OK), of_long_ago(authority.server())) as server:
        old = of_long_ago(ssl.create_default_context(cafile=str(authority.file)))
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", server.origin.port, ssl=old)
        except ssl.SSLError:
            pytest.skip("this OpenSSL has no TLS 1.1 left to refuse")
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.1"
        writer.close()
        await asyncio.sleep(0.05)
        opened = server.opened
        async with pool_to(server.origin, ssl_context=tls_context(str(authority.file))) as upstream:
            with pytest.raises(ConnectError, match=r"^tls: ") as caught:
                await call(upstream)
            assert not caught.value.sent
        assert server.opened == opened
