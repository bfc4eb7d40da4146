"""An answer on its way to the caller: from its first byte on, nothing is tried again.

Bytes pass as they came but for what is the pool's account; a copy of them is watched for usage and for what they made.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from app.core.errors import Fault, GatewayError
from app.core.redis import RedisUnavailable
from app.models.exchange import Outcome
from app.services import answers
from app.services.accounting import Accounting
from app.services.attempt import Begun, Whole
from app.services.call import Call, Caller
from app.services.cleaning import Cleaner, NoCleaner
from app.services.object_ids import ObjectWatch, watch_for
from app.services.owners import Owner, Owners
from app.services.sse import NO_SCANNER, Scanner
from app.services.wire import response_headers
from app.transport import Answer, Sink, TransportError

Pairs = list[tuple[bytes, bytes]]
JobSeen = Callable[[str, int, bytes], None]
"""Is told of a job's record that a caller has asked for: the job's path, the answer's status and body."""

# More than what is kept of a body.
_MOST_KEPT = 256 * 1024

# What is billed when it has ended, and where its record is.
_JOBS = {"video": "videos", "batch": "batches"}
_SLASHES_OF_A_RECORD = 3  # /v1/videos/{id}
_HEARTBEAT = b": keep-alive\n\n"
_NO_FOLLOWERS: tuple[Scanner, Cleaner] = (NO_SCANNER, NoCleaner())


