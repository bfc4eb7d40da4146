"""Answers on their way to the caller, from a server of raw sockets; their owners stand in a real Redis."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from math import inf

import pytest

from app.core.clock import SystemClock
from app.core.errors import GatewayError
from app.core.tasks import TaskSet
from app.models.exchange import Outcome
from app.services.answers import AnswerCutError, Links
from app.services.attempt import Attempts, Begun, Whole
from app.services.call import Call
from app.services.owners import Owner, Owners
from app.services.relay import Relay
from app.services.wire import fields
from app.transport import Upstream
from tests.redis_server import RedisServer
from tests.test_services.books_rig import books_on
from tests.test_services.conftest import manager
from tests.test_services.raw_answers import (
    ALICE,
    COMMENT,
    DONE,
    END,
    JSON,
    STREAM,
    TOKEN,
    PlayedCaller,
    Step,
    call_to,
    chunk,
    head,
    says,
    start_of,
    whole,
)
from tests.test_transport.conftest import shorter, talking_to

WATCHFUL = shorter(pool_s=0.04)  # silence is noticed within hundredths of a second
KEEP_ALIVE = b": keep-alive\n\n"
ACCOUNT = b'"user_id":"org_secret"'
ERROR = b'{"error":{"code":402,"message":"sk-or-v1-0123456789abcdef is spent"},"user_id":"org_secret"}'
HALF = b'event: message\ndata: {"id":"gen-1","choices":[{"delta":{"con'
OTHER_HALF = b'tent":"Ho"}}]}\n\n'


@dataclass
class House:
    """A relay in front of a scripted answer."""

    upstream: Upstream
    owners: Owners
    relay: Relay
    jobs_seen: list[tuple[str, int, bytes]]

    async def pass_on(self, call: Call, caller: PlayedCaller, hold_s: float = 1.0) -> None:
        attempts = Attempts(self.upstream, SystemClock(), hold_s=hold_s)
        begun = await attempts.send(call, start_of(self.upstream, call), b"Bearer x", b"{}")
        assert isinstance(begun, Begun)
        await self.relay.begun(call, caller, begun, "key-1")


@contextlib.asynccontextmanager
async def house(
    redis_server: RedisServer, *steps: Step, heartbeat_s: float = inf, closes: bool = False
) -> AsyncIterator[House]:
    clock, tasks = SystemClock(), TaskSet()
    script = says(*steps, closes=closes)
    async with (
        manager(redis_server) as redis,
        books_on(redis) as rig,
        talking_to(script, timeouts=WATCHFUL) as (upstream, _),
    ):
        owners = Owners(redis, tasks, clock)
        seen: list[tuple[str, int, bytes]] = []

        def job_seen(path: str, status: int, body: bytes) -> None:
            seen.append((path, status, body))

        links = Links(upstream.origin, b"/api")
        relay = Relay(owners, rig.accounting, links, heartbeat_s=heartbeat_s, job_seen=job_seen)
        yield House(upstream, owners, relay, seen)
        await tasks.close()
        assert " 0 active" in repr(upstream)


async def test_a_stream_passes_as_it_came(redis_server: RedisServer) -> None:
    """What was held first, then piece by piece; the scanner has seen all of it."""
    async with house(redis_server, STREAM, chunk(COMMENT), 0.05, chunk(TOKEN), 0.05, chunk(DONE), END) as one:
        call, caller = call_to(), PlayedCaller()
        await one.pass_on(call, caller)

    assert (caller.status, caller.text, caller.ended) == (200, COMMENT + TOKEN + DONE, True)
    assert len(caller.pieces) > 1
    assert (call.status, call.begun, call.scanner.finished) == (200, True, True)


async def test_silence_is_filled_between_events_and_never_inside_one(redis_server: RedisServer) -> None:
    """A comment says that the stream lives; half an event is left alone until its other half comes."""
    alive, silent = asyncio.Event(), 0.3
    steps = (STREAM, chunk(TOKEN), alive, chunk(HALF), silent, chunk(OTHER_HALF), 0.05, chunk(DONE), END)

    def hear(piece: bytes) -> None:
        if piece == KEEP_ALIVE:
            alive.set()

    async with house(redis_server, *steps, heartbeat_s=0.05) as one:
        call, caller = call_to(), PlayedCaller(hear)
        await one.pass_on(call, caller)

    assert KEEP_ALIVE in caller.pieces
    assert caller.text.replace(KEEP_ALIVE, b"") == TOKEN + HALF + OTHER_HALF + DONE
    assert HALF + OTHER_HALF in caller.text
    assert all(event.startswith((b"data: ", b"event: ", b": keep-alive")) for event in caller.text.split(b"\n\n")[:-1])


@pytest.mark.parametrize(
    ("start", "pieces"),
    [
        (JSON, (b'{"id":"gen-1","choices":', b"[]}")),
        (head(200, "audio/mpeg"), (b"\xff\xfb\n\n", b"more")),
        (STREAM, (HALF, OTHER_HALF)),
    ],
    ids=["json", "audio", "half an event"],
)
async def test_what_a_comment_would_spoil_stays_silent(
    redis_server: RedisServer, start: bytes, pieces: tuple[bytes, bytes]
) -> None:
    """Only streams of events know comments."""
    steps = (start, chunk(pieces[0]), 0.3, chunk(pieces[1]), END)
    async with house(redis_server, *steps, heartbeat_s=0.05) as one:
        caller = PlayedCaller()
        await one.pass_on(call_to(), caller, hold_s=0.1)

    assert caller.text == b"".join(pieces)


async def test_without_a_heartbeat_a_silent_stream_stays_silent(redis_server: RedisServer) -> None:
    """The setting 0 means never."""
    async with house(redis_server, STREAM, chunk(TOKEN), 0.3, chunk(DONE), END) as one:
        caller = PlayedCaller()
        await one.pass_on(call_to(), caller)

    assert caller.text == TOKEN + DONE


@pytest.mark.parametrize(
    ("path", "names"),
    [
        (b"/v1/chat/completions", ("error", "choices")),
        (b"/v1/responses", ("type", "code")),
        (b"/v1/messages", ("type", "error")),
    ],
)
@pytest.mark.parametrize("sent", [TOKEN, TOKEN + HALF], ids=["between events", "inside an event"])
async def test_a_cut_stream_ends_with_an_error_event(
    redis_server: RedisServer, path: bytes, names: tuple[str, ...], sent: bytes
) -> None:
    """In the words of its API, behind what had come; it is settled as a failure of the transport."""
    async with house(redis_server, STREAM, chunk(sent), 0.05, closes=True) as one:
        call, caller = call_to(path), PlayedCaller()
        with pytest.raises(AnswerCutError):
            await one.pass_on(call, caller)

    assert caller.text.startswith(TOKEN)
    last = json.loads(caller.text.rstrip().rpartition(b"data: ")[2])
    assert set(names) <= last.keys()
    assert b"upstream_reset" in caller.text
    assert b"[DONE]" not in caller.text
    assert (call.outcome, call.tries[-1].result, call.tries[-1].masked) == (Outcome.FAILED, "closed_early", "sk-…1")


async def test_a_cut_answer_that_is_no_stream_gets_no_last_words(redis_server: RedisServer) -> None:
    """Its connection is broken off instead, so that half an answer never looks whole."""
    async with house(redis_server, JSON, chunk(b'{"id":"gen-1",'), 0.05, closes=True) as one:
        caller = PlayedCaller()
        with pytest.raises(AnswerCutError):
            await one.pass_on(call_to(), caller)

    assert caller.text == b'{"id":"gen-1",'
    assert not caller.ended


async def test_what_breaks_before_its_first_byte_is_answered_with_an_error(redis_server: RedisServer) -> None:
    """A list that is read whole has not begun yet when it breaks."""
    async with house(redis_server, JSON, chunk(b'{"data":'), 0.05, closes=True) as one:
        caller = PlayedCaller()
        with pytest.raises(GatewayError) as caught:
            await one.pass_on(call_to(b"/v1/files", "GET"), caller)

    assert caught.value.error_type == "upstream_reset"
    assert caller.status == 0


@pytest.mark.parametrize(
    "steps",
    [
        (STREAM, chunk(TOKEN), 0.05, chunk(b"data: " + ERROR + b"\n\n"), END),
        (STREAM, chunk(TOKEN + b"data: " + ERROR + b"\n\n"), END),
    ],
    ids=["later", "at once"],
)
async def test_an_error_in_a_stream_loses_the_account(redis_server: RedisServer, steps: tuple[Step, ...]) -> None:
    """It comes after the commit, so it is passed on; whose pool it was stays here."""
    async with house(redis_server, *steps) as one:
        caller = PlayedCaller()
        await one.pass_on(call_to(), caller)

    assert caller.text.startswith(TOKEN)
    assert b'"code":402' in caller.text
    assert ACCOUNT not in caller.text
    assert b"0123456789abcdef" not in caller.text


@pytest.mark.parametrize(("body", "told"), [(b'{"id":"gen-1","choices":[]}', True), (ERROR, False)])
async def test_a_length_is_told_only_where_it_stays_true(redis_server: RedisServer, body: bytes, told: bool) -> None:
    """An answer keeps its own; an error that comes after the hold loses something."""
    begun = asyncio.Event()
    start = whole(200, body)[: -len(body)]
    async with house(redis_server, start, begun, body[:9], 0.05, body[9:]) as one:
        caller = PlayedCaller()
        asyncio.get_running_loop().call_later(0.3, begun.set)
        await one.pass_on(call_to(), caller, hold_s=0.05)

    assert (b"content-length" in caller.headers) is told
    assert json.loads(caller.text)
    assert ACCOUNT not in caller.text


async def test_a_whole_error_is_cleaned(redis_server: RedisServer) -> None:
    """Without account, key and what speaks of the connection; its length is the new one, extra headers go along."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"999"), (b"set-cookie", b"a=b"),
               (b"retry-after", b"7"), (b"server", b"cloudflare")]  # fmt: skip
    async with house(redis_server) as one:
        call, caller = call_to(), PlayedCaller()
        answer = Whole(402, headers, fields(headers), ERROR)
        await one.relay.whole(call, caller, answer, "key-1", [(b"x-should-retry", b"false")])

    assert json.loads(caller.text) == {"error": {"code": 402, "message": "sk-or-... is spent"}}
    assert caller.headers == {
        b"content-type": b"application/json",
        b"retry-after": b"7",
        b"x-should-retry": b"false",
        b"content-length": b"%d" % len(caller.text),
    }
    assert (call.status, call.begun, caller.ended) == (402, True, True)


