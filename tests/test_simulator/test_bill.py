"""The bill: exact, one row per generation, and right for those who leave early."""

from __future__ import annotations

import asyncio
import re
from decimal import Decimal
from typing import Any

import pytest

from simulator.catalogue import find
from tests.test_simulator.conftest import Rig, user


async def last_row(rig: Rig) -> dict[str, Any]:
    """The newest row, once its request has ended."""
    for _ in range(300):
        if rig.simulator.world.active == 0:
            return (await rig.bill())[-1]
        await asyncio.sleep(0.01)
    raise AssertionError("the request is still running")


@pytest.mark.parametrize("stream", [True, False])
async def test_cost_is_exact(rig: Rig, stream: bool) -> None:
    """usage.cost, the bill, the key's usage and the generation record say the same amount, to the nano-dollar."""
    text = (await rig.chat(max_tokens=7, stream=stream)).text
    tokens = [int(re.findall(rf'"{name}":(\d+)', text)[-1]) for name in ("prompt_tokens", "completion_tokens")]
    cost = Decimal(re.findall(r'"cost":([0-9.e-]+)', text)[-1])
    nano = tokens[0] * 150 + tokens[1] * 600
    assert cost * 10**9 == nano
    row = (await rig.bill())[-1]
    assert (row["cost_nano"], row["cancelled"], row["streamed"]) == (nano, False, stream)
    record = (await rig.get("/generation", params={"id": row["id"]})).json()["data"]
    assert Decimal(str(record["total_cost"])) == cost
    assert Decimal(str((await rig.get("/key")).json()["data"]["usage"])) == cost


async def test_small_costs_are_printed_with_an_exponent(rig: Rig) -> None:
    """Seven tokens at 20 nano-dollars are 1.4e-7."""
    body = {"model": "openai/text-embedding-3-small", "input": "a" * 28}
    assert '"cost":1.4e-7' in (await rig.post("/embeddings", body)).text


@pytest.mark.parametrize("path", ["/chat/completions", "/responses", "/messages"])
async def test_a_left_stream_is_billed_for_what_it_produced(rig: Rig, path: str) -> None:
    """The stream stops when the client goes; the record says so and has the cost."""
    await rig.control("settings", {"tokens_per_s": 100, "answer_tokens": 1000})
    body = {"model": "openai/gpt-4o-mini", "messages": [user("hi")], "input": "hi", "max_tokens": 999, "stream": True}
    async with rig.raw(path, body) as (reader, _):
        await reader.readuntil(b" asked")
    row = await last_row(rig)
    assert row["cancelled"] is True
    assert 0 < row["completion_tokens"] < 100
    assert row["cost_nano"] == row["prompt_tokens"] * 150 + row["completion_tokens"] * 600
    record = (await rig.get("/generation", params={"id": row["id"]})).json()["data"]
    assert (record["cancelled"], record["streamed"]) == (True, True)


async def test_some_providers_do_not_stop(rig: Rig) -> None:
    """A left stream of theirs is billed in full."""
    await rig.control("settings", {"tokens_per_s": 100, "answer_tokens": 500})
    body = {"model": "google/gemini-2.5-flash", "messages": [user("hi")], "stream": True}
    async with rig.raw("/chat/completions", body) as (reader, _):
        await reader.readuntil(b" asked")
    row = await last_row(rig)
    assert (row["cancelled"], row["completion_tokens"]) == (True, 500)


async def test_a_left_whole_answer_is_billed_in_full(rig: Rig) -> None:
    """Only streams can be cancelled."""
    await rig.control("settings", {"first_token_ms": 100})
    body = {"model": "openai/gpt-4o-mini", "messages": [user("hi")], "max_tokens": 9}
    async with rig.raw("/chat/completions", body) as (reader, _):
        await reader.readuntil(b"\r\n\r\n")
    row = await last_row(rig)
    assert (row["cancelled"], row["completion_tokens"]) == (False, 9)


@pytest.mark.parametrize("name", ["200-error", "200-error-finish", "stream-first-error", "stream-mid-error"])
async def test_failures_cost_nothing(rig: Rig, name: str) -> None:
    """An error finish is not charged."""
    await rig.chat(f"sim/{name}", stream=True)
    assert (await last_row(rig))["cost_nano"] == 0


async def test_speech_is_billed_in_full_once_audio_has_left(rig: Rig) -> None:
    """Leaving early saves nothing, and no usage is told anywhere but in the record."""
    await rig.control("settings", {"tokens_per_s": 20})
    body = {"model": "openai/gpt-4o-mini-tts", "input": "a long text " * 40, "voice": "alloy"}
    async with rig.raw("/audio/speech", body) as (reader, _):
        await reader.readuntil(b"\xff\xfb")
    row = await last_row(rig)
    assert (row["cancelled"], row["cost_nano"]) == (True, 120 * 600)


async def test_a_record_appears_after_a_while(rig: Rig) -> None:
    """404 first; then the account's keys see it, and nobody else does."""
    await rig.control("settings", {"generation_delay_ms": 1000})
    made = (await rig.chat()).json()["id"]
    assert (await rig.get("/generation", params={"id": made})).status_code == 404
    await rig.control("settings", {"clock_offset_s": 1.5})
    assert (await rig.get("/generation", params={"id": made})).status_code == 200
    stranger = rig.simulator.add_key(account="someone_else")
    headers = {"Authorization": f"Bearer {stranger}"}
    assert (await rig.get("/generation", params={"id": made}, headers=headers)).status_code == 404


@pytest.mark.parametrize(
    ("name", "id_"),
    [
        ("openai/gpt-4o-mini:nitro", "openai/gpt-4o-mini:nitro"),
        ("openai/gpt-4o-mini@preset/x", "openai/gpt-4o-mini"),
        ("deepseek/deepseek-chat-v3.1:free", "deepseek/deepseek-chat-v3.1:free"),
        ("openrouter/auto", "openai/gpt-4o-mini"),
        ("", "openai/gpt-4o-mini"),
        ("nobody/nothing", None),
    ],
)
def test_model_names_resolve(name: str, id_: str | None) -> None:
    """Variants, presets, the router and the account's default."""
    model = find(name)
    assert (model.id if model else None) == id_
