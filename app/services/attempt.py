"""One try of a call with one key: sends it, and holds the answer back until it has begun or has failed.

Decides nothing about further tries and marks nobody; a failure is handed back whole, so that it can still be relayed.
"""

from __future__ import annotations

import msgspec

from app.core.clock import Clock
from app.core.errors import GatewayError
from app.services import answers
from app.services.call import Call, Fields
from app.services.judge import Broken
from app.services.opening import Opening, Word
from app.services.upstream_error import UpstreamError, read_error
from app.services.wire import fields
from app.transport import Answer, HeadStart, TransportError, Upstream

# How long the rest of a failed stream is waited for: it is one event, and usually there.
_REST_S = 1.0


class Begun(msgspec.Struct, frozen=True):
    """An answer that goes to the caller: `first` is what was held of its body."""

    answer: Answer
    told: Fields
    first: bytes
    after_s: float = 0.0
    """How long it took from the beginning of the try."""


class Whole(msgspec.Struct, frozen=True):
    """An answer that was read to its end."""

    status: int
    headers: list[tuple[bytes, bytes]]
    told: Fields
    body: bytes


class Failure(msgspec.Struct, frozen=True):
    """A try that failed before anything of it went to the caller. Either `answer` is what upstream said, or `broken`
    why it said nothing, and `error` what the gateway says in its place.
    """

    outcome: UpstreamError | Broken | None
    answer: Whole | None = None
    error: GatewayError | None = None

    @property
    def result(self) -> str:
        """One word for logs and traces."""
        if self.answer is not None:
            return str(self.answer.status)
        return self.outcome.code if isinstance(self.outcome, Broken) else "failed"


class Attempts:
    """Knows where to send, and how long an answer may be held back."""

    def __init__(self, upstream: Upstream, clock: Clock, *, hold_s: float) -> None:
        self._upstream = upstream
        self._clock = clock
        self._hold_s = hold_s

    async def send(self, call: Call, start: HeadStart, authorization: bytes, body: bytes) -> Begun | Failure:
        """The answer that has begun; its reader closes it. Raises GatewayError for what no other key would mend."""
        began_s = self._clock.monotonic_s()
        try:
            answer = await self._upstream.send_on(start, ((b"authorization", authorization),), body)
        except TransportError as error:
            return _broken(error)
        try:
            told = fields(answer.headers)
            if generation_id := told.get(b"x-generation-id"):
                call.generation_id = generation_id.decode("ascii", "replace")
            answers.refuse_compressed(told)
            if answer.status > 299:
                return await self._failed(answer, told, b"")
            if not call.route.inference:
                return Begun(answer, told, b"")
            found = await self._open(answer, told, began_s)
        except TransportError as error:
            answer.close()
            return _broken(error)
        except BaseException:
            answer.close()
            raise
        if isinstance(found, Failure):
            answer.close()
        return found

    async def _open(self, answer: Answer, told: Fields, began_s: float) -> Begun | Failure:
        """Waits for the first word that decides."""
        opening = answers.opening_for(told.get(b"content-type", b""))
        piece = await answer.chunk_within(self._hold_s)
        if piece is None:
            return Begun(answer, told, b"")
        word = opening.feed(piece, self._clock.wall_s())
        if word is Word.HOLD and not answer.complete:
            return await self._listen(answer, told, opening, piece, began_s)
        if word is Word.FAILED or (answer.complete and b'"error"' in piece):
            return await self._failed(answer, told, piece, opening)
        return Begun(answer, told, piece, self._clock.monotonic_s() - began_s)

    async def _listen(
        self, answer: Answer, told: Fields, opening: Opening, first: bytes, began_s: float
    ) -> Begun | Failure:
        """Heartbeats came first: goes on listening for as long as an answer may be held."""
        until_s = self._clock.monotonic_s() + self._hold_s
        held = [first]
        while not answer.complete and (left_s := until_s - self._clock.monotonic_s()) > 0:
            piece = await answer.chunk_within(left_s)
            if piece is None:
                break
            held.append(piece)
            word = opening.feed(piece, self._clock.wall_s())
            if word is Word.FAILED or (answer.complete and b'"error"' in piece):
                return await self._failed(answer, told, b"".join(held), opening)
            if word is Word.GO:
                break
        return Begun(answer, told, b"".join(held), self._clock.monotonic_s() - began_s)

    async def _failed(
        self, answer: Answer, told: Fields, first: bytes, opening: Opening | None = None
    ) -> Begun | Failure:
        """Reads what is left, and what it means; an answer that is no error after all begins."""
        if opening is not None and opening.error is not None:
            body = first + await answers.collect_for(answer, _REST_S)
            outcome: UpstreamError | None = opening.error
        else:
            body = first + await answers.collect(answer)
            outcome = read_error(answer.status, answer.headers, body, self._clock.wall_s())
        if outcome is None and answer.status < 300:
            return Begun(answer, told, body)
        answer.close()
        return Failure(outcome, Whole(answer.status, answer.headers, told, body))


def _broken(error: TransportError) -> Failure:
    return Failure(Broken(error.code, error.sent), error=answers.unreachable(error))
