"""The endpoints' behaviour beyond their shapes: tools, pictures, files, jobs, catalogue, control."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import random
from typing import Any

import pytest

from simulator.control import is_loopback
from simulator.settings import SimSettings
from tests.test_simulator.conftest import Rig, user
from tests.test_simulator.test_openapi import CHAT_TOOL, MESSAGES_TOOL, PICTURE, RESPONSES_TOOL, events_of


async def test_a_tool_is_called_when_weather_comes_up(rig: Rig) -> None:
    """With tools and the word, a call whose arguments fit the schema; after its result, prose."""
    choice = (await rig.chat(content="the weather?", tools=[CHAT_TOOL])).json()["choices"][0]
    call = choice["message"]["tool_calls"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("get_weather", {"city": "Paris"})
    history = [user("weather?"), choice["message"], {"role": "tool", "tool_call_id": call["id"], "content": "sun"}]
    ask = {"model": "openai/gpt-4o-mini", "messages": history, "tools": [CHAT_TOOL]}
    assert (await rig.post("/chat/completions", ask)).json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    ("more", "calls"),
    [
        ({}, False),
        ({"model": "openai/gpt-4o-mini-tools"}, True),
        ({"tool_choice": "required"}, True),
        ({"tool_choice": {"type": "function", "function": {"name": "get_weather"}}}, True),
        ({"model": "sim/echo-tools", "tool_choice": "none"}, False),
    ],
)
async def test_when_tools_are_called(rig: Rig, more: dict[str, Any], calls: bool) -> None:
    """By the model's name or by force; never when tools are off."""
    answer = await rig.chat(content="hello", **{"model": "sim/echo", "tools": [CHAT_TOOL], **more})
    assert ("tool_calls" in answer.json()["choices"][0]["message"]) is calls


async def test_streamed_tool_arguments_add_up(rig: Rig) -> None:
    """In every skin the pieces make the same JSON."""
    chat = events_of((await rig.chat(content="weather", tools=[CHAT_TOOL], stream=True)).text)
    deltas = [event["choices"][0]["delta"].get("tool_calls", [{}])[0] for event in chat]
    pieces = {"chat": "".join(delta.get("function", {}).get("arguments", "") for delta in deltas)}
    ask = {"model": "openai/gpt-4o-mini", "stream": True}
    responses = await rig.post("/responses", ask | {"input": "weather", "tools": [RESPONSES_TOOL]})
    pieces["responses"] = "".join(
        event["delta"] for event in events_of(responses.text) if event["type"].endswith("arguments.delta")
    )
    body = ask | {"messages": [user("weather")], "max_tokens": 99, "tools": [MESSAGES_TOOL]}
    messages = events_of((await rig.post("/messages", body)).text)
    pieces["messages"] = "".join(event.get("delta", {}).get("partial_json", "") for event in messages)
    assert {skin: json.loads(text) for skin, text in pieces.items()} == {skin: {"city": "Paris"} for skin in pieces}


async def test_structured_outputs_fit_their_schema(rig: Rig) -> None:
    """A JSON schema is answered with JSON."""
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": CHAT_TOOL["function"]["parameters"]}}
    content = (await rig.chat(response_format=form)).json()["choices"][0]["message"]["content"]
    assert json.loads(content) == {"city": "Paris"}


async def test_pictures_count_as_tokens(rig: Rig) -> None:
    """The same question costs more with a picture."""
    plain, seen = await rig.chat(content="what"), await rig.chat(content=[{"type": "text", "text": "what"}, PICTURE])
    more = seen.json()["usage"]["prompt_tokens"] - plain.json()["usage"]["prompt_tokens"]
    assert more == 765


async def test_the_legacy_and_cursors_paths(rig: Rig) -> None:
    """/completions has `text`; /cursor takes the flat tool form."""
    body = {"model": "openai/gpt-4o-mini", "prompt": "once", "max_tokens": 4}
    assert len((await rig.post("/completions", body)).json()["choices"][0]["text"].split()) == 4
    events = events_of((await rig.post("/completions", body | {"stream": True})).text)
    assert events[0]["choices"][0]["text"] == "You"
    assert events[-1]["usage"]["completion_tokens"] == 4
    flat = {"type": "function", "name": "f", "parameters": {"type": "object"}}
    body = {"model": "sim/echo-tools", "messages": [user("hi")], "tools": [flat]}
    message = (await rig.post("/cursor/chat/completions", body)).json()["choices"][0]["message"]
    assert message["tool_calls"][0]["function"]["name"] == "f"


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"model":"sim/echo"}',
        b'{"messages":[1],"model":"sim/echo"}',
        b'{"messages":[{"role":"user"}],"max_tokens":-1}',
        b'{"a":' * 5000,
    ],
)
async def test_bad_bodies_get_400(rig: Rig, body: bytes) -> None:
    """Whatever cannot be read is refused and costs nothing."""
    answer = await rig.client.post(f"{rig.base_url}/chat/completions", content=body)
    assert answer.status_code == 400
    assert await rig.bill() == []


