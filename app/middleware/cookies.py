"""The panel's cookies: how they are read, named and written. Over TLS their names bind them to this very host.

It must never know what a value means.
"""

from __future__ import annotations

import re
from typing import Final

from starlette.types import Scope

from app.core.config import Settings
from app.services.addresses import Networks, client_address

SESSION: Final = "session"
DEVICE: Final = "device"
PENDING: Final = "pending"
OIDC: Final = "oidc"
_VALUE: Final = re.compile(r"[A-Za-z0-9._~-]{0,512}")


class Transport:
    """What is known of how a request came: over TLS or not, and from which address."""

    def __init__(self, settings: Settings) -> None:
        self._public_tls = settings.public_url.startswith("https://")
        self._public_host = settings.public_url.partition("://")[2].partition("/")[0].lower()
        self._public_origin = "/".join(settings.public_url.split("/")[:3]).lower()
        self._proxies = Networks(settings.trusted_proxies)

    def secure(self, scope: Scope) -> bool:
        """Whether the browser speaks TLS, to this gateway or to the proxy before it."""
        if self._public_tls or scope.get("scheme") == "https":
            return True
        if not self._proxies or _peer(scope) not in self._proxies:
            return False
        return header(scope, b"x-forwarded-proto").rpartition(b",")[2].strip().lower() == b"https"

    def address(self, scope: Scope) -> str:
        forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        return client_address(_peer(scope), forwarded, self._proxies)

    def origin(self, scope: Scope) -> str:
        """The address of this gateway as the browser has it: scheme, host and port."""
        if self._public_origin:
            return self._public_origin
        return f"{'https' if self.secure(scope) else 'http'}://{header(scope, b'host').decode('latin-1').lower()}"

    def is_own_origin(self, scope: Scope, origin: bytes) -> bool:
        """Whether a page of this gateway sent the request. The scheme is left out: a proxy may have ended the TLS."""
        scheme, separator, host = origin.decode("latin-1").lower().partition("://")
        if not separator or scheme not in ("http", "https") or not host:
            return False
        return host in (header(scope, b"host").decode("latin-1").lower(), self._public_host)


def _peer(scope: Scope) -> str:
    return str(scope["client"][0]) if scope.get("client") else ""


def header(scope: Scope, name: bytes) -> bytes:
    """The value of a header, the last one where it stands there twice."""
    found = b""
    for key, value in scope["headers"]:
        if key == name:
            found = value
    return found


def cookie_name(name: str, *, secure: bool) -> str:
    """With `__Host-` no other host and no page without TLS can have set it."""
    return f"__Host-{name}" if secure else name


def read_cookie(scope: Scope, name: str, *, secure: bool) -> str:
    """Its value; nothing where there is none, or more than one: somebody else has put one there."""
    wanted = cookie_name(name, secure=secure)
    found: list[str] = []
    for key, value in scope["headers"]:
        if key == b"cookie":
            for part in value.decode("latin-1").split(";"):
                own, _, text = part.strip().partition("=")
                if own == wanted:
                    found.append(text)
    return found[0] if len(found) == 1 and _VALUE.fullmatch(found[0]) else ""


def set_cookie(
    name: str, value: str, *, secure: bool, max_age_s: int, same_site: str = "Strict", path: str = "/"
) -> tuple[bytes, bytes]:
    """The header that sets it. `__Host-` wants the path to be `/`."""
    parts = [
        f"{cookie_name(name, secure=secure)}={value}", f"Path={path}", f"Max-Age={max_age_s}", "HttpOnly",
        f"SameSite={same_site}",
    ]  # fmt: skip
    if secure:
        parts.append("Secure")
    return b"set-cookie", "; ".join(parts).encode("latin-1")


def drop_cookie(name: str, *, secure: bool) -> tuple[bytes, bytes]:
    return set_cookie(name, "", secure=secure, max_age_s=0)
