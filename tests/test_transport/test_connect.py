"""Names, TCP, the forward proxy's tunnel and TLS."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.core.clock import SystemClock
from app.transport import ClosedEarly, ConnectError, Origin, Timeout, Timeouts, Upstream, tls_context
from app.transport.connect import ADDRESSES_LIVE_S, Resolver
from tests.test_transport.conftest import OK, always, call, pool_to, serving, shorter

NOW = dt.datetime.now(dt.UTC)


class Authority:
    """A certificate authority for one test run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        certificate = self._sign(self._name, self._key, x509.BasicConstraints(ca=True, path_length=None))
        self.file = folder / "ca.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *extensions: x509.ExtensionType, **options: Any
    ) -> x509.Certificate:
        signer, days = options.get("signer", self._key), options.get("days", 1)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(options.get("issuer", self._name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - dt.timedelta(days=10))
            .not_valid_after(NOW + dt.timedelta(days=days))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(signer, hashes.SHA256())

    def server(self, *, days: int = 1, address: str = "127.0.0.1", self_signed: bool = False) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address)), x509.DNSName("localhost")])
        own = {"signer": key, "issuer": subject} if self_signed else {}
        certificate = self._sign(subject, key, names, days=days, **own)
        file = self.folder / "server.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def test_tls_offers_http_1_1_and_the_name(authority: Authority) -> None:
    """A good certificate: the answer comes, ALPN and SNI went out, and the connection is kept."""
    context = authority.server()
    context.set_alpn_protocols(["h2", "http/1.1"])
    names: list[str | None] = []
    context.sni_callback = lambda sock, name, ctx: names.append(name)
    async with serving(always(OK), context) as server:
        origin = Origin("https", "localhost", server.origin.port)
        async with pool_to(origin, ssl_context=tls_context(str(authority.file))) as upstream:
            assert await call(upstream) == (200, b"ok")
            assert await call(upstream, body=b"x" * 3_000_000) == (200, b"ok")

            connection = upstream._idle[0]
            assert connection._transport is not None
            assert connection._transport.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
            assert (server.opened, names) == (1, ["localhost"])


@pytest.mark.parametrize("clean", [True, False])
async def test_a_body_cut_off_inside_tls_is_no_whole_body(authority: Authority, clean: bool) -> None:
    """Where the end of the connection ends the body, it must be TLS that says so, not just TCP."""
    if not clean and "uvloop" not in type(asyncio.get_running_loop()).__module__:
        pytest.skip("asyncio's own TLS tells both ends alike")

    async def until_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await asyncio.sleep(0.05)
        if clean:
            writer.close()
            await writer.wait_closed()

    context = tls_context(str(authority.file))
    async with (
        serving(until_close, authority.server()) as server,
        pool_to(server.origin, ssl_context=context) as upstream,
        await upstream.send(b"GET", b"/", []) as answer,
    ):
        assert await answer.chunk() == b"half"
        if clean:
            assert await answer.chunk() == b""
            return
        with pytest.raises(ClosedEarly):
            await answer.chunk()


@pytest.mark.parametrize(
    "broken",
    [
        lambda authority: authority.server(days=-1),
        lambda authority: authority.server(address="127.0.0.2"),
        lambda authority: authority.server(self_signed=True),
    ],
    ids=["expired", "wrong-host", "self-signed"],
)
async def test_a_bad_certificate_ends_before_anything_is_sent(
    authority: Authority, broken: Callable[[Authority], ssl.SSLContext]
) -> None:
    """No verification, no request; and no second attempt."""
    async with serving(always(OK), broken(authority)) as server:
        async with pool_to(server.origin, ssl_context=tls_context(str(authority.file))) as upstream:
            with pytest.raises(ConnectError) as caught:
                await call(upstream)

            assert (caught.value.code, caught.value.detail, caught.value.sent) == ("tls", "certificate", False)
            assert caught.value.__cause__ is None
            assert repr(upstream).endswith(" 0 idle, 0 active, 0 waiting>")
        assert server.opened == 0


