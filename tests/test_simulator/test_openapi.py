"""The simulator's answers against OpenRouter's own description of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from simulator.faults import FAULTS, Manner
from tests.test_simulator.conftest import Rig, user
from tests.test_simulator.openapi import OpenApi

WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CHAT_TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}
RESPONSES_TOOL = {"type": "function", "name": "get_weather", "parameters": WEATHER, "strict": True}
MESSAGES_TOOL = {"name": "get_weather", "input_schema": WEATHER}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


async def test_the_check_itself_can_fail(openapi: OpenApi) -> None:
    """A body with a missing field does not pass."""
    with pytest.raises(AssertionError, match="required property"):
        openapi.check_schema("ChatResult", {"id": "x"})


WHOLE: list[tuple[str, dict[str, Any]]] = [
    ("/chat/completions", {"messages": [user("hi")]}),
    ("/chat/completions", {"messages": [user("hi")], "reasoning": {"effort": "low"}}),
    ("/chat/completions", {"messages": [user("weather?")], "tools": [CHAT_TOOL]}),
    ("/chat/completions", {"messages": [user([{"type": "text", "text": "what is it"}, PICTURE])], "max_tokens": 3}),
    ("/responses", {"input": "hi"}),
    ("/responses", {"input": [user("weather?")], "tools": [RESPONSES_TOOL]}),
    ("/responses", {"input": "hi", "max_output_tokens": 3, "reasoning": {"effort": "low"}}),
    ("/messages", {"messages": [user("hi")], "max_tokens": 50}),
    ("/messages", {"messages": [user("weather?")], "max_tokens": 50, "tools": [MESSAGES_TOOL]}),
    ("/messages", {"messages": [user("hi")], "max_tokens": 50, "thinking": {"type": "enabled", "budget_tokens": 9}}),
    ("/embeddings", {"model": "openai/text-embedding-3-small", "input": ["a", "b"]}),
    ("/embeddings", {"model": "openai/text-embedding-3-small", "input": "a", "encoding_format": "base64"}),
    ("/rerank", {"model": "cohere/rerank-v3.5", "query": "red car", "documents": ["blue", {"text": "red car"}]}),
    ("/images", {"model": "google/gemini-2.5-flash-image", "prompt": "a cat", "n": 2}),
    ("/audio/transcriptions", {"model": "openai/whisper-large-v3", "input_audio": {"data": "AAAA", "format": "wav"}}),
]


@pytest.mark.parametrize(("path", "body"), WHOLE)
async def test_whole_answers_are_valid(rig: Rig, openapi: OpenApi, path: str, body: dict[str, Any]) -> None:
    """Every whole inference answer has the shape that the specification promises."""
    answer = await rig.post(path, {"model": "openai/gpt-4o-mini", **body})
    assert answer.status_code == 200
    openapi.check_answer("POST", path, 200, answer.json())


STREAMED = [(path, body) for path, body in WHOLE[:10]]
EVENTS = {"/chat/completions": "ChatStreamChunk", "/responses": "StreamEvents", "/messages": "MessagesStreamEvents"}


def events_of(text: str) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


@pytest.mark.parametrize(("path", "body"), STREAMED)
async def test_stream_events_are_valid(rig: Rig, openapi: OpenApi, path: str, body: dict[str, Any]) -> None:
    """Every event of every stream has the shape that the specification promises."""
    answer = await rig.post(path, {"model": "openai/gpt-4o-mini", "stream": True, **body})
    events = events_of(answer.text)
    assert len(events) > 4
    for event in events:
        openapi.check_schema(EVENTS[path], event)


async def test_image_stream_events_are_valid(rig: Rig, openapi: OpenApi) -> None:
    """Partial and completed pictures have the promised shape."""
    body = {"model": "google/gemini-2.5-flash-image", "prompt": "a cat", "stream": True}
    events = events_of((await rig.post("/images", body)).text)
    assert [event["type"] for event in events] == ["image_generation.partial_image", "image_generation.completed"]
    for event in events:
        openapi.check("/components/schemas/ImageStreamingResponse/properties/data", event)


READ = [
    ("/models", "/models"),
    ("/models?output_modalities=all", "/models"),
    ("/models/count", "/models/count"),
    ("/models/user", "/models/user"),
    ("/models/openai/gpt-4o-mini/endpoints", "/models/{author}/{slug}/endpoints"),
    ("/model/openai/gpt-4o-mini", "/model/{author}/{slug}"),
    ("/embeddings/models", "/embeddings/models"),
    ("/images/models", "/images/models"),
    ("/videos/models", "/videos/models"),
    ("/providers", "/providers"),
    ("/endpoints/zdr", "/endpoints/zdr"),
    ("/key", "/key"),
    ("/credits", "/credits"),
    ("/keys", "/keys"),
    ("/workspaces", "/workspaces"),
    ("/activity", "/activity"),
]


@pytest.mark.parametrize(("target", "path"), READ)
async def test_catalogues_and_records_are_valid(rig: Rig, openapi: OpenApi, target: str, path: str) -> None:
    """What can be read has the promised shape, after some use and at another day."""
    rig.simulator.add_key(account="user_one", limit="0.5", limit_reset="daily")
    await rig.chat()
    await rig.control("settings", {"clock_offset_s": 86_400})
    administers = path in {"/credits", "/keys", "/workspaces", "/activity"}
    headers = {"Authorization": f"Bearer {rig.management}"} if administers else {}
    answer = await rig.get(target, headers=headers)
    assert answer.status_code == 200
    openapi.check_answer("GET", path, 200, answer.json())


async def test_generation_records_are_valid(rig: Rig, openapi: OpenApi) -> None:
    """The record and the content of a generation have the promised shape."""
    made = (await rig.chat()).headers["x-generation-id"]
    for path in ("/generation", "/generation/content"):
        openapi.check_answer("GET", path, 200, (await rig.get(path, params={"id": made})).json())


async def test_key_administration_is_valid(rig: Rig, openapi: OpenApi) -> None:
    """Created, read, changed and deleted keys have the promised shapes."""
    headers = {"Authorization": f"Bearer {rig.management}"}
    made = await rig.post("/keys", {"name": "new", "limit": 0.25, "limit_reset": "monthly"}, headers=headers)
    openapi.check_answer("POST", "/keys", 201, made.json())
    path = f"/keys/{made.json()['data']['hash']}"
    openapi.check_answer("GET", "/keys/{hash}", 200, (await rig.get(path, headers=headers)).json())
    changed = await rig.client.patch(rig.base_url + path, json={"disabled": True}, headers=headers)
    openapi.check_answer("PATCH", "/keys/{hash}", 200, changed.json())
    gone = await rig.client.delete(rig.base_url + path, headers=headers)
    openapi.check_answer("DELETE", "/keys/{hash}", 200, gone.json())


async def test_videos_and_files_are_valid(rig: Rig, openapi: OpenApi) -> None:
    """Jobs and files have the promised shapes."""
    made = await rig.post("/videos", {"model": "google/veo-3.1", "prompt": "waves"})
    openapi.check_answer("POST", "/videos", 202, made.json())
    polled = await rig.get(f"/videos/{made.json()['id']}")
    openapi.check_answer("GET", "/videos/{jobId}", 200, polled.json())
    for headers in ({}, {"anthropic-version": "2023-06-01"}, {"User-Agent": "OpenAI/Python 3.54.0"}):
        stored = await rig.client.post(f"{rig.base_url}/files", files={"file": ("a.txt", b"hi")}, headers=headers)
        openapi.check_answer("POST", "/files", 200, stored.json())
        openapi.check_answer("GET", "/files", 200, (await rig.get("/files", headers=headers)).json())
        path = f"/files/{stored.json()['id']}"
        openapi.check_answer("GET", "/files/{file_id}", 200, (await rig.get(path, headers=headers)).json())
        gone = await rig.client.delete(rig.base_url + path, headers=headers)
        openapi.check_answer("DELETE", "/files/{file_id}", 200, gone.json())


ANSWERS = [fault.name for fault in FAULTS.values() if fault.manner is Manner.ANSWER]
ASKS: dict[str, dict[str, Any]] = {
    "/chat/completions": {"messages": [user("hi")]},
    "/responses": {"input": "hi"},
    "/messages": {"messages": [user("hi")], "max_tokens": 9},
}


@pytest.mark.parametrize("path", ASKS)
@pytest.mark.parametrize("name", ANSWERS)
async def test_error_answers_are_valid(rig: Rig, openapi: OpenApi, name: str, path: str) -> None:
    """Every error answer has the shape of its skin, wherever the specification gives one for the status."""
    answer = await rig.post(path, {"model": f"sim/{name}", **ASKS[path]})
    assert answer.status_code == FAULTS[name].status
    if path == "/messages":
        openapi.check_schema("AnthropicMessagesErrorResponse", answer.json())
    elif str(answer.status_code) in openapi.document["paths"][path]["post"]["responses"]:
        openapi.check_answer("POST", path, answer.status_code, answer.json())


@pytest.mark.parametrize("path", ASKS)
@pytest.mark.parametrize("name", ["stream-first-error", "stream-mid-error", "200-error", "200-error-finish"])
async def test_error_events_are_valid(rig: Rig, openapi: OpenApi, name: str, path: str) -> None:
    """Errors inside a stream have the shape that the specification gives them."""
    answer = await rig.post(path, {"model": f"sim/{name}", "stream": True, **ASKS[path]})
    assert answer.status_code == 200
    events = events_of(answer.text)
    assert "error" in json.dumps(events[-1])
    for event in events:
        openapi.check_schema(EVENTS[path], event)
