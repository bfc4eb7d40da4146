"""Where OpenRouter is, read from an address that people write in several forms. Pure; knows no settings."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class UpstreamUrl:
    """Where OpenRouter is: the origin, and the path that every API path is appended to (`/api`)."""

    scheme: str
    host: str
    port: int
    prefix: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.prefix}"


_DEFAULT_PORTS: Final = {"https": 443, "http": 80}
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")


def parse_upstream(url: str, *, allow_plain_http: bool) -> UpstreamUrl:
    """Raises ValueError with a sentence when the URL could lead a key to the wrong place."""
    scheme, host, port, path = split_http(url)
    prefix = path.rstrip("/").removesuffix("/v1") if path.rstrip("/").endswith("/api/v1") else path.rstrip("/")
    if prefix and not re.fullmatch(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/api", prefix):
        raise ValueError("must end in the host, /api or /api/v1")
    if scheme == "http" and not (allow_plain_http or is_loopback(host)):
        raise ValueError("must be https:// (http:// only to this machine, or with ALLOW_PLAIN_HTTP_UPSTREAM=true)")
    return UpstreamUrl(scheme, host, port, prefix or "/api")


def split_http(url: str) -> tuple[str, str, int, str]:
    """Scheme, host, port and path of a plain http(s) URL: no user, no query, no fragment."""
    if re.search(r"[^\x21-\x7e]|\\", url):
        raise ValueError("must hold no space, backslash or control character")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("is not a URL") from None
    if parts.scheme not in _DEFAULT_PORTS or not _HOST.fullmatch(host) or port == 0 or parts.netloc.endswith(":"):
        raise ValueError("must be http:// or https:// and a host")
    if "@" in parts.netloc or "?" in url or "#" in url:
        raise ValueError("must hold no user, password, query or fragment")
    return parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme], parts.path


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.rstrip(".") == "localhost"
