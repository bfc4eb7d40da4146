"""Small whole answers from upstream for the gateway itself, such as the catalogues, with whichever key is ready."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.core.clock import Clock
from app.models.lease import ANYTHING, NOTHING_TRIED, Tried
from app.models.marks import Move
from app.services import answers
from app.services.judge import Policies, judge
from app.services.marks import MarkKeeper
from app.services.pool import Pool
from app.services.pool_key import PoolKey
from app.services.upstream_error import read_error
from app.services.wire import response_headers
from app.transport import Answer, TransportError, Upstream


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer, whole, its headers already fit for clients."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


class Fetcher:
    """Sends a GET with a pool key, moving to the next key as a proxied call would. Raises GatewayError."""

    def __init__(
        self, upstream: Upstream, prefix: bytes, pool: Pool, marks: MarkKeeper, clock: Clock, *, max_tries: int
    ) -> None:
        self._upstream = upstream
        self._prefix = prefix
        self._pool = pool
        self._marks = marks
        self._clock = clock
        self._max_tries = max_tries

    async def get(self, target: bytes, headers: Sequence[tuple[bytes, bytes]]) -> Fetched:
        """`target` is the path below the base's prefix, with its query."""
        tried = NOTHING_TRIED
        while True:
            key = self._pool.lease(ANYTHING, tried)
            if key is None:
                raise self._pool.empty(ANYTHING, tried)
            tried = tried.after(key, Move.KEY)
            with key:
                sent = [*headers, (b"authorization", key.authorization())]
                try:
                    async with await self._upstream.send(b"GET", self._prefix + target, sent) as answer:
                        body = await answers.collect(answer)
                        if not self._helps(key, answer, body) or not self._more(tried):
                            fetched = answers.cleaned(answer.status, body)
                            return Fetched(answer.status, tuple(response_headers(answer.headers)), fetched)
                except TransportError as error:
                    if not self._more(tried):
                        raise answers.unreachable(error) from None

    def _helps(self, key: PoolKey, answer: Answer, body: bytes) -> bool:
        """Whether another key may answer better."""
        if answer.status < 400:
            self._pool.served(key)
            return False
        now_s = self._clock.wall_s()
        error = read_error(answer.status, answer.headers, body, now_s)
        verdict = judge(error, Policies(), now_s, inference=False)
        if verdict.bans:
            self._marks.put(self._pool.apply(key, verdict.bans))
        return verdict.move is not Move.NONE

    def _more(self, tried: Tried) -> bool:
        return len(tried.keys) < self._max_tries and self._pool.lease(ANYTHING, tried) is not None
