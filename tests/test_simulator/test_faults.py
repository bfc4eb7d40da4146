"""Every failure on demand, over real sockets."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import httpx2
import pytest

from simulator.faults import FAULTS, Manner
from tests.test_simulator.conftest import Rig, user

PROMISED = """
    429-provider 429-free-daily 429-plain 401 402-credits 402-in-flight 402-too-big 402-key-limit 403-key-limit
    403-moderation 403-guardrail 403-guardrail-budget 403-workspace-budget 403-region 403-html 404-model 404-html
    400-context 408 413 422 500 502 503 503-html 524 529 200-error 200-error-finish stream-first-error
    stream-mid-error stream-cut reset reset-after-head hang hang-after-head half-json garbage slow
"""


def body(name: str, *, stream: bool = False) -> dict[str, Any]:
    return {"model": f"sim/{name}", "messages": [user("hi")], "stream": stream}


async def test_the_index_lists_every_promised_fault(rig: Rig) -> None:
    """`GET /_sim` tells them all, one line each."""
    listed = (await rig.control(""))["faults"]
    assert {f"sim/{name}" for name in PROMISED.split()} <= set(listed)
    assert all("\n" not in line for line in listed.values())


@pytest.mark.parametrize("name", [n for n, fault in FAULTS.items() if fault.manner in {Manner.ANSWER, Manner.HTML}])
async def test_faults_that_answer_have_their_status(rig: Rig, name: str) -> None:
    """The status is the name's; JSON carries it again, HTML does not."""
    answer = await rig.post("/chat/completions", body(name))
    assert answer.status_code == FAULTS[name].status
    if FAULTS[name].manner is Manner.HTML:
        assert answer.text.startswith("<!DOCTYPE html>")
    else:
        assert answer.json()["error"]["code"] == answer.status_code


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("429-free-daily", "openrouter_free_tier_daily"),
        ("429-free-minute", "openrouter_free_tier_minute"),
        ("429-provider", "upstream_provider_shared_pool"),
        ("402-in-flight", "openrouter_in_flight_budget"),
        ("402-credits", "openrouter_credits"),
        ("402-key-limit", "openrouter_key_limit"),
        ("403-key-limit", "openrouter_key_limit"),
        ("403-guardrail-budget", "openrouter_guardrail_budget"),
        ("403-workspace-budget", "openrouter_workspace_budget"),
    ],
)
async def test_limits_name_their_source(rig: Rig, name: str, source: str) -> None:
    """`limit_source` is the discriminator that clients branch on."""
    answer = await rig.post("/chat/completions", body(name))
    assert answer.json()["error"]["metadata"]["limit_source"] == source
    assert answer.json()["user_id"] == "user_one"


async def test_free_tier_headers_are_in_milliseconds(rig: Rig) -> None:
    """The reset is the next UTC midnight in epoch milliseconds, in the header and in the body."""
    answer = await rig.post("/chat/completions", body("429-free-daily"))
    reset = int(answer.headers["x-ratelimit-reset"])
    assert reset % 86_400_000 == 0
    assert 0 < reset - time.time() * 1000 <= 86_400_000
    assert answer.json()["error"]["metadata"]["headers"]["X-RateLimit-Reset"] == str(reset)


async def test_errors_speak_the_skin_that_was_called(rig: Rig) -> None:
    """Messages and Responses have shapes of their own."""
    anthropic = await rig.post("/messages", body("402-credits") | {"max_tokens": 9})
    assert anthropic.json()["error"]["type"] == "billing_error"
    rig.simulator.world.settings.responses_errors = "docs"
    docs = await rig.post("/responses", {"model": "sim/400-context", "input": "hi"})
    assert docs.json()["error"]["code"] == "invalid_prompt"


async def test_an_error_in_a_200(rig: Rig) -> None:
    """After the beats comes an error without choices."""
    answer = await rig.post("/chat/completions", body("200-error"))
    assert answer.status_code == 200
    assert answer.text.startswith("\n         \n")
    assert "choices" not in answer.json()
    assert answer.json()["error"]["code"] == 502


async def test_a_finish_reason_error(rig: Rig) -> None:
    """Partial content, then the error in the choice."""
    choice = (await rig.post("/chat/completions", body("200-error-finish"))).json()["choices"][0]
    assert choice["finish_reason"] == "error"
    assert choice["error"]["code"] == 502
    assert choice["message"]["content"]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_cut_ends_in_the_middle(rig: Rig, stream: bool) -> None:
    """The client sees an incomplete chunked body."""
    with pytest.raises(httpx2.RemoteProtocolError):
        await rig.post("/chat/completions", body("stream-cut", stream=stream))


async def test_half_a_json_body_ends_properly(rig: Rig) -> None:
    """The framing is right, the JSON is not."""
    answer = await rig.post("/chat/completions", body("half-json"))
    assert answer.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        answer.json()


@pytest.mark.parametrize("name", ["reset", "reset-after-head"])
async def test_resets(rig: Rig, name: str) -> None:
    """The connection ends with RST, before any byte or after the head."""
    async with rig.raw("/chat/completions", body(name)) as (reader, _):
        if name == "reset-after-head":
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        with pytest.raises(ConnectionResetError):
            await reader.read()


async def test_garbage_is_not_http(rig: Rig) -> None:
    """The answer cannot be parsed."""
    with pytest.raises(httpx2.RemoteProtocolError):
        await rig.post("/chat/completions", body("garbage"))


@pytest.mark.parametrize("name", ["hang", "hang-after-head"])
async def test_hangs_last_until_the_client_leaves(rig: Rig, name: str) -> None:
    """Nothing comes; nothing stays behind when the client has gone."""
    async with rig.raw("/chat/completions", body(name)) as (reader, _):
        if name == "hang-after-head":
            await reader.readuntil(b"\r\n\r\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.1)
        assert rig.simulator.world.active == 1
    await _idle(rig)


async def _idle(rig: Rig) -> None:
    for _ in range(200):
        if rig.simulator.world.active == 0:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("a request is still running")


async def test_slow_is_slow_but_good(rig: Rig) -> None:
    """Two seconds of comments before the first token."""
    async with rig.raw("/chat/completions", body("slow", stream=True)) as (reader, _):
        await reader.readuntil(b"\r\n\r\n")
        begun = time.monotonic()
        await reader.readuntil(b'"content"')
        assert time.monotonic() - begun > 1.5


async def test_missing_and_wrong_keys_get_401(rig: Rig) -> None:
    """Two texts for two mistakes, and no account id in either."""
    missing = await rig.get("/key", headers={"Authorization": ""})
    assert missing.json()["error"] == {"code": 401, "message": "Missing Authentication header"}
    wrong = await rig.get("/key", headers={"Authorization": "Bearer sk-or-v1-nobody"})
    assert wrong.json()["error"]["message"] == "User not found."
    assert "user_id" not in wrong.json()


async def test_an_x_api_key_wins_on_messages(rig: Rig) -> None:
    """As seen upstream: the placeholder is taken although the bearer is right."""
    ask = {"model": "openai/gpt-4o-mini", "messages": [user("hi")], "max_tokens": 5}
    assert (await rig.post("/messages", ask, headers={"x-api-key": "placeholder"})).status_code == 401
    assert (await rig.post("/chat/completions", ask, headers={"x-api-key": "placeholder"})).status_code == 200
