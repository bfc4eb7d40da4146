"""Brings a connection about: addresses, TCP, the forward proxy's tunnel, TLS. It knows nothing of requests."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

from app.transport.connection import Connection
from app.transport.errors import ConnectError, Timeout
from app.transport.origin import ForwardProxy, Origin

ADDRESSES_LIVE_S: Final = 60.0
STALE_LIVE_S: Final = 5.0
MAX_TUNNEL_HEAD: Final = 16 * 1024
TUNNEL_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])[ \r]").match
# Finds a peer that vanished without a word within half a minute (seconds idle, seconds between, probes).
KEEPALIVE: Final = (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))

Address = tuple[socket.AddressFamily, tuple[Any, ...]]


def tls_context(ca_file: str = "") -> ssl.SSLContext:
    """The system's authorities and those of `ca_file`; names are checked, and HTTP/1.1 is all that is offered."""
    context = ssl.create_default_context()
    if ca_file:
        context.load_verify_locations(cafile=ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


class Resolver:
    """The addresses of one host. A good list is kept for a minute, and longer while the name cannot be looked up."""

    def __init__(self, host: str, port: int, now: Callable[[], float], *, public_only: bool = False) -> None:
        self._host = host
        self._port = port
        self._now = now
        self._public_only = public_only
        self._known: list[Address] = []
        self._fresh_until = 0.0
        self._lock = asyncio.Lock()

    async def addresses(self, patience_s: float) -> list[Address]:
        async with self._lock:  # a thousand connections at once ask once
            if not self._known or self._now() >= self._fresh_until:
                await self._refresh(patience_s)
            return self._known

    def forget(self) -> None:
        """None of the addresses answered: look again next time."""
        self._fresh_until = 0.0

    async def _refresh(self, patience_s: float) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(patience_s):
                found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            if not self._known:
                raise ConnectError("dns") from None
            self._fresh_until = self._now() + STALE_LIVE_S
            return
        self._known = self._admitted([(family, address) for family, _, _, _, address in found])
        self._fresh_until = self._now() + ADDRESSES_LIVE_S

    def _admitted(self, addresses: list[Address]) -> list[Address]:
        unique = list(dict.fromkeys(addresses))
        if not self._public_only:
            return unique
        public = [a for a in unique if ipaddress.ip_address(str(a[1][0]).partition("%")[0]).is_global]
        if not public:
            raise ConnectError("dns", "private_address")
        return public


class Dialer:
    """Opens connections to one origin, each within `connect_s` from the name to the end of the handshake."""

    def __init__(
        self,
        origin: Origin,
        connect_s: float,
        now: Callable[[], float],
        *,
        ssl_context: ssl.SSLContext | None = None,
        proxy: ForwardProxy | None = None,
        public_only: bool = False,
    ) -> None:
        self._origin = origin
        self._connect_s = connect_s
        # HTTPS_PROXY speaks of https alone, as everywhere.
        self._proxy = proxy if origin.scheme == "https" else None
        self._ssl = None
        if origin.scheme == "https":
            self._ssl = ssl_context or tls_context()
            if self._ssl.verify_mode is not ssl.CERT_REQUIRED or not self._ssl.check_hostname:
                raise ValueError("TLS without verification is not supported")
        peer = self._proxy or origin
        self._resolver = Resolver(peer.host, peer.port, now, public_only=public_only and self._proxy is None)

    async def dial(self, factory: Callable[[], Connection]) -> Connection:
        try:
            async with asyncio.timeout(self._connect_s):
                return await self._dial(factory)
        except TimeoutError:
            raise Timeout("connect") from None

    async def _dial(self, factory: Callable[[], Connection]) -> Connection:
        deadline = asyncio.get_running_loop().time() + self._connect_s
        addresses = await self._resolver.addresses(self._connect_s / 2)
        sock = await self._reach(addresses, deadline)
        try:
            if self._proxy is not None:
                await self._tunnel(sock, self._proxy)
            return await self._secure(sock, factory)
        except BaseException:
            sock.close()
            raise

    async def _reach(self, addresses: list[Address], deadline: float) -> socket.socket:
        """Each address gets its share of the time that is left, so that a dead first one does not eat it all."""
        loop = asyncio.get_running_loop()
        for tried, (family, address) in enumerate(addresses):
            sock = None
            try:
                sock = _new_socket(family)
                async with asyncio.timeout((deadline - loop.time()) / (len(addresses) - tried)):
                    await loop.sock_connect(sock, address)
                return sock
            except OSError:
                _close(sock)
            except BaseException:
                _close(sock)
                raise
        self._resolver.forget()
        raise ConnectError("connect")

    async def _tunnel(self, sock: socket.socket, proxy: ForwardProxy) -> None:
        loop = asyncio.get_running_loop()
        origin = self._origin
        target = f"[{origin.host}]:{origin.port}" if ":" in origin.host else f"{origin.host}:{origin.port}"
        request = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n".encode("ascii")
        if proxy.authorization:
            request += b"Proxy-Authorization: " + proxy.authorization + b"\r\n"
        try:
            await loop.sock_sendall(sock, request + b"\r\n")
            answer = b""
            while b"\r\n\r\n" not in answer:
                piece = await loop.sock_recv(sock, 4096)
                answer += piece
                if not piece or len(answer) > MAX_TUNNEL_HEAD:
                    raise ConnectError("connect", "proxy_protocol")
        except OSError:
            raise ConnectError("connect", "proxy_closed") from None
        status = TUNNEL_STATUS(answer)
        # Whoever speaks first through the tunnel is us: more bytes are not the origin's.
        if status is None or not answer.endswith(b"\r\n\r\n") or answer.count(b"\r\n\r\n") != 1:
            raise ConnectError("connect", "proxy_protocol")
        if not status[1].startswith(b"2"):
            raise ConnectError("connect", f"proxy_{status[1].decode('ascii')}")

    async def _secure(self, sock: socket.socket, factory: Callable[[], Connection]) -> Connection:
        loop = asyncio.get_running_loop()
        name = self._origin.host if self._ssl is not None else None
        try:
            _, connection = await loop.create_connection(factory, sock=sock, ssl=self._ssl, server_hostname=name)
        except ssl.SSLCertVerificationError:
            raise ConnectError("tls", "certificate") from None
        except ssl.SSLError:
            raise ConnectError("tls", "handshake") from None
        except OSError:
            raise ConnectError("tls" if self._ssl is not None else "connect", "closed") from None
        return connection


def _new_socket(family: socket.AddressFamily) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE:
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return sock


def _close(sock: socket.socket | None) -> None:
    if sock is not None:
        sock.close()