async def test_responses_keep_no_state(rig: Rig) -> None:
    """Stored or continued responses are refused."""
    for more in ({"store": True}, {"previous_response_id": "resp_1"}):
        answer = await rig.post("/responses", {"model": "sim/echo", "input": "hi", **more})
        assert answer.status_code == 400


async def test_embeddings_are_the_same_in_both_encodings(rig: Rig) -> None:
    """Same text, same vector; base64 holds 32-bit floats."""
    body = {"model": "openai/text-embedding-3-small", "input": "hello", "dimensions": 8}
    numbers = (await rig.post("/embeddings", body)).json()["data"][0]["embedding"]
    packed = (await rig.post("/embeddings", body | {"encoding_format": "base64"})).json()["data"][0]["embedding"]
    assert len(numbers) == 8
    assert len(base64.b64decode(packed)) == 32


async def test_rerank_prefers_shared_words(rig: Rig) -> None:
    """The best document comes first, and `top_n` cuts."""
    body = {"model": "cohere/rerank-v3.5", "query": "red car", "documents": ["sea", "red car", "red"], "top_n": 2}
    results = (await rig.post("/rerank", body)).json()["results"]
    assert [result["index"] for result in results] == [1, 2]


async def test_speech_and_transcription(rig: Rig) -> None:
    """Audio out as bytes without usage; audio in as JSON or as a form."""
    spoken = await rig.post("/audio/speech", {"model": "openai/gpt-4o-mini-tts", "input": "hello", "voice": "nova"})
    assert spoken.headers["content-type"] == "audio/mpeg"
    assert spoken.content.startswith(b"\xff\xfb")
    assert spoken.headers["x-generation-id"].startswith("gen-tts-")
    form = {"model": "openai/whisper-large-v3", "response_format": "verbose_json"}
    files = {"file": ("a.wav", b"\x00\r\n--x" * 9000)}
    heard = await rig.client.post(f"{rig.base_url}/audio/transcriptions", data=form, files=files)
    assert heard.json()["usage"]["seconds"] == 4
    assert heard.json()["segments"]


async def test_files_stay_in_their_workspace(rig: Rig) -> None:
    """Bytes come back as they went; another workspace sees nothing."""
    content = bytes(range(256)) * 20 + b"\r\n--boundary--\r\n"
    stored = await rig.client.post(f"{rig.base_url}/files", files={"file": ("ü.bin", content, "application/x-y")})
    path = f"/files/{stored.json()['id']}"
    back = await rig.get(f"{path}/content")
    assert (back.content, back.headers["content-type"]) == (content, "application/x-y")
    headers = {"Authorization": f"Bearer {rig.simulator.add_key(account='other')}"}
    assert (await rig.get(path, headers=headers)).status_code == 404
    assert (await rig.get("/files", headers=headers)).json()["data"] == []


async def test_a_video_is_polled_until_it_is_there(rig: Rig) -> None:
    """202, pending, completed with absolute links and its cost; another account cannot see it."""
    await rig.control("settings", {"job_ms": 60_000})
    made = (await rig.post("/videos", {"model": "google/veo-3.1", "prompt": "sea", "duration": 4})).json()
    assert made["polling_url"] == f"https://openrouter.ai/api/v1/videos/{made['id']}"
    path = f"/videos/{made['id']}"
    assert (await rig.get(path)).json()["status"] == "pending"
    assert (await rig.get(f"{path}/content")).status_code == 400
    await rig.control("settings", {"clock_offset_s": 61})
    done = (await rig.get(path)).json()
    assert (done["status"], done["usage"]["cost"]) == ("completed", 1.6)
    assert (await rig.get(f"{path}/content?index=0")).headers["content-type"] == "video/mp4"
    headers = {"Authorization": f"Bearer {rig.simulator.add_key(account='other')}"}
    assert (await rig.get(path, headers=headers)).status_code == 404


