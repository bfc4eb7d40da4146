"""One try, against a server of raw sockets that says exactly what a test scripts."""

from __future__ import annotations

import asyncio
import json

import pytest

from app.core.clock import SystemClock
from app.core.errors import GatewayError
from app.services import attempt
from app.services.attempt import Attempts, Begun, Failure
from app.services.call import Call
from app.services.judge import Broken
from app.services.upstream_error import UpstreamError
from app.transport import Origin, Upstream
from tests.test_services.raw_answers import (
    COMMENT,
    DONE,
    END,
    JSON,
    STREAM,
    TOKEN,
    Step,
    call_to,
    chunk,
    head,
    says,
    start_of,
    whole,
)
from tests.test_transport.conftest import pool_to, read_all, read_request, shorter, talking_to

BEAT = b"\n         \n"
ERROR = {"error": {"code": 429, "message": "Slow down", "metadata": {"limit_source": "openrouter_free_tier_minute"}}}
ERROR_EVENT = b"data: " + json.dumps(ERROR).encode() + b"\n\n"
FAILED_EVENT = (
    b'event: response.failed\ndata: {"type":"response.failed","response":{"object":"response","status":"failed",'
    b'"error":{"code":"rate_limit_exceeded","message":"no"}}}\n\n'
)
MESSAGES_EVENT = b'event: error\ndata: {"type":"error","error":{"type":"rate_limit_error","message":"no"}}\n\n'
ERROR_BODY = json.dumps(ERROR).encode()
ANSWER = b'{"id":"gen-1","choices":[{"message":{"content":"Hi"}}]}'


async def tried(upstream: Upstream, call: Call | None = None, hold_s: float = 1.0) -> Begun | Failure:
    call = call or call_to()
    attempts = Attempts(upstream, SystemClock(), hold_s=hold_s)
    return await attempts.send(call, start_of(upstream, call), b"Bearer sk-or-v1-pool", b"{}")


@pytest.mark.parametrize(
    ("steps", "first", "rest"),
    [
        ((STREAM, chunk(TOKEN), 0.05, chunk(DONE), END), TOKEN, DONE),
        ((STREAM, chunk(COMMENT), 0.05, chunk(TOKEN), 0.05, chunk(DONE), END), COMMENT + TOKEN, DONE),
        ((STREAM, chunk(TOKEN + ERROR_EVENT), END), TOKEN + ERROR_EVENT, b""),
        ((whole(200, ANSWER),), ANSWER, b""),
        ((JSON, chunk(BEAT), 0.05, chunk(BEAT), 0.05, chunk(ANSWER), END), BEAT + BEAT + ANSWER, b""),
        ((whole(200, b'{"id":"gen-1","note":"an \\"error\\""}'),), b'{"id":"gen-1","note":"an \\"error\\""}', b""),
        ((head(200, "audio/mpeg"), chunk(b"\xff\xfb"), 0.05, chunk(b"more"), END), b"\xff\xfb", b"more"),
        ((whole(204, b""),), b"", b""),
    ],
    ids=["stream", "comments", "error after a token", "json", "heartbeats", "speaks of errors", "audio", "empty"],
)
async def test_an_answer_begins_with_its_first_word(steps: tuple[Step, ...], first: bytes, rest: bytes) -> None:
    """What was held until then goes first, nothing is lost, and at the end the connection is back."""
    async with talking_to(says(*steps)) as (upstream, server):
        found = await tried(upstream)

        assert isinstance(found, Begun)
        assert found.first[: len(first)] == first
        assert found.first + await read_all(found.answer) == first + rest
        found.answer.close()
        assert " 1 idle, 0 active" in repr(upstream)
        assert server.opened == 1


