"""What only OpenRouter's SDK describes, being newer than the OpenAPI file: its client must take our answers."""

from __future__ import annotations

import asyncio

import pytest
from openrouter import OpenRouter

from tests.test_simulator.conftest import Rig, user

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


async def test_the_sdk_reads_the_key_record(rig: Rig) -> None:
    """Budgets, the daily free quota and the owner are there, as of the newest SDK."""
    key = rig.simulator.add_key(limit=5, limit_reset="weekly")
    async with OpenRouter(api_key=key, server_url=rig.base_url) as sdk:
        data = (await sdk.api_keys.get_current_key_metadata_async()).data
    assert data.effective_budget is not None
    assert (data.effective_budget.scope, data.effective_budget.reset_interval) == ("key_limit", "weekly")
    assert data.free_model_daily_requests.limit == 1000
    assert data.creator_user_id == "user_sim1"


async def test_the_sdk_submits_and_reads_a_batch(rig: Rig) -> None:
    """The batch object and its results parse."""
    body = {"messages": [user("hi")], "max_tokens": 3}
    async with OpenRouter(api_key=rig.key, server_url=rig.base_url) as sdk:
        made = await sdk.batch.create_batches_async(
            endpoint="/v1/chat/completions",
            model="openai/gpt-4o-mini",
            requests=[{"custom_id": "a", "body": body}],
        )
        done = await sdk.batch.get_batches_async(id=made.id)
        listed = await sdk.batch.list_async(limit=1)
    assert done.status == "completed"
    assert listed is not None
    assert [item.id for item in listed.result.data] == [made.id]


async def test_the_sdk_streams(rig: Rig) -> None:
    """Comments are skipped, chunks parse, the last one has the cost."""
    async with OpenRouter(api_key=rig.key, server_url=rig.base_url) as sdk:
        stream = await sdk.chat.send_async(model="openai/gpt-4o-mini", messages=[user("hi")], stream=True)
        async with stream:
            chunks = [chunk async for chunk in stream]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.cost == pytest.approx(len(chunks[:-2]) * 6e-7 + chunks[-1].usage.prompt_tokens * 1.5e-7)
    await asyncio.sleep(0)
