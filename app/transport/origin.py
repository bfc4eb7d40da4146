"""Where requests go and how long each phase may take: facts only, no sockets."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes, urlsplit

DEFAULT_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port of the upstream. An IPv6 host stands without brackets."""

    scheme: str
    host: str
    port: int

    def __post_init__(self) -> None:
        if self.scheme not in DEFAULT_PORTS or not self.host or not 0 < self.port < 65536:
            raise ValueError("an origin is http or https, a host and a port")
        if not self.host.isascii() or not self.host.isprintable() or any(c in self.host for c in " /?#@[]\\"):
            raise ValueError("an origin's host is a plain ASCII name or address")

    @property
    def authority(self) -> bytes:
        """The value of `Host`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}").encode("ascii")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority.decode('ascii')}"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds that each phase may take; `keep_alive_s` is the life of an idle connection."""

    connect_s: float = 5.0
    first_byte_s: float = 120.0
    idle_s: float = 60.0
    pool_s: float = 1.0
    keep_alive_s: float = 15.0

    @property
    def sweep_s(self) -> float:
        """How often the pool looks for deadlines that have passed."""
        shortest = min(self.first_byte_s, self.idle_s, self.pool_s, self.keep_alive_s)
        return min(max(shortest / 4, 0.005), 1.0)


@dataclass(frozen=True, slots=True)
class ForwardProxy:
    """The proxy of `HTTPS_PROXY`, spoken to with CONNECT. Its password is in no repr."""

    host: str
    port: int
    authorization: bytes = field(default=b"", repr=False)

    @classmethod
    def parse(cls, url: str) -> ForwardProxy:
        """Raises ValueError, whose text does not quote the URL, for anything but `http://[user:password@]host:port`."""
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            host, port = parts.hostname or "", parts.port or 80
        except ValueError:
            raise ValueError("the proxy's address is malformed") from None
        if parts.scheme != "http" or not host or not host.isascii():
            raise ValueError("the proxy's address must look like http://host:port")
        authorization = b""
        if parts.username is not None:
            pair = unquote_to_bytes(parts.username) + b":" + unquote_to_bytes(parts.password or "")
            authorization = b"Basic " + base64.b64encode(pair)
        return cls(host, port, authorization)
