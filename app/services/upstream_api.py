"""Calls to OpenRouter for the gateway's own sake, off the request path: what a key is, what a call has cost."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from app import __version__
from app.core.clock import SystemClock
from app.core.config import Settings
from app.core.security import Secret, openrouter_key_id
from app.models.key_facts import KeyFacts as KeyFacts  # callers know it from here
from app.services.key_answer import UnreadableAnswer, balance_nano, key_facts
from app.transport import Origin, Timeouts, TransportError, Upstream, tls_context

_TIMEOUT_S: Final = 5.0
_CONNECTIONS: Final = 32
_OK: Final = 200
_UNKNOWN_KEY: Final = 401
_MOST_BYTES: Final = 16 * 1024 * 1024
_ALWAYS: Final = (
    (b"user-agent", f"openrouter-middleware/{__version__}".encode()),
    (b"accept", b"application/json"),
    (b"accept-encoding", b"identity"),
)


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
    """Requests to OpenRouter's API beside the calls of clients, over connections of their own: those of clients are
    never waited for. No redirects, no cookies, no environment.
    """

    def __init__(self, settings: Settings) -> None:
        url = settings.upstream
        self._prefix = f"{url.prefix}/v1"
        self._upstream = Upstream(
            Origin(url.scheme, url.host, url.port),
            Timeouts(connect_s=_TIMEOUT_S, first_byte_s=_TIMEOUT_S, idle_s=_TIMEOUT_S, pool_s=_TIMEOUT_S),
            max_connections=_CONNECTIONS,
            ssl_context=tls_context(settings.openrouter_ca_file) if url.scheme == "https" else None,
            proxy=settings.https_proxy or None,
            public_only=url.host == "openrouter.ai" and not settings.https_proxy,
            clock=SystemClock(),
        )

    async def request(self, method: str, path: str, secret: Secret, json: object = None) -> ApiAnswer:
        """`path` follows the API's version: "/key", "/keys?offset=0". Raises ApiUnreachable."""
        headers = [*_ALWAYS, (b"authorization", b"Bearer " + secret.reveal().encode())]
        content = b""
        if json is not None:
            content = msgspec.json.encode(json)
            headers.append((b"content-type", b"application/json"))
        target = (self._prefix + path).encode()
        pieces: list[bytes] = []
        size = 0
        try:
            async with await self._upstream.send(method.encode(), target, headers, content) as answer:
                while piece := await answer.chunk():
                    pieces.append(piece)
                    size += len(piece)
                    if size > _MOST_BYTES:
                        raise ApiUnreachable("too long an answer", sent=True)
        except TransportError as error:
            raise ApiUnreachable(type(error).__name__, sent=error.sent) from None
        told = {name.decode("latin-1"): value.decode("latin-1") for name, value in answer.headers}
        return ApiAnswer(answer.status, told, b"".join(pieces))

    async def close(self) -> None:
        await self._upstream.close()


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
        if status != _OK:
            raise ProbeFailed(f"status {status}")
        return body

    async def close(self) -> None:
        await self._client.close()