async def test_an_error_under_a_good_status_is_cleaned_whole(redis_server: RedisServer) -> None:
    """JSON and a stream that said nothing else; what it cost is still read."""
    usage = b'data: {"usage":{"prompt_tokens":3,"completion_tokens":1,"cost":0.5}}\n\n'
    for kind, body in (
        (b"application/json", b"  " + ERROR),
        (b"text/event-stream", b"data: " + ERROR + b"\n\n" + usage),
    ):
        headers = [(b"content-type", kind)]
        async with house(redis_server) as one:
            call, caller = call_to(), PlayedCaller()
            await one.relay.whole(call, caller, Whole(200, headers, fields(headers), body), "key-1")
        assert b'"code":402' in caller.text
        assert ACCOUNT not in caller.text
        assert (call.scanner.usage is not None) is (kind == b"text/event-stream")


async def test_a_head_request_gets_no_body(redis_server: RedisServer) -> None:
    """Its head says what there would be."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"57")]
    async with house(redis_server) as one:
        caller = PlayedCaller()
        await one.relay.whole(call_to(b"/v1/files/f", "HEAD"), caller, Whole(404, headers, fields(headers), ERROR), "k")

    assert (caller.status, caller.text) == (404, b"")
    assert caller.headers[b"content-length"] == b"57"


async def test_a_list_shows_only_what_its_caller_made(redis_server: RedisServer) -> None:
    """Objects of others and of nobody are cut out; the rest keeps its bytes."""
    body = b'{"object":"list","data":[{"id":"f1", "n":1},{"id":"f2"},{"id":"f3"}],"first_id":"f1","has_more":false}'
    async with house(redis_server, whole(200, body)) as one:
        await one.owners.mark_now("file", "f1", Owner(ALICE.id, "key-1"))
        await one.owners.mark_now("file", "f2", Owner("bob", "key-1"))
        caller = PlayedCaller()
        await one.pass_on(call_to(b"/v1/files", "GET"), caller)

    assert caller.text == b'{"object":"list","data":[{"id":"f1", "n":1}],"has_more":false}'
    assert caller.headers[b"content-length"] == b"%d" % len(caller.text)


async def test_a_list_whose_owners_cannot_be_looked_up_is_refused(redis_server: RedisServer) -> None:
    """Rather than shown to the wrong one."""
    async with house(redis_server, whole(200, b'{"data":[{"id":"f1"}]}')) as one:
        redis_server.kill()
        caller = PlayedCaller()
        with pytest.raises(GatewayError) as caught:
            await one.pass_on(call_to(b"/v1/files", "GET"), caller)

    assert (caught.value.status, caught.value.error_type, caller.status) == (503, "ownership_unknown", 0)


async def test_a_job_belongs_to_its_caller_before_it_hears_of_it(redis_server: RedisServer) -> None:
    """It may ask for it at once, with the key that made it; its links lead back here."""
    body = b'{"id":"job-1","polling_url":"https://openrouter.ai/api/v1/videos/job-1","status":"pending"}'
    async with house(redis_server, whole(202, body)) as one:
        caller = PlayedCaller()
        await one.pass_on(call_to(b"/v1/videos"), caller)
        assert await one.owners.find("video", "job-1") == Owner(ALICE.id, "key-1")

    assert caller.status == 202
    assert json.loads(caller.text)["polling_url"] == "http://gw/api/v1/videos/job-1"


@pytest.mark.parametrize(
    ("method", "path", "job"),
    [
        ("GET", b"/v1/videos/job-1", "/videos/job-1"),
        ("GET", b"/api/v1/videos/job-1/", "/videos/job-1"),
        ("GET", b"/openrouter/beta/batches/batch_1", "/batches/batch_1"),
        ("GET", b"/v1/videos/job-1/content", ""),
        ("GET", b"/v1/batches", ""),
        ("DELETE", b"/v1/batches/batch_1", ""),
        ("GET", b"/v1/files/file-1", ""),
        ("POST", b"/v1/videos", ""),
    ],
)
async def test_a_record_that_its_caller_asks_for_is_told_of(
    redis_server: RedisServer, method: str, path: bytes, job: str
) -> None:
    """As upstream gave it; what is no record of one job is nobody's news."""
    body = b'{"id":"job-1","status":"completed","usage":{"cost":0.25}}'
    headers = [(b"content-type", b"application/json")]
    async with house(redis_server) as one:
        call = call_to(path, method)
        await one.relay.whole(call, PlayedCaller(), Whole(200, headers, fields(headers), body), "key-1")

    assert one.jobs_seen == ([(job, 200, body)] if job else [])