async def test_an_unknown_authority_and_an_old_protocol_are_refused(authority: Authority) -> None:
    """The system's authorities are what counts by default, and TLS 1.2 is the oldest spoken."""
    async with serving(always(OK), authority.server()) as server, pool_to(server.origin) as upstream:
        with pytest.raises(ConnectError, match=r"^tls: certificate$"):
            await call(upstream)
    assert tls_context().minimum_version >= ssl.TLSVersion.TLSv1_2


async def test_plain_text_where_tls_is_expected_is_a_tls_error() -> None:
    """A server that answers a handshake with HTTP."""

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with serving(plain) as server, pool_to(Origin("https", "127.0.0.1", server.origin.port)) as upstream:
        with pytest.raises(ConnectError, match=r"^tls: "):
            await call(upstream)


def test_verification_cannot_be_switched_off() -> None:
    """A context that checks nothing is refused when the pool is built."""
    context = ssl.create_default_context()
    context.check_hostname = False
    with pytest.raises(ValueError):
        Upstream(Origin("https", "up", 443), Timeouts(), ssl_context=context, clock=SystemClock())


async def test_a_refused_connection_is_a_connect_error() -> None:
    """Nobody listens."""
    async with pool_to(Origin("http", "127.0.0.1", free_port())) as upstream:
        with pytest.raises(ConnectError, match=r"^connect$") as caught:
            await call(upstream)
        assert not caught.value.sent


async def test_a_handshake_without_end_times_out() -> None:
    """TCP is there, TLS never comes: the connect timeout covers both."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(silent) as server:
        origin = Origin("https", "127.0.0.1", server.origin.port)
        async with pool_to(origin, shorter(connect_s=0.1)) as upstream:
            with pytest.raises(Timeout) as caught:
                await call(upstream)

            assert (caught.value.phase, caught.value.sent) == ("connect", False)
            assert repr(upstream).endswith(" 0 idle, 0 active, 0 waiting>")


async def test_the_sockets_are_tuned() -> None:
    """No delay for small writes, and a probe for peers that vanish."""
    async with serving(always(OK)) as server, pool_to(server.origin) as upstream:
        await call(upstream)
        connection = upstream._idle[0]
        assert connection._transport is not None
        sock = connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


# ---- names


class Names:
    """Stands in for the machine's resolver."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        self.answer: list[str] | None = ["127.0.0.1"]
        self.delay_s = 0.0
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", self.look_up, raising=False)

    async def look_up(self, host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        if host[0].isdigit():  # uvloop's sock_connect asks once more, for the address
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]
        self.asked += 1
        await asyncio.sleep(self.delay_s)
        if self.answer is None:
            raise socket.gaierror(-2, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in self.answer]


def patched(monkeypatch: pytest.MonkeyPatch) -> Names:
    try:
        return Names(monkeypatch)
    except AttributeError:
        pytest.skip("this loop's methods cannot be replaced")


async def test_addresses_are_kept_for_a_minute_and_longer_if_the_name_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """One question per minute; a resolver that fails or hangs later does no harm."""
    names = patched(monkeypatch)
    now = 0.0
    resolver = Resolver("up", 1, lambda: now)
    first = await asyncio.gather(*(resolver.addresses(1.0) for _ in range(10)))
    assert names.asked == 1
    assert first[0] == [(socket.AF_INET, ("127.0.0.1", 1))]

    names.answer = None
    now = ADDRESSES_LIVE_S
    assert await resolver.addresses(1.0) == first[0]
    assert await resolver.addresses(1.0) == first[0]
    assert names.asked == 2, "a failing resolver is not asked for every connection"
    names.answer, names.delay_s, now = ["127.0.0.9"], 60.0, 2 * ADDRESSES_LIVE_S
    assert await resolver.addresses(0.01) == first[0]
    names.delay_s, now = 0.0, 3 * ADDRESSES_LIVE_S
    assert await resolver.addresses(0.01) != first[0]
    resolver.forget()
    await resolver.addresses(1.0)
    assert names.asked == 5