@pytest.mark.parametrize("base", ["/api/v1", "/api/beta"])
async def test_batches(rig: Rig, base: str) -> None:
    """202, then results per custom_id and one row on the bill; `requests` must come last in the bytes."""
    asks = [{"custom_id": f"c{n}", "body": {"messages": [user("hi")], "max_tokens": 5}} for n in range(2)]
    asks.append({"custom_id": "bad", "body": {}})
    body = {"endpoint": "/v1/chat/completions", "model": "openai/gpt-4o-mini:batch", "requests": asks}
    url = f"{rig.origin}{base}/batches"
    made = await rig.client.post(url, json=body)
    assert made.status_code == 202
    done = (await rig.client.get(f"{url}/{made.json()['id']}")).json()
    assert [result["custom_id"] for result in done["results"]] == ["c0", "c1", "bad"]
    assert done["results"][2]["error"]["type"] == "invalid_request_error"
    assert done["usage"]["completion_tokens"] == 10
    assert (await rig.bill())[-1]["id"].startswith("gen-batch-")
    assert (await rig.client.get(url)).json()["data"][0]["results"] is None
    assert (await rig.client.delete(f"{url}/{done['id']}")).json()["deletion"]["openrouter"] == "deleted"
    wrong = {"requests": asks, "endpoint": "/v1/chat/completions", "model": "openai/gpt-4o-mini"}
    assert (await rig.client.post(url, json=wrong)).status_code == 400


async def test_the_catalogue_is_public_and_filtered(rig: Rig) -> None:
    """/models needs no key; text models by default; filters and pages work."""
    nobody = {"Authorization": ""}
    every = (await rig.get("/models?output_modalities=all", headers=nobody)).json()
    text = (await rig.get("/models", headers=nobody)).json()
    assert len(text["data"]) < len(every["data"]) == every["total_count"]
    page = (await rig.get("/models?limit=2", headers=nobody)).json()
    assert (len(page["data"]), page["links"]["next"]) == (2, "/api/v1/models?offset=2&limit=2")
    found = (await rig.get("/models?q=claude")).json()["data"]
    assert {model["id"].partition("/")[0] for model in found} == {"anthropic"}
    assert (await rig.get("/models/user", headers=nobody)).status_code == 401
    assert (await rig.get("/model/nobody/nothing")).status_code == 404


async def test_models_and_endpoints_must_match(rig: Rig) -> None:
    """An embedding model does not chat, and an unknown one is none."""
    for model, code in (("openai/text-embedding-3-small", "wrong_endpoint"), ("no/such", "model_not_found")):
        answer = await rig.chat(model)
        assert answer.status_code == 400
        assert answer.json()["error"]["availability"]["code"] == code


@pytest.mark.parametrize(("peer", "loopback"), [("127.0.0.1", True), ("::1", True), ("10.0.0.9", False), ("", False)])
def test_control_is_for_loopback(peer: str, loopback: bool) -> None:
    """Only this machine may script."""
    assert is_loopback(peer) is loopback


async def test_reset_forgets_what_happened_and_keeps_the_keys(rig: Rig) -> None:
    """Bill, scripts and requests go; the key still works."""
    await rig.chat()
    await rig.control("script", {"key": "*", "then": [{"status": 500, "times": 0}]})
    await rig.control("reset", {})
    assert (await rig.bill(), await rig.control("requests"), await rig.control("script")) == ([], [], {})
    assert (await rig.chat()).status_code == 200


async def test_clients_that_leave_at_any_point_leave_nothing_behind(rig: Rig) -> None:
    """Connections broken at random moments: no request, task or reservation stays."""
    rig.simulator.world.settings = SimSettings(first_token_ms=5, tokens_per_s=2000)
    before = len(asyncio.all_tasks())
    chance = random.Random(7)
    body = {"model": "sim/echo", "messages": [user("hi")], "input": "hi", "max_tokens": 99, "stream": True}

    async def leave_early(path: str) -> None:
        async with rig.raw(path, body) as (reader, _):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(reader.readexactly(chance.randrange(1, 6000)), chance.random() / 20)

    for _ in range(10):
        await asyncio.gather(*(leave_early(path) for path in ("/chat/completions", "/responses", "/messages") * 7))
    for _ in range(300):
        if rig.simulator.world.active == 0 and len(asyncio.all_tasks()) == before:
            break
        await asyncio.sleep(0.01)
    assert rig.simulator.world.active == 0
    assert len(asyncio.all_tasks()) == before
    assert rig.simulator.world.account("user_one").in_flight_nano == 0
    assert len(await rig.bill()) == 210


async def test_stopping_leaves_nothing_running(rig: Rig) -> None:
    """Streams in the middle, hangs and idle connections all end."""
    await rig.control("settings", {"first_token_ms": 60_000})
    body = {"model": "sim/echo", "messages": [user("hi")], "stream": True}
    async with rig.raw("/chat/completions", body) as (one, _), rig.raw("/responses", body | {"model": "sim/hang"}):
        await one.readuntil(b"PROCESSING")
        before = len(asyncio.all_tasks())
        await rig.simulator.stop()
        assert len(asyncio.all_tasks()) < before
    assert rig.simulator.world.active == 0