@pytest.mark.parametrize(
    ("steps", "body"),
    [
        ((STREAM, chunk(ERROR_EVENT), END), ERROR_EVENT),
        ((STREAM, chunk(COMMENT), 0.05, chunk(ERROR_EVENT), END), COMMENT + ERROR_EVENT),
        ((STREAM, chunk(COMMENT), 0.05, chunk(FAILED_EVENT), END), COMMENT + FAILED_EVENT),
        ((STREAM, chunk(MESSAGES_EVENT), END), MESSAGES_EVENT),
        ((STREAM, chunk(ERROR_EVENT), 0.05, chunk(DONE), END), ERROR_EVENT + DONE),
        ((whole(200, ERROR_BODY),), ERROR_BODY),
        ((JSON, chunk(BEAT), 0.05, chunk(ERROR_BODY[:20]), 0.05, chunk(ERROR_BODY[20:]), END), BEAT + ERROR_BODY),
        ((JSON, chunk(BEAT), 0.05, chunk(ERROR_BODY[:5]), 0.05, chunk(ERROR_BODY[5:]), END), BEAT + ERROR_BODY),
    ],
    ids=["chat", "after comments", "responses", "messages", "two packets", "json", "heartbeats", "cut name"],
)
async def test_an_error_before_the_first_token_is_a_failure(steps: tuple[Step, ...], body: bytes) -> None:
    """Under a good status; it is handed back whole, and understood. The connection serves the next call."""
    async with talking_to(says(*steps)) as (upstream, server):
        for _ in range(2):
            found = await tried(upstream)

            assert isinstance(found, Failure)
            assert found.answer is not None
            assert isinstance(found.outcome, UpstreamError)
            assert (found.answer.status, found.answer.body, found.outcome.status) == (200, body, 429)
            assert (found.result, found.error) == ("200", None)
            assert " 1 idle, 0 active" in repr(upstream)
        assert server.opened == 1


@pytest.mark.parametrize(("held", "kind"), [(b"", STREAM), (COMMENT, STREAM), (BEAT, JSON), (b'{"err', JSON)])
async def test_after_the_hold_the_answer_begins_undecided(held: bytes, kind: bytes) -> None:
    """A caller must hear something in time; from then on it gets what comes, an error too."""
    over = asyncio.Event()
    steps = (kind, chunk(held)) if held else (kind,)
    async with talking_to(says(*steps, over, chunk(b"rest"), END)) as (upstream, _):
        found = await tried(upstream, hold_s=0.05)

        assert isinstance(found, Begun)
        assert found.first == held
        over.set()
        assert await read_all(found.answer) == b"rest"


async def test_a_failed_stream_that_does_not_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has been said; the connection is of no more use."""
    monkeypatch.setattr(attempt, "_REST_S", 0.05)
    async with talking_to(says(STREAM, chunk(ERROR_EVENT), asyncio.Event())) as (upstream, _):
        found = await tried(upstream)

        assert isinstance(found, Failure)
        assert found.answer is not None
        assert found.answer.body == ERROR_EVENT
        assert " 0 idle, 0 active" in repr(upstream)


async def test_a_failed_stream_that_breaks_is_still_understood() -> None:
    """What was said counts more than how it ended."""
    async with talking_to(says(STREAM, chunk(ERROR_EVENT), closes=True)) as (upstream, _):
        found = await tried(upstream)

        assert isinstance(found, Failure)
        assert isinstance(found.outcome, UpstreamError)
        assert found.outcome.limit_source == "openrouter_free_tier_minute"
        assert " 0 idle, 0 active" in repr(upstream)


@pytest.mark.parametrize(("status", "body"), [(429, ERROR_BODY), (500, b"<html>"), (404, b"")])
async def test_a_refusal_is_read_whole(status: int, body: bytes) -> None:
    """Status, headers and body are kept as they came, so that they can be relayed."""
    async with talking_to(says(whole(status, body, "retry-after: 7"))) as (upstream, _):
        found = await tried(upstream)

        assert isinstance(found, Failure)
        assert found.answer is not None
        assert isinstance(found.outcome, UpstreamError)
        assert (found.answer.status, found.answer.body, found.result) == (status, body, str(status))
        assert (found.answer.told[b"retry-after"], found.outcome.retry_after_s) == (b"7", 7.0)
        assert " 1 idle, 0 active" in repr(upstream)


async def test_a_redirect_is_no_error_and_is_kept() -> None:
    """Whoever relays decides about its place."""
    async with talking_to(says(whole(302, b"", "location: /api/v1/other"))) as (upstream, _):
        found = await tried(upstream)

        assert isinstance(found, Failure)
        assert found.outcome is None
        assert found.answer is not None
        assert found.answer.told[b"location"] == b"/api/v1/other"


@pytest.mark.parametrize(
    ("steps", "code", "kind"),
    [
        ((), "closed_early", "upstream_reset"),
        ((b"SMTP ready\r\n",), "protocol", "upstream_protocol"),
        ((STREAM,), "closed_early", "upstream_reset"),
        ((STREAM, chunk(COMMENT), 0.05), "closed_early", "upstream_reset"),
        ((whole(200, ERROR_BODY)[:-4],), "closed_early", "upstream_reset"),
        ((whole(429, ERROR_BODY)[:-4],), "closed_early", "upstream_reset"),
    ],
    ids=["no answer", "no http", "after the head", "after a comment", "half an error", "half a refusal"],
)
async def test_what_broke_is_told_and_had_been_sent(steps: tuple[Step, ...], code: str, kind: str) -> None:
    """Nothing went to the caller; the gateway's own words stand ready."""
    async with talking_to(says(*steps, closes=True)) as (upstream, _):
        found = await tried(upstream)

        assert isinstance(found, Failure)
        assert found.outcome == Broken(code, sent=True)
        assert found.answer is None
        assert found.error is not None
        assert (found.error.error_type, found.result) == (kind, code)
        assert " 0 idle, 0 active" in repr(upstream)


