"""Calls to OpenRouter for the gateway's own sake, off the request path: what a key is. The only user of httpx2."""

from __future__ import annotations

import ssl
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final, NamedTuple

import httpx2
import msgspec

from app import __version__
from app.core.config import Settings
from app.core.security import Secret, openrouter_key_id
from app.models.key_facts import KeyFacts as KeyFacts  # callers know it from here
from app.services.key_answer import UnreadableAnswer, balance_nano, key_facts

_TIMEOUT_S: Final = 5.0
_UNKNOWN_KEY: Final = 401
_NOT_SENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)


class ProbeFailed(Exception):  # noqa: N818 - a condition
    """Nothing could be learnt of a key. `unknown_key`: OpenRouter answered that it does not know it. `unreachable`:
    there was no answer at all.
    """

    def __init__(self, reason: str, *, unknown_key: bool = False, unreachable: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.unknown_key = unknown_key
        self.unreachable = unreachable


class ApiUnreachable(Exception):  # noqa: N818 - a condition
    """No usable answer came. `sent`: the request may have been carried out all the same."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent


class ApiAnswer(NamedTuple):
    """Whatever came back, of whatever status. Names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class UpstreamClient:
    """Requests to OpenRouter's API beside the calls of clients. No redirects, no cookies, no environment."""

    def __init__(self, settings: Settings) -> None:
        self._base = f"{settings.upstream}/v1"
        self._client = httpx2.AsyncClient(
            timeout=_TIMEOUT_S,
            trust_env=False,
            follow_redirects=False,
            verify=trusted_authorities(settings),
            proxy=settings.https_proxy or None,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            headers={"user-agent": f"openrouter-middleware/{__version__}", "accept": "application/json"},
        )

    async def request(self, method: str, path: str, secret: Secret, json: object = None) -> ApiAnswer:
        """`path` follows the API's version: "/key", "/keys?offset=0". Raises ApiUnreachable."""
        headers = {"authorization": f"Bearer {secret.reveal()}"}
        content = None
        if json is not None:
            content = msgspec.json.encode(json)
            headers["content-type"] = "application/json"
        try:
            answer = await self._client.request(method, self._base + path, headers=headers, content=content)
        except httpx2.HTTPError as error:
            # The library's own words may quote the header.
            raise ApiUnreachable(type(error).__name__, sent=not isinstance(error, _NOT_SENT)) from None
        return ApiAnswer(answer.status_code, dict(answer.headers), answer.content)

    async def close(self) -> None:
        await self._client.aclose()


class KeyProbe:
    """Asks what is free to ask: `GET /key`, and `GET /credits` for management keys. Never a model."""

    def __init__(self, settings: Settings, client: UpstreamClient | None = None) -> None:
        self._client = client or UpstreamClient(settings)

    async def describe(self, secret: Secret) -> KeyFacts:
        """What OpenRouter says of the key. Raises ProbeFailed."""
        body = await self._ask("/key", secret)
        try:
            return key_facts(openrouter_key_id(secret.reveal()), body)
        except UnreadableAnswer:
            raise ProbeFailed("unreadable answer") from None

    async def balance_nano(self, secret: Secret) -> int | None:
        """What is left of the account's credits, asked with a management key. Raises ProbeFailed."""
        body = await self._ask("/credits", secret)
        try:
            return balance_nano(body)
        except UnreadableAnswer:
            raise ProbeFailed("unreadable answer") from None

    async def _ask(self, path: str, secret: Secret) -> bytes:
        try:
            status, _, body = await self._client.request("GET", path, secret)
        except ApiUnreachable as failure:
            raise ProbeFailed(failure.reason, unreachable=True) from None
        if status == _UNKNOWN_KEY:
            raise ProbeFailed("unknown key", unknown_key=True)
        if status != httpx2.codes.OK:
            raise ProbeFailed(f"status {status}")
        return body

    async def close(self) -> None:
        await self._client.close()


def trusted_authorities(settings: Settings) -> ssl.SSLContext:
    """Who may vouch for OpenRouter: the system's authorities, and those of OPENROUTER_CA_FILE besides."""
    context = ssl.create_default_context()
    if settings.openrouter_ca_file:
        context.load_verify_locations(settings.openrouter_ca_file)
    return context