async def test_what_a_tool_made_is_its_callers_before_it_hears_of_it(redis_server: RedisServer) -> None:
    """A container that an event of the stream names."""
    event = b'data: {"type":"message_delta","delta":{"container":{"id":"container_1"}}}\n\n'
    async with house(redis_server, STREAM, chunk(TOKEN), 0.05, chunk(event), 0.05, chunk(DONE), END) as one:
        order: list[str] = []
        mark_now = one.owners.mark_now

        async def noted(kind: str, object_id: str, owner: Owner) -> None:
            await mark_now(kind, object_id, owner)
            order.append(f"{kind} {object_id} {owner.client_id}")

        one.owners.mark_now = noted  # type: ignore[method-assign]
        caller = PlayedCaller(lambda piece: order.append("heard") if b"container_1" in piece else None)
        await one.pass_on(call_to(b"/v1/messages"), caller)

    assert order == ["container container_1 alice", "heard"]


async def test_a_generation_is_noted_with_its_key(redis_server: RedisServer) -> None:
    """Its id passes by in the head."""
    async with house(redis_server, whole(200, b'{"id":"gen-1"}', "x-generation-id: gen-7")) as one:
        call = call_to()
        await one.pass_on(call, PlayedCaller())
        assert call.generation_id == "gen-7"
        assert await one.owners.find("generation", "gen-7") == Owner(ALICE.id, "key-1")


@pytest.mark.parametrize("line", [b"", b"strategy=balanced; tried=x 200; skipped=none"])
async def test_the_trace_goes_with_the_head_if_there_is_one(redis_server: RedisServer, line: bytes) -> None:
    """Who may not know gets no header."""
    async with house(redis_server, whole(200, b'{"id":"gen-1"}')) as one:
        call, caller = call_to(), PlayedCaller()
        call.trace = line
        await one.pass_on(call, caller)

    assert caller.headers.get(b"x-gateway-trace", b"") == line


async def test_a_redirect_leads_through_the_gateway(redis_server: RedisServer) -> None:
    """Or nowhere."""
    async with house(redis_server) as one:
        for place, led in (("https://openrouter.ai/api/v1/x", b"/api/v1/x"), ("https://evil.example/", None)):
            headers = [(b"location", place.encode())]
            caller, answer = PlayedCaller(), Whole(307, headers, fields(headers), b"")
            if led is not None:
                await one.relay.whole(call_to(), caller, answer, "key-1")
                assert caller.headers[b"location"] == led
                continue
            with pytest.raises(GatewayError):
                await one.relay.whole(call_to(), caller, answer, "key-1")
            assert caller.status == 0