async def test_silence_is_told_as_such() -> None:
    """Before the head, and behind it while the answer is held."""
    quick = shorter(first_byte_s=0.1, idle_s=0.1)
    for steps, code in (((), "first_byte_timeout"), ((STREAM, chunk(COMMENT)), "idle_timeout")):
        async with talking_to(says(*steps, asyncio.Event()), timeouts=quick) as (upstream, _):
            found = await tried(upstream)
            assert isinstance(found, Failure)
            assert found.outcome == Broken(code, sent=True)
            assert " 0 active" in repr(upstream)


async def test_where_nobody_listens_nothing_was_sent() -> None:
    """So the call may be tried again without a doubt."""
    async with pool_to(Origin("http", "127.0.0.1", 1)) as upstream:
        found = await tried(upstream)

        assert isinstance(found, Failure)
        assert isinstance(found.outcome, Broken)
        assert not found.outcome.sent
        assert found.error is not None
        assert found.error.status == 502


async def test_a_compressed_answer_is_refused() -> None:
    """No other key would mend it; the connection is not kept."""
    packed = head(200, "application/json", "content-encoding: gzip")
    async with talking_to(says(packed, chunk(b"\x1f\x8b"))) as (upstream, _):
        with pytest.raises(GatewayError) as caught:
            await tried(upstream)

        assert caught.value.error_type == "upstream_encoding"
        assert " 0 active" in repr(upstream)


async def test_what_is_no_inference_begins_with_its_head() -> None:
    """Files and lists flow at once: nothing of theirs is held."""
    over = asyncio.Event()
    async with talking_to(says(JSON, over, chunk(ERROR_BODY), END)) as (upstream, _):
        found = await tried(upstream, call_to(b"/v1/files/f", "GET"))

        assert isinstance(found, Begun)
        assert found.first == b""
        over.set()
        assert await read_all(found.answer) == ERROR_BODY


@pytest.mark.parametrize("steps", [(), (STREAM,), (STREAM, chunk(COMMENT))])
async def test_a_caller_that_leaves_frees_the_connection(steps: tuple[Step, ...]) -> None:
    """While upstream is silent, while the answer is held, while it is listened to."""
    async with talking_to(says(*steps, asyncio.Event())) as (upstream, server):
        task = asyncio.get_running_loop().create_task(tried(upstream))
        while not server.open:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)

        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert " 0 idle, 0 active" in repr(upstream)


async def test_the_key_goes_out_as_the_only_authorization() -> None:
    """Behind the head that all calls of this form share."""
    seen: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await read_request(reader))[0])
        writer.write(whole(200, ANSWER))

    async with talking_to(script) as (upstream, _):
        await tried(upstream)

    assert seen[0].lower().count(b"authorization:") == 1
    assert b"Bearer sk-or-v1-pool\r\n" in seen[0]
