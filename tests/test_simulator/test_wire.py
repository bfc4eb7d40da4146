"""The bytes on the wire: heads, chunks, beats, comments, events."""

from __future__ import annotations

import asyncio
import re

import pytest

from simulator.settings import SimSettings
from tests.test_simulator.conftest import Rig, user

CHAT = {"model": "openai/gpt-4o-mini", "messages": [user("hi")], "max_tokens": 3}


async def read_answer(reader: asyncio.StreamReader) -> tuple[bytes, list[bytes]]:
    """A head, and the chunks exactly as they were cut."""
    head = await reader.readuntil(b"\r\n\r\n")
    chunks = []
    while size := int(await reader.readuntil(b"\r\n"), 16):
        chunks.append((await reader.readexactly(size + 2))[:-2])
    await reader.readexactly(2)
    return head, chunks


async def test_a_whole_answer_begins_with_beats_after_an_early_200(rig: Rig) -> None:
    """Whitespace of eleven bytes comes before the JSON, as recorded."""
    rig.simulator.world.settings = SimSettings(first_token_ms=50, tokens_per_s=0, heartbeat_ms=20)
    async with rig.raw("/chat/completions", CHAT) as (reader, _):
        head, chunks = await read_answer(reader)
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert chunks[:3] == [b"\n         \n"] * 3
    assert chunks[-1].startswith(b'{"id":"gen-')


async def test_no_answer_has_a_length(rig: Rig) -> None:
    """Everything is chunked, errors and catalogues too."""
    for path in ("/models", "/key", "/nothing"):
        answer = await rig.get(path)
        assert "content-length" not in answer.headers
        assert answer.headers["transfer-encoding"] == "chunked"


async def test_a_stream_is_one_chunk_per_event(rig: Rig) -> None:
    """A comment first, then one event per chunk, the finish twice, the usage with the second, then the sentinel."""
    async with rig.raw("/chat/completions", CHAT | {"stream": True}) as (reader, _):
        head, chunks = await read_answer(reader)
    assert b"Content-Type: text/event-stream\r\n" in head
    assert chunks[0] == b": OPENROUTER PROCESSING\n\n"
    assert all(chunk.endswith(b"\n\n") for chunk in chunks)
    assert [b'"finish_reason":"length"' in chunk for chunk in chunks] == [False] * 4 + [True, True, False]
    assert [b'"usage"' in chunk for chunk in chunks] == [False] * 5 + [True, False]
    assert chunks[-1] == b"data: [DONE]\n\n"


async def test_messages_have_named_events(rig: Rig) -> None:
    """Each event is named; no sentinel unless it is asked for."""
    body = {"model": "anthropic/claude-haiku-4.5", "messages": [user("hi")], "max_tokens": 2, "stream": True}
    text = (await rig.post("/messages", body)).text
    names = re.findall(r"^event: (\w+)$", text, re.MULTILINE)
    assert names == [
        "message_start",
        "ping",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert "[DONE]" not in text
    rig.simulator.world.settings.messages_done = True
    assert (await rig.post("/messages", body)).text.endswith("data: [DONE]\n\n")


async def test_responses_have_bare_data_lines(rig: Rig) -> None:
    """No event names; sequence numbers count up from zero."""
    text = (await rig.post("/responses", {"model": "openai/gpt-4o-mini", "input": "hi", "stream": True})).text
    assert "event:" not in text
    numbers = [int(number) for number in re.findall(r'"sequence_number":(\d+)}\n', text)]
    assert numbers == list(range(len(numbers)))
    assert text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("size", [1, 7, 4096])
async def test_chunks_can_be_cut_anywhere(rig: Rig, size: int) -> None:
    """With `chunk_bytes` the borders ignore events and characters; the content stays the same."""
    rig.simulator.world.settings.chunk_bytes = size
    async with rig.raw("/chat/completions", CHAT | {"stream": True, "max_tokens": 60}) as (reader, _):
        _, chunks = await read_answer(reader)
    assert max(map(len, chunks)) <= size
    text = b"".join(chunks).decode()
    assert "東京" in text
    assert text.endswith("data: [DONE]\n\n")


async def test_answers_carry_the_edges_headers(rig: Rig) -> None:
    """Cloudflare's and OpenRouter's headers, and a cookie now and then."""
    answers = [await rig.chat() for _ in range(3)]
    for answer in answers:
        assert answer.headers["server"] == "cloudflare"
        assert answer.headers["x-generation-id"] == answer.json()["id"]
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "cf-ray" in answer.headers
    assert sum("set-cookie" in answer.headers for answer in answers) == 1


async def test_unknown_paths_get_the_web_front_ends_page(rig: Rig) -> None:
    """404 and 405 are HTML, count_tokens included."""
    answer = await rig.post("/messages/count_tokens", {})
    assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert (await rig.get("/chat/completions")).status_code == 405


async def test_requests_are_remembered_to_the_byte(rig: Rig) -> None:
    """Target, headers in their order and case, and a digest of the body."""
    content = b'{ "model":"openai/gpt-4o-mini", "messages":[{"role":"user","content":"\xe2\x82\xac"}] }'
    head = f"POST /api/v1/chat/completions?b=%2F&a HTTP/1.1\r\nHoSt: x\r\nauthorization: Bearer {rig.key}\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
    await read_answer(reader)
    writer.close()
    await writer.wait_closed()
    seen = (await rig.control("requests?body=true"))[-1]
    assert seen["target"] == "/api/v1/chat/completions?b=%2F&a"
    assert seen["headers"][0] == ["HoSt", "x"]
    assert seen["body_size"] == len(content)
    assert seen["status"] == 200
    assert seen["key_label"].startswith("sk-or-v1-")


async def test_pipelined_requests_are_answered_in_order(rig: Rig) -> None:
    """Several requests in one packet get their answers one after the other on the same connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    writer.write(b"GET /api/v1/models/count HTTP/1.1\r\nHost: x\r\n\r\n" * 12)
    for _ in range(12):
        head, chunks = await read_answer(reader)
        assert head.startswith(b"HTTP/1.1 200")
        assert chunks[0].startswith(b'{"data":{"count"')
    writer.close()
    await writer.wait_closed()


async def test_a_malformed_request_gets_400(rig: Rig) -> None:
    """What is not HTTP is refused, and the connection closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    writer.write(b"NONSENSE\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 400")
    writer.close()
    await writer.wait_closed()
