"""The proxied paths as one ASGI application: who serves what, and what is reported of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.api.data_plane import DataPlane
from app.core.clock import SystemClock
from app.core.errors import GatewayError
from app.core.redis import RedisUnavailable
from app.middleware.facts import Facts
from app.models.exchange import Outcome
from app.models.keys import ClientKey
from app.models.usage import Spent, Usage
from app.services.answers import AnswerCutError
from app.services.fetch import Fetched

ALICE = ClientKey(id="alice", name="Alice", digest="", masked="gw_live_…abcd")


class Parts:
    """Stands in for proxy, catalogue and tally, and notes how it is used."""

    def __init__(self, *, cut: bool = False, down: bool = False) -> None:
        self.cut, self.down = cut, down
        self.base = b""
        self.asked: list[bytes] = []

    async def serve(self, call: Any, caller: Any) -> None:
        self.base = call.public_base
        call.outcome, call.status, call.tries = Outcome.SERVED, 200, [("k", "200")]
        call.usage = Usage(input_tokens=1, output_tokens=2, cost_nano=30)
        await caller.begin(200, [])
        if self.cut:
            call.outcome = Outcome.FAILED
            raise AnswerCutError
        await caller.end()

    async def answer(self, target: bytes, headers: Any) -> Fetched:
        self.asked.append(target)
        return Fetched(200, ((b"content-length", b"999"), (b"etag", b"e")), b"[]")

    async def spent(self, client_id: str) -> Spent:
        if self.down:
            raise RedisUnavailable("down")
        return Spent(5, 4, 3, 2)

    async def standings(self, *_: Any) -> list[object]:
        return []


async def run(
    parts: Parts, path: bytes, method: str = "GET", query: bytes = b"", public_url: str = "", client: Any = ALICE
) -> tuple[Facts, list[dict[str, Any]]]:
    facts = Facts(host=b"gw:8080", client=client)
    scope = {
        "type": "http",
        "method": method,
        "path": path.decode(),
        "raw_path": path,
        "query_string": query,
        "headers": [],
        "scheme": "http",
        "gateway": facts,
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    plane = DataPlane(parts, parts, parts, dict, SystemClock(), public_url=public_url)  # type: ignore[arg-type]
    await plane(scope, receive, send)  # type: ignore[arg-type]
    return facts, sent


async def test_a_proxied_call_is_reported() -> None:
    """Outcome, tries and cost reach the log line."""
    parts = Parts()
    facts, _ = await run(parts, b"/v1/chat/completions", "POST")

    assert (facts.route, facts.outcome, facts.cost_nano) == ("chat/completions", "served", 30)
    assert parts.base == b"http://gw:8080"


async def test_links_follow_the_public_address() -> None:
    """The address that people use may be another than the one called."""
    parts = Parts()
    await run(parts, b"/v1/videos", "POST", public_url="https://ai.example.com")

    assert parts.base == b"https://ai.example.com"


async def test_a_cut_answer_stays_incomplete() -> None:
    """No last message is sent, so the server closes the connection."""
    facts, sent = await run(Parts(cut=True), b"/v1/chat/completions", "POST")

    assert [message["type"] for message in sent] == ["http.response.start"]
    assert facts.outcome == "failed"


@pytest.mark.parametrize(("method", "body"), [("GET", b"[]"), ("HEAD", b"")])
async def test_catalogues_come_from_the_cache(method: str, body: bytes) -> None:
    """With their query, and a length that is true."""
    parts = Parts()
    _, sent = await run(parts, b"/openrouter/models", method, b"a=b%2F")

    assert parts.asked == [b"/v1/models?a=b%2F"]
    assert sent[0]["headers"] == [(b"etag", b"e"), (b"content-length", b"2")]
    assert sent[1]["body"] == body


@pytest.mark.parametrize(
    ("path", "total"), [(b"/v1/key", "usage"), (b"/v1/auth/key", "usage"), (b"/v1/credits", "total_usage")]
)
async def test_the_own_account_is_answered_here(path: bytes, total: str) -> None:
    """From the client's own figures."""
    _, sent = await run(Parts(), path)

    assert json.loads(sent[1]["body"])["data"][total] == 5e-9


@pytest.mark.parametrize(
    ("path", "method", "down", "status"),
    [
        (b"/v1/keys", "GET", False, 403),
        (b"/api/nothing", "GET", False, 404),
        (b"/v1/key", "POST", False, 405),
        (b"/v1/key", "GET", True, 503),
    ],
)
async def test_refusals(path: bytes, method: str, down: bool, status: int) -> None:
    """Closed, absent, read-only, and not to be known now."""
    with pytest.raises(GatewayError) as caught:
        await run(Parts(down=down), path, method)

    assert caught.value.status == status


async def test_nobody_is_served_without_a_client() -> None:
    """A hole in the layers would be an error, not an open door."""
    with pytest.raises(GatewayError) as caught:
        await run(Parts(), b"/v1/chat/completions", "POST", client=None)

    assert caught.value.status == 401