async def test_a_name_that_cannot_be_resolved_is_a_dns_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """NXDOMAIN, and a resolver that hangs."""
    names = patched(monkeypatch)
    names.answer = None
    async with pool_to(Origin("http", "up.invalid", 80)) as upstream:
        with pytest.raises(ConnectError, match=r"^dns$"):
            await call(upstream)
    names.delay_s = 60.0
    async with pool_to(Origin("http", "up.invalid", 80), shorter(connect_s=0.05)) as upstream:
        with pytest.raises(ConnectError, match=r"^dns$"):
            await call(upstream)


async def test_addresses_are_tried_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead first address costs its share of the time, not the request."""
    names = patched(monkeypatch)
    names.answer = ["127.0.0.77", "127.0.0.1"]
    async with serving(always(OK)) as server, pool_to(Origin("http", "up", server.origin.port)) as upstream:
        assert await call(upstream) == (200, b"ok")


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.1.1"])
async def test_a_public_host_at_a_private_address_is_refused(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Whoever holds the DNS does not choose our peer inside the network."""
    patched(monkeypatch).answer = [address]
    async with pool_to(Origin("https", "up", 443), public_only=True) as upstream:
        with pytest.raises(ConnectError, match=r"^dns: private_address$"):
            await call(upstream)


# ---- the forward proxy


def tunnel(answer: bytes, seen: list[bytes]) -> Any:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        seen.append(request)
        writer.write(answer)
        await writer.drain()
        if not answer.startswith(b"HTTP/1.1 200"):
            return
        port = int(request.split()[1].rpartition(b":")[2])
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)

        async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                target.write(data)

        back = asyncio.get_running_loop().create_task(pump(far_reader, writer))
        try:
            await pump(reader, far_writer)
        finally:
            back.cancel()
            far_writer.transport.abort()

    return script


async def test_https_goes_through_the_proxy(authority: Authority) -> None:
    """CONNECT with the password of the proxy's URL, then TLS with the origin itself."""
    seen: list[bytes] = []
    async with (
        serving(always(OK), authority.server()) as server,
        serving(tunnel(b"HTTP/1.1 200 Ok\r\n\r\n", seen)) as proxy,
    ):
        url = f"http://me:s3cret@127.0.0.1:{proxy.origin.port}"
        context = tls_context(str(authority.file))
        async with pool_to(server.origin, ssl_context=context, proxy=url) as upstream:
            assert await call(upstream) == (200, b"ok")
            assert await call(upstream) == (200, b"ok")
            assert "s3cret" not in repr(upstream)
    target = f"127.0.0.1:{server.origin.port}".encode()
    assert seen == [
        b"CONNECT " + target + b" HTTP/1.1\r\nHost: " + target + b"\r\nProxy-Authorization: Basic bWU6czNjcmV0\r\n\r\n"
    ]


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "proxy_407"),
        (b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 3\r\n\r\n", "proxy_502"),
        (b"HTTP/1.1 200 Ok\r\n\r\nsurplus", "proxy_protocol"),
        (b"SSH-2.0\r\n\r\n", "proxy_protocol"),
        (b"HTTP/1.1 200", "proxy_protocol"),
        (b"HTTP/1.0 500 " + b"x" * 20_000, "proxy_protocol"),
    ],
)
async def test_a_proxy_that_refuses_is_a_connect_error(answer: bytes, detail: str) -> None:
    """The proxy's status is told, its words are not."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with serving(script) as proxy:
        url = f"http://127.0.0.1:{proxy.origin.port}"
        async with pool_to(Origin("https", "127.0.0.1", 9), proxy=url) as upstream:
            with pytest.raises(ConnectError) as caught:
                await call(upstream)

            assert (caught.value.code, caught.value.detail) == ("connect", detail)


async def test_plain_http_does_not_go_through_the_https_proxy() -> None:
    """HTTPS_PROXY is for https."""
    proxy = f"http://127.0.0.1:{free_port()}"
    async with serving(always(OK)) as server, pool_to(server.origin, proxy=proxy) as upstream:
        assert await call(upstream) == (200, b"ok")
