"""One proxied request: admit, prepare, lease, send, judge, relay, settle. Acts; every decision it follows is made
elsewhere.

Knows its caller only as a `Caller` (begin, write, end, gone) and upstream only as the transport. Authentication is
done before.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from app.core.errors import Fault, GatewayError
from app.core.redis import RedisUnavailable
from app.models.exchange import Outcome, Route
from app.models.keys import ClientKey
from app.services import answers
from app.services.ask import NOTHING_ASKED, Ask, read_ask, read_json
from app.services.cleaning import Cleaner, NoCleaner
from app.services.judge import judge_status
from app.services.object_ids import ObjectWatch, watch_for
from app.services.owners import Owner, Owners
from app.services.pool import Pool, PoolKey
from app.services.sse import NO_SCANNER, Scanner, Usage
from app.services.wire import fields, request_headers, response_headers
from app.transport import Answer, HeadStart, TransportError, Upstream

log = logging.getLogger(__name__)

Headers = Sequence[tuple[bytes, bytes]]
Fields = Mapping[bytes, bytes]
CallHead = HeadStart
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS"})


class CallerGoneError(Exception):
    """The caller left before its request was complete."""


class Caller(Protocol):
    """The other end of the exchange."""

    async def body(self) -> bytes: ...

    def watched(self) -> AbstractAsyncContextManager[None]:
        """Inside the block, a caller that leaves cancels the task; on the way out `gone` tells that from other
        cancellations.
        """

    @property
    def gone(self) -> bool: ...

    async def begin(self, status: int, headers: Headers, first: bytes = b"") -> None:
        """The head, and what there is of the body."""

    async def write(self, piece: bytes) -> None: ...

    async def end(self, piece: bytes = b"") -> None: ...

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """`begin` and `end` in one, for a body that is there as a whole."""


class Call(msgspec.Struct):
    """The one context that the phases share. The upper half is given, the lower half is what became of it."""

    method: str
    route: Route
    query: bytes
    headers: Headers
    content_type: bytes
    client: ClientKey
    public_base: bytes

    outcome: Outcome = Outcome.FAILED
    status: int = 0
    tries: list[tuple[str, str]] = []
    begun: bool = False
    start: HeadStart | None = None
    ask: Ask = NOTHING_ASKED
    usage: Usage | None = None
    generation_id: str = ""
    scanner: Scanner = NO_SCANNER
    watch: ObjectWatch | None = None


class Proxy:
    """Serves calls of the data plane."""

    def __init__(self, upstream: Upstream, prefix: bytes, pool: Pool, owners: Owners, *, max_tries: int) -> None:
        self._upstream = upstream
        self._prefix = prefix
        self._pool = pool
        self._owners = owners
        self._max_tries = max_tries
        self._links = answers.Links(upstream.origin, prefix)

    async def serve(self, call: Call, caller: Caller) -> None:
        """Runs one call to its end. Raises GatewayError while nothing has been answered yet."""
        try:
            body = await caller.body()
            prepare(call, body)
            async with caller.watched():
                await self._run(call, caller, body)
        except GatewayError as error:
            call.status = error.status
            call.outcome = Outcome.REFUSED if error.fault is Fault.CLIENT else Outcome.FAILED
            raise
        except (asyncio.CancelledError, CallerGoneError):
            if not caller.gone:
                await self._say_goodbye(call, caller)
                raise
            if call.scanner.finished:
                call.outcome = Outcome.SERVED  # it hung up on the last event, having all it came for
            else:
                call.outcome, call.status = Outcome.LEFT, 499
        finally:
            self._settle(call)

    async def _run(self, call: Call, caller: Caller, body: bytes) -> None:
        owner = await self._owner(call)
        start = call.start or self.begin_head(call.method, call.route, call.query, call.headers)
        tried: set[str] = set()
        while True:
            key = self._next_key(owner, tried)
            tried.add(key.id)
            with key:
                if await self._try(call, caller, key, start, body, owner, tried):
                    return

    def begin_head(self, method: str, route: Route, query: bytes, headers: Headers) -> HeadStart:
        """The upstream head of a call, all but its key. It holds for every call of the same form."""
        target = self._prefix + route.path + (b"?" + query if query else b"")
        return self._upstream.begin(method.encode(), target, request_headers(headers))

    async def _owner(self, call: Call) -> Owner | None:
        """The owner of the object that the path names; an object of somebody else does not exist for this caller."""
        if not call.route.owned:
            return None
        try:
            owner = await self._owners.find(call.route.owned, call.route.object_id)
        except RedisUnavailable:
            raise _ownership_unknown() from None
        if owner is None or owner.client_id != call.client.id:
            raise GatewayError(
                404, "not_found", f"No such {call.route.owned}.", "It must have been made with this key."
            )
        return owner

    def _next_key(self, owner: Owner | None, tried: set[str]) -> PoolKey:
        if owner is None:
            key = self._pool.take(tried)
            if key is None:
                raise self._pool.empty()
            return key
        key = self._pool.get(owner.key_id)
        if key is None:
            raise GatewayError(
                404, "not_found", "The OpenRouter key that made this object is no longer in use.", fault=Fault.GATEWAY
            )
        return key

    def _may_repeat(self, owner: Owner | None, tried: set[str]) -> bool:
        return owner is None and len(tried) < self._max_tries and self._pool.take(tried) is not None

    async def _try(
        self,
        call: Call,
        caller: Caller,
        key: PoolKey,
        start: HeadStart,
        body: bytes,
        owner: Owner | None,
        tried: set[str],
    ) -> bool:
        """One try with one key. True when the caller has its answer, False when another key is to be asked."""
        try:
            answer = await self._upstream.send_on(start, ((b"authorization", key.authorization()),), body)
        except TransportError as error:
            call.tries.append((key.id, error.code))
            harmless = not error.sent or (call.method in _IDEMPOTENT and error.code == "closed_early")
            if harmless and self._may_repeat(owner, tried):
                return False
            raise answers.unreachable(error) from None
        async with answer:
            call.tries.append((key.id, str(answer.status)))
            told = fields(answer.headers)
            if answer.status > 399:
                verdict = judge_status(answer.status, told.get(b"retry-after", b""))
                self._pool.rest(key, verdict.rest_s)
                if verdict.try_next and self._may_repeat(owner, tried):
                    await answers.discard(answer)
                    return False
            await self._relay(call, caller, answer, told, key)
        return True

    async def _relay(self, call: Call, caller: Caller, answer: Answer, told: Fields, key: PoolKey) -> None:
        """The point of no return: from the first byte to the caller on, nothing is tried again."""
        answers.refuse_compressed(told)
        call.status = answer.status
        headers = self._head(call, answer, told, key)
        if answers.is_whole(call.route, answer.status, told):
            await self._relay_whole(call, caller, answer, headers, key)
        else:
            await self._relay_stream(call, caller, answer, told, headers)
        call.outcome = Outcome.SERVED if len(call.tries) == 1 else Outcome.RESCUED

    async def _relay_whole(
        self, call: Call, caller: Caller, answer: Answer, headers: list[tuple[bytes, bytes]], key: PoolKey
    ) -> None:
        """Small answers that have to be read before they are passed on: errors, redirects, jobs with links and ids."""
        try:
            whole = await answers.collect(answer)
        except TransportError as error:
            raise answers.unreachable(error) from None
        body = answers.cleaned(answer.status, whole)
        if call.route.relinked:
            body = self._links.rewritten(body, call.public_base)
        if call.route.lists and answer.status == 200:
            body = await self._own_items(call, body)
        if call.route.creates and answer.status < 300 and (made := answers.id_in(whole)):
            await self._owners.mark_now(call.route.creates, made, Owner(call.client.id, key.id))
        headers = [pair for pair in headers if pair[0] != b"content-length"]
        headers.append((b"content-length", b"%d" % len(body)))
        call.begun = True
        await caller.answer(answer.status, headers, b"" if call.method == "HEAD" else body)

    async def _own_items(self, call: Call, body: bytes) -> bytes:
        """A list shows a client what it made, and nothing of the others that share the pool's workspaces."""
        try:
            own = await self._owners.owned_by(call.client.id, call.route.lists, answers.ids_in_list(body))
        except RedisUnavailable:
            raise _ownership_unknown() from None
        return answers.only_items(body, own)

    async def _relay_stream(
        self, call: Call, caller: Caller, answer: Answer, told: Fields, headers: list[tuple[bytes, bytes]]
    ) -> None:
        scanner, cleaner = answers.followers(told.get(b"content-type", b"")) if call.route.inference else _NO_FOLLOWERS
        call.scanner = scanner
        call.watch = watch_for(call.route.name, told.get(b"content-type", b""))
        ready = b""
        if answer.waiting or b"content-length" in told:
            # A whole answer comes in one piece with its head, and its length is only true if nothing is cut out of it.
            try:
                piece = await answer.chunk()
            except TransportError as error:
                raise answers.unreachable(error) from None
            scanner.feed(piece)
            if call.watch is not None:
                await self._note_objects(call, call.watch, answer, piece)
            ready = cleaner.feed(piece)
        if b"content-length" in told and not cleaner.settled:
            headers = [pair for pair in headers if pair[0] != b"content-length"]
        call.begun = True
        if answer.complete:
            await caller.answer(answer.status, headers, ready + cleaner.rest())
            return
        await caller.begin(answer.status, headers, ready)
        await self._flow(call, caller, answer, cleaner)

    async def _flow(self, call: Call, caller: Caller, answer: Answer, cleaner: Cleaner) -> None:
        feed = call.scanner.feed
        clean = cleaner.feed
        watch = call.watch
        ready = b""
        try:
            while not answer.complete:
                if ready:
                    await caller.write(ready)
                piece = await answer.chunk()
                feed(piece)
                if watch is not None:
                    await self._note_objects(call, watch, answer, piece)
                ready = clean(piece)
        except TransportError as error:
            call.tries[-1] = (call.tries[-1][0], error.code)
            call.outcome = Outcome.FAILED
            await self._end_cut_stream(call, caller, answers.unreachable(error))
            raise answers.AnswerCutError from None
        await caller.end(ready + cleaner.rest())

    async def _note_objects(self, call: Call, watch: ObjectWatch, answer: Answer, piece: bytes) -> None:
        """What the answer names is its caller's before the caller hears of it."""
        made = watch.feed(piece)
        if answer.complete:
            made += watch.rest()
        for one in made:
            await self._owners.mark_now(one.kind, one.id, Owner(call.client.id, call.tries[-1][0]))

    def _head(self, call: Call, answer: Answer, told: Fields, key: PoolKey) -> list[tuple[bytes, bytes]]:
        if generation_id := told.get(b"x-generation-id"):
            call.generation_id = generation_id.decode("ascii", "replace")
            self._owners.mark("generation", call.generation_id, Owner(call.client.id, key.id))
        headers = response_headers(answer.headers)
        if 300 <= answer.status < 400:
            headers += self._links.redirect(answer)
        return headers

    async def _end_cut_stream(self, call: Call, caller: Caller, error: GatewayError) -> None:
        """A stream that broke ends with an error event in the words of its API, never as if it were complete."""
        event = answers.cut_event(call.route, call.scanner, error)
        if event:
            await caller.end(event)

    async def _say_goodbye(self, call: Call, caller: Caller) -> None:
        """The gateway itself ends the call: its time to drain is over."""
        if call.begun:
            stopping = GatewayError(503, "gateway_stopping", "The gateway is being stopped.", fault=Fault.GATEWAY)
            await self._end_cut_stream(call, caller, stopping)

    def _settle(self, call: Call) -> None:
        call.usage = call.scanner.usage


_NO_FOLLOWERS: tuple[Scanner, Cleaner] = (NO_SCANNER, NoCleaner())


def _ownership_unknown() -> GatewayError:
    return GatewayError(
        503,
        "ownership_unknown",
        "The gateway cannot look up whose objects these are right now.",
        "Try again in a moment.",
        fault=Fault.GATEWAY,
        headers=((b"retry-after", b"1"),),
    )


def prepare(call: Call, body: bytes) -> None:
    """Reads what must be read of the body. Raises a 400 that says what is wrong with it."""
    kind = call.content_type.partition(b";")[0].strip().lower()
    if call.route.inference and kind != b"multipart/form-data":
        call.ask = read_ask(body)
    elif body and (kind == b"application/json" or kind.endswith(b"+json")):
        read_json(body)
