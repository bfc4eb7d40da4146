"""Asks a provider over HTTP: its description, its keys, a token for a code. Whole small answers of JSON, no redirects.

It must never know what is decided by them.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

from app import __version__
from app.core.clock import Clock
from app.core.config import Settings
from app.core.upstream_url import is_loopback, split_http
from app.transport import Origin, Timeouts, TransportError, Upstream, tls_context

log = logging.getLogger(__name__)

_PATIENCE_S: Final = 10.0
_MOST_BYTES: Final = 1_000_000
_OK: Final = 200
_Headers = Sequence[tuple[bytes, bytes]]


class ProviderSilent(Exception):  # noqa: N818 - a condition
    """The provider gave no usable answer. `reason` is a short code."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class OidcWire:
    """Every method raises ProviderSilent."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._clock = clock
        self._proxy = settings.https_proxy or None
        self._ca_file = settings.oidc_ca_file

    async def get(self, url: str, bearer: str = "") -> dict[str, Any]:
        headers = [(b"authorization", f"Bearer {bearer}".encode())] if bearer else []
        return await self._ask(b"GET", url, headers, b"")

    async def post(self, url: str, form: Mapping[str, str], client: str = "", secret: str = "") -> dict[str, Any]:
        """With a client and its secret: as HTTP's basic authentication, each encoded first (RFC 6749, 2.3.1)."""
        headers = [(b"content-type", b"application/x-www-form-urlencoded")]
        if client:
            pair = f"{quote(client, safe='')}:{quote(secret, safe='')}".encode()
            headers.append((b"authorization", b"Basic " + base64.b64encode(pair)))
        return await self._ask(b"POST", url, headers, urlencode(form).encode())

    async def _ask(self, method: bytes, url: str, headers: _Headers, body: bytes) -> dict[str, Any]:
        bare, _, query = url.partition("?")
        try:
            scheme, host, port, path = split_http(bare)
        except ValueError:
            raise ProviderSilent("bad_address") from None
        if scheme != "https" and not is_loopback(host):
            raise ProviderSilent("plain_http")
        target = f"{path or '/'}{'?' + query if query else ''}".encode("ascii", "replace")
        try:
            async with asyncio.timeout(_PATIENCE_S):
                status, content = await self._exchange(Origin(scheme, host, port), method, target, headers, body)
        except (TransportError, TimeoutError, OSError) as error:
            raise ProviderSilent(type(error).__name__) from None
        if status != _OK:
            raise ProviderSilent(f"status_{status}")
        try:
            return msgspec.json.decode(content, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise ProviderSilent("not_json") from None

    async def _exchange(
        self, origin: Origin, method: bytes, target: bytes, headers: _Headers, body: bytes
    ) -> tuple[int, bytes]:
        agent = (b"user-agent", f"openrouter-middleware/{__version__}".encode())
        context = await asyncio.to_thread(tls_context, self._ca_file) if origin.scheme == "https" else None
        upstream = Upstream(
            origin,
            Timeouts(first_byte_s=_PATIENCE_S, idle_s=_PATIENCE_S),
            ssl_context=context,
            proxy=self._proxy if origin.scheme == "https" else None,
            clock=self._clock,
        )
        try:
            sent = [agent, (b"accept", b"application/json"), *headers]
            async with await upstream.send(method, target, sent, body) as answer:
                content = b""
                while piece := await answer.chunk():
                    content += piece
                    if len(content) > _MOST_BYTES:
                        raise ProviderSilent("too_large")
                return answer.status, content
        finally:
            await upstream.close()
