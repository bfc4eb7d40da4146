"""Sends messages to one address that the operator has set, signed after "Standard Webhooks". Knows no alert.

The name is resolved here, every address of it is checked, and the connection goes to the address that was checked: no
name server can lead a message into the own network.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import ipaddress
import logging
from typing import Final
from urllib.parse import urlsplit

import httpx2

from app.core.clock import Clock

log = logging.getLogger(__name__)

_TIMEOUT_S: Final = 10.0
_PREFIX: Final = "whsec_"


class NotSent(Exception):  # noqa: N818 - a condition
    """Nobody has taken the message. `reason` is a short code."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the message was not taken ({reason})")
        self.reason = reason


class Webhook:
    """`secret` is whsec_<base64>, or any text; without one, messages are not signed."""

    def __init__(self, url: str, secret: str, clock: Clock, *, to_private: bool) -> None:
        self._url = urlsplit(url)
        self._key = key_of(secret)
        self._clock = clock
        self._to_private = to_private

    def __repr__(self) -> str:
        return f"<Webhook to {self._url.hostname}>"

    async def send(self, message_id: str, body: bytes) -> None:
        """Once. Raises NotSent."""
        address = await self._address()
        headers = {
            "content-type": "application/json",
            "host": self._url.netloc.rpartition("@")[2],
            **signature(self._key, message_id, int(self._clock.wall_s()), body),
        }
        target = self._url.path or "/"
        port = self._url.port or (443 if self._url.scheme == "https" else 80)
        host = f"[{address}]" if ":" in address else address
        url = f"{self._url.scheme}://{host}:{port}{target}{'?' + self._url.query if self._url.query else ''}"
        try:
            async with httpx2.AsyncClient(timeout=_TIMEOUT_S, trust_env=False, follow_redirects=False) as client:
                name = {"sni_hostname": self._url.hostname or ""}
                answer = await client.post(url, content=body, headers=headers, extensions=name)
        except httpx2.HTTPError as error:
            # The library's own words may quote what was sent.
            raise NotSent(type(error).__name__) from None
        if not 200 <= answer.status_code < 300:
            raise NotSent(str(answer.status_code))

    async def _address(self) -> str:
        """The first address of the name, if all of them may be spoken to."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(self._url.hostname, None, type=1)
        except OSError:
            raise NotSent("unknown_host") from None
        addresses = [str(one[4][0]) for one in found]
        if not self._to_private and not all(map(is_public, addresses)):
            raise NotSent("private_address")
        return addresses[0]


def is_public(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_global and not (mapped or parsed).is_multicast


def key_of(secret: str) -> bytes:
    if secret.startswith(_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            return secret.encode()
    return secret.encode()


def signature(key: bytes, message_id: str, at_s: int, body: bytes) -> dict[str, str]:
    """The headers of "Standard Webhooks" 1.0."""
    headers = {"webhook-id": message_id, "webhook-timestamp": str(at_s)}
    if key:
        signed = b"%b.%d.%b" % (message_id.encode(), at_s, body)
        digest = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        headers["webhook-signature"] = f"v1,{digest}"
    return headers
