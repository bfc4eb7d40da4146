"""Calls to OpenRouter for the gateway's own sake, off the request path: what a key is. The only user of httpx2."""

from __future__ import annotations

import ssl
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final

import httpx2
import msgspec

from app import __version__
from app.core.config import Settings
from app.core.security import Secret

_TIMEOUT_S: Final = 5.0
_UNKNOWN_KEY: Final = 401


class ProbeFailed(Exception):  # noqa: N818 - a condition
    """Nothing could be learnt of a key. `unknown_key`: OpenRouter answered that it does not know it. `unreachable`:
    there was no answer at all.
    """

    def __init__(self, reason: str, *, unknown_key: bool = False, unreachable: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.unknown_key = unknown_key
        self.unreachable = unreachable


class KeyFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What `GET /key` says of a key, as far as the gateway uses it."""

    label: str | None = None
    is_management_key: bool | None = None
    is_provisioning_key: bool | None = None
    limit: float | None = None
    limit_remaining: float | None = None
    organization_id: str | None = None
    creator_user_id: str | None = None

    @property
    def is_management(self) -> bool:
        """`is_provisioning_key` is the same under its old name."""
        return bool(self.is_management_key or self.is_provisioning_key)


class _Answer(msgspec.Struct, frozen=True):
    data: KeyFacts


_decode: Final = msgspec.json.Decoder(_Answer, strict=False).decode


class KeyProbe:
    """Asks `GET /key`, which is free. No redirects, no cookies, no environment."""

    def __init__(self, settings: Settings) -> None:
        self._url = f"{settings.upstream}/v1/key"
        self._client = httpx2.AsyncClient(
            timeout=_TIMEOUT_S,
            trust_env=False,
            follow_redirects=False,
            verify=trusted_authorities(settings),
            proxy=settings.https_proxy or None,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            headers={"user-agent": f"openrouter-middleware/{__version__}", "accept": "application/json"},
        )

    async def describe(self, secret: Secret) -> KeyFacts:
        """Raises ProbeFailed."""
        try:
            answer = await self._client.get(self._url, headers={"authorization": f"Bearer {secret.reveal()}"})
        except httpx2.HTTPError as error:
            # The library's own words may quote the header.
            raise ProbeFailed(type(error).__name__, unreachable=isinstance(error, httpx2.TransportError)) from None
        if answer.status_code == _UNKNOWN_KEY:
            raise ProbeFailed("unknown key", unknown_key=True)
        if answer.status_code != httpx2.codes.OK:
            raise ProbeFailed(f"status {answer.status_code}")
        try:
            return _decode(answer.content).data
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise ProbeFailed("unreadable answer") from None

    async def close(self) -> None:
        await self._client.aclose()


def trusted_authorities(settings: Settings) -> ssl.SSLContext:
    """Who may vouch for OpenRouter: the system's authorities, and those of OPENROUTER_CA_FILE besides."""
    context = ssl.create_default_context()
    if settings.openrouter_ca_file:
        context.load_verify_locations(settings.openrouter_ca_file)
    return context
