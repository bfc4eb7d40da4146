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
import re
import ssl
from typing import Final
from urllib.parse import unquote, urlsplit

import httpx2

from app.core.clock import Clock

log = logging.getLogger(__name__)

TIMEOUT_S: Final = 10.0
_PREFIX: Final = "whsec_"
_WORDS: Final = {
    "unknown_host": "its name is not known",
    "private_address": "it is in the own network, and WEBHOOK_TO_PRIVATE does not allow that",
    "certificate": "its certificate is not to be trusted (ALERT_CA_FILE names further authorities)",
    "ConnectError": "nothing answers there",
    "ConnectTimeout": "nothing answers there in time",
    "ReadTimeout": "it takes too long to answer",
    "401": "it does not let us in: the address or its token is wrong",
    "403": "it does not let us in: the address or its token is wrong",
    "404": "it does not know this address",
    "410": "this address is not in use any more",
    "429": "it is sent too many messages",
}


class NotSent(Exception):  # noqa: N818 - a condition
    """Nobody has taken the message. `reason` is a short code, `words` are for people."""

    def __init__(self, reason: str, words: str = "") -> None:
        super().__init__(f"the message was not taken ({reason})")
        self.reason = reason
        self.words = words or _words_of(reason)


def _words_of(reason: str) -> str:
    if reason in _WORDS:
        return _WORDS[reason]
    if reason.isdecimal():
        kinds = {"3": "it sends us elsewhere, and redirects are not followed", "4": "it refuses the message",
                 "5": "it is out of order"}  # fmt: skip
        return kinds.get(reason[0], "it gave an unusual answer")
    return "the connection failed"


class Webhook:
    """`secret` is whsec_<base64>, or any text; without one, messages are not signed. A user and password in the
    address are sent as Basic authentication.
    """

    def __init__(self, url: str, secret: str, clock: Clock, *, to_private: bool, ca_file: str = "") -> None:
        self.url: Final = url
        self._url = urlsplit(url)
        self._key = key_of(secret)
        self._clock = clock
        self._to_private = to_private
        self._ca_file = ca_file
        self._trust: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        return f"<Webhook to {self.host}>"

    @property
    def host(self) -> str:
        """All of the address that may be shown: the rest is often the receiver's secret."""
        return self._url.hostname or ""

    async def send(self, message_id: str, body: bytes, url: str = "") -> None:
        """Once. `url`: another path of the same host. Raises NotSent."""
        address = await address_of(self.host, to_private=self._to_private)
        message_id = re.sub(r"[^!-~]", "_", message_id)  # it stands in a header
        parts = urlsplit(url) if url else self._url
        headers = {
            "content-type": "application/json",
            "host": self._url.netloc.rpartition("@")[2],
            **_basic(self._url.username, self._url.password),
            **signature(self._key, message_id, int(self._clock.wall_s()), body),
        }
        port = self._url.port or (443 if self._url.scheme == "https" else 80)
        host = f"[{address}]" if ":" in address else address
        target = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
        await self._post(f"{self._url.scheme}://{host}:{port}{target}", body, headers)

    async def _post(self, url: str, body: bytes, headers: dict[str, str]) -> None:
        options = {"timeout": TIMEOUT_S, "trust_env": False, "follow_redirects": False, "verify": self._trusted()}
        try:
            async with asyncio.timeout(2 * TIMEOUT_S), httpx2.AsyncClient(**options) as client:  # type: ignore[arg-type]
                name = {"sni_hostname": self.host}
                # The answer's body is nothing to us, and might never end.
                async with client.stream("POST", url, content=body, headers=headers, extensions=name) as answer:
                    status = answer.status_code
        except httpx2.HTTPError as error:
            # The library's own words may quote what was sent.
            raise NotSent(_reason(error)) from None
        except TimeoutError:
            raise NotSent("ReadTimeout") from None
        if not 200 <= status < 300:
            raise NotSent(str(status))

    def _trusted(self) -> ssl.SSLContext:
        if self._trust is None:
            self._trust = trusted(self._ca_file)
        return self._trust


def trusted(ca_file: str) -> ssl.SSLContext:
    """The system's authorities, and those of the file besides."""
    context = ssl.create_default_context()
    if ca_file:
        context.load_verify_locations(ca_file)
    return context


async def address_of(host: str, *, to_private: bool) -> str:
    """The first address of the name, if all of them may be spoken to. Raises NotSent."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(TIMEOUT_S):
            found = await loop.getaddrinfo(host, None, type=1)
    except (OSError, UnicodeError):
        raise NotSent("unknown_host") from None
    addresses = [str(one[4][0]) for one in found]
    if not to_private and not all(map(is_public, addresses)):
        raise NotSent("private_address")
    return addresses[0]


def is_public(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_global and not (mapped or parsed).is_multicast


def _reason(error: BaseException) -> str:
    """The type of the error; a certificate that does not fit hides behind it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return "certificate"
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__


def _basic(user: str | None, password: str | None) -> dict[str, str]:
    if user is None and password is None:
        return {}
    pair = f"{unquote(user or '')}:{unquote(password or '')}"
    return {"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


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