class Relay:
    """Passes answers on. `heartbeat_s`: a stream's silence after which its caller gets a comment."""

    def __init__(
        self,
        owners: Owners,
        accounting: Accounting,
        links: answers.Links,
        *,
        heartbeat_s: float,
        job_seen: JobSeen | None = None,
    ) -> None:
        self._owners = owners
        self._accounting = accounting
        self._links = links
        self._heartbeat_s = heartbeat_s
        self._job_seen = job_seen

    async def begun(self, call: Call, caller: Caller, begun: Begun, key_id: str) -> None:
        """Raises AnswerCutError where the answer breaks."""
        answer, told = begun.answer, begun.told
        try:
            call.status = answer.status
            self._note_generation(call, key_id)
            self._accounting.answered(call, told)
            if self._accounting.waits:
                await self._accounting.proven()
            if answers.is_whole(call.route, told):
                body = begun.first + await answers.collect(answer)
                await self.whole(call, caller, Whole(answer.status, answer.headers, told, body), key_id)
            else:
                await self._stream(call, caller, begun, key_id)
        except TransportError as error:
            if not call.begun:
                raise answers.unreachable(error) from None
            call.tries[-1] = msgspec.structs.replace(call.tries[-1], result=error.code)
            call.outcome = Outcome.FAILED
            await self.end_cut(call, caller, answers.unreachable(error))
            raise answers.AnswerCutError from None
        finally:
            answer.close()

    async def whole(self, call: Call, caller: Caller, whole: Whole, key_id: str, extra: Pairs | None = None) -> None:
        """An answer that had to be read before it is passed on: an error, a redirect, a job with links and ids."""
        status, body = whole.status, whole.body
        call.status = status
        if call.kept is not None:
            call.kept += body[:_MOST_KEPT]
        self._note_generation(call, key_id)
        content_type = whole.told.get(b"content-type", b"")
        if call.route.inference and status < 300:
            call.scanner, cleaner = answers.followers(content_type)
            call.scanner.feed(body)
            cleaned = cleaner.feed(body) + cleaner.rest()
        else:
            cleaned = answers.cleaned(status, body)
        if call.route.relinked:
            cleaned = self._links.rewritten(cleaned, call.public_base)
        if self._job_seen is not None and (job := _job_asked_for(call)):
            self._job_seen(job, status, body)
        if call.route.lists and status == 200:
            cleaned = await self._own_items(call, cleaned)
        if call.route.creates and status < 300 and (made := answers.id_in(body)):
            await self._owners.mark_now(call.route.creates, made, Owner(call.client.id, key_id))
            if call.route.creates in _JOBS:
                self._accounting.job_made(call, f"/{_JOBS[call.route.creates]}/{made}")
        headers = [*self._head(call, whole.headers, whole, key_id), *(extra or [])]
        if call.method != "HEAD":  # there the length speaks of a body that does not come
            headers = [pair for pair in headers if pair[0] != b"content-length"]
            headers.append((b"content-length", b"%d" % len(cleaned)))
        call.begun = True
        await caller.answer(status, headers, b"" if call.method == "HEAD" else cleaned)

    async def _own_items(self, call: Call, body: bytes) -> bytes:
        """A list shows a client what it made, and nothing of the others that share the pool's workspaces."""
        try:
            own = await self._owners.owned_by(call.client.id, call.route.lists, answers.ids_in_list(body))
        except RedisUnavailable:
            raise ownership_unknown() from None
        return answers.only_items(body, own)

    async def _stream(self, call: Call, caller: Caller, begun: Begun, key_id: str) -> None:
        answer, told, piece = begun.answer, begun.told, begun.first
        content_type = told.get(b"content-type", b"")
        scanner, cleaner = answers.followers(content_type) if call.route.inference else _NO_FOLLOWERS
        call.scanner = scanner
        watch = watch_for(call.route.name, content_type)
        headers = self._head(call, answer.headers, begun, key_id)
        if not piece and (answer.waiting or b"content-length" in told):
            # A whole answer comes in one piece with its head, and its length is only true if nothing is cut out of it.
            piece = await answer.chunk()
        scanner.feed(piece)
        ready = cleaner.feed(piece)
        if call.kept is not None:
            call.kept += piece
        if watch is not None:
            await self._note_objects(call, watch, answer, piece)
        if b"content-length" in told and not cleaner.settled:
            headers = [pair for pair in headers if pair[0] != b"content-length"]
        call.begun = True
        if answer.complete:
            await caller.answer(answer.status, headers, ready + cleaner.rest())
            return
        await caller.begin(answer.status, headers, ready)
        await self._flow(call, caller, answer, cleaner, watch)

    async def _flow(
        self, call: Call, caller: Caller, answer: Answer, cleaner: Cleaner, watch: ObjectWatch | None
    ) -> None:
        scanner, clean, patience_s = call.scanner, cleaner.feed, self._heartbeat_s
        feed = scanner.feed
        sink: Sink | None = None
        if (push := caller.push) is not None and watch is None and call.kept is None:
            sink = _straight(feed, clean, push)
        ready = b""
        while not answer.complete:
            if ready:
                await caller.write(ready)
                ready = b""
            silent = sink is not None and await answer.pour(sink, patience_s)
            piece = None if silent else await answer.chunk_within(patience_s)
            if piece is None:
                # Never inside an event; what is not a stream of events stays silent.
                ready = _HEARTBEAT if scanner.between_events else b""
                continue
            feed(piece)
            ready = clean(piece)
            if call.kept is not None and len(call.kept) < _MOST_KEPT:
                call.kept += piece
            if watch is not None:
                await self._note_objects(call, watch, answer, piece)
        await caller.end(ready + cleaner.rest())

    async def _note_objects(self, call: Call, watch: ObjectWatch, answer: Answer, piece: bytes) -> None:
        """Objects that a tool made are their caller's before the caller hears of them."""
        made = watch.feed(piece)
        if answer.complete:
            made += watch.rest()
        for one in made:
            await self._owners.mark_now(one.kind, one.id, Owner(call.client.id, call.tries[-1].key_id))

    def _note_generation(self, call: Call, key_id: str) -> None:
        if call.generation_id:
            self._owners.mark("generation", call.generation_id, Owner(call.client.id, key_id))

    def _head(self, call: Call, received: Pairs, head: Begun | Whole, key_id: str) -> Pairs:
        headers = response_headers(received)
        headers += call.limit_headers
        if isinstance(head, Whole) and 300 <= head.status < 400:
            headers += self._links.redirect(head)
        if call.trace:
            headers.append((b"x-gateway-trace", call.trace))
        return headers

    async def end_cut(self, call: Call, caller: Caller, error: GatewayError) -> None:
        """A stream that broke ends with an error event in the words of its API, never as if it were complete."""
        event = answers.cut_event(call.route, call.scanner, error)
        if event:
            await caller.end(event)


def _straight(feed: Callable[[bytes], None], clean: Callable[[bytes], bytes], push: Sink) -> Sink:
    """The usual stream goes from socket to socket: nobody is woken for a piece of it."""

    def passed_on(piece: bytes) -> bool:
        feed(piece)
        ready = clean(piece)
        return not ready or push(ready)

    return passed_on


def _job_asked_for(call: Call) -> str:
    """The path of the job whose record this call asks for, if it asks for one: its content is something else."""
    route = call.route
    if route.owned not in _JOBS or call.method != "GET" or route.path.rstrip(b"/").count(b"/") != _SLASHES_OF_A_RECORD:
        return ""
    return f"/{_JOBS[route.owned]}/{route.object_id}"


def ownership_unknown() -> GatewayError:
    return GatewayError(
        503,
        "ownership_unknown",
        "The gateway cannot look up whose objects these are right now.",
        "Try again in a moment.",
        fault=Fault.GATEWAY,
        headers=((b"retry-after", b"1"),),
    )
