"""Small whole answers from upstream for the gateway itself, such as the catalogues, with whichever key is ready."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.services import answers
from app.services.judge import judge_status
from app.services.pool import Pool
from app.services.wire import header, response_headers
from app.transport import TransportError, Upstream


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer, whole, its headers already fit for clients."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


class Fetcher:
    """Sends a GET with a pool key, moving to the next key as a proxied call would. Raises GatewayError."""

    def __init__(self, upstream: Upstream, prefix: bytes, pool: Pool, *, max_tries: int) -> None:
        self._upstream = upstream
        self._prefix = prefix
        self._pool = pool
        self._max_tries = max_tries

    async def get(self, target: bytes, headers: Sequence[tuple[bytes, bytes]]) -> Fetched:
        """`target` is the path below the base's prefix, with its query."""
        tried: set[str] = set()
        while True:
            key = self._pool.take(tried)
            if key is None:
                raise self._pool.empty()
            tried.add(key.id)
            with key:
                sent = [*headers, (b"authorization", key.authorization())]
                try:
                    async with await self._upstream.send(b"GET", self._prefix + target, sent) as answer:
                        verdict = judge_status(answer.status, header(answer.headers, b"retry-after"))
                        self._pool.rest(key, verdict.rest_s)
                        body = answers.cleaned(answer.status, await answers.collect(answer))
                        if not (verdict.try_next and self._more(tried)):
                            return Fetched(answer.status, tuple(response_headers(answer.headers)), body)
                except TransportError as error:
                    if not self._more(tried):
                        raise answers.unreachable(error) from None

    def _more(self, tried: set[str]) -> bool:
        return len(tried) < self._max_tries and self._pool.take(tried) is not None
