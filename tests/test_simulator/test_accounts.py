"""Keys and accounts: limits, resets, quotas, states; and what /key tells of them."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from simulator.accounts import Spending, period_end
from tests.test_simulator.conftest import Rig, user

FREE = "meta-llama/llama-3.3-70b-instruct:free"
MONDAY = datetime(2026, 11, 23, tzinfo=UTC).timestamp()


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def status(rig: Rig, key: str, model: str = "sim/echo", max_tokens: int = 10) -> int:
    body = {"model": model, "messages": [user("hi")], "max_tokens": max_tokens}
    return (await rig.post("/chat/completions", body, headers=bearer(key))).status_code


async def record(rig: Rig, key: str) -> dict[str, Any]:
    return dict((await rig.get("/key", headers=bearer(key))).json()["data"])


async def test_a_key_spends_its_limit_and_is_refused(rig: Rig) -> None:
    """402 while something is left but too little, 403 when it is spent; a new day opens it again."""
    key = rig.simulator.add_key(limit="0.000009", limit_reset="daily")
    assert await status(rig, key, max_tokens=10) == 200  # 4 prompt tokens and 10 more: 4400 nano-dollars
    assert await status(rig, key, max_tokens=100) == 402
    assert await status(rig, key, max_tokens=10) == 200
    assert await status(rig, key, max_tokens=10) == 402
    facts = await record(rig, key)
    assert (facts["usage"], facts["limit_remaining"]) == (8.8e-06, 2e-07)
    assert facts["effective_budget"]["scope"] == "key_limit"
    found = rig.simulator.world.find_key(key)
    assert found is not None
    found.limit_nano = 8_800
    assert await status(rig, key) == 403
    await rig.control("settings", {"clock_offset_s": 86_400})
    assert await status(rig, key) == 200


async def test_an_account_without_credits(rig: Rig) -> None:
    """402 for paid models; free ones go on until the balance is negative."""
    key = rig.simulator.add_key(account="poor", credits=0)
    assert await status(rig, key) == 402
    assert await status(rig, key, FREE) == 200
    await rig.control("accounts", {"id": "poor", "credits": "0.000001"})
    assert await status(rig, key, max_tokens=1000) == 402


async def test_an_in_flight_budget(rig: Rig) -> None:
    """While one request holds the budget, the next is told to wait."""
    key = rig.simulator.add_key(account="small")
    await rig.control("accounts", {"id": "small", "in_flight_budget": "0.00001"})
    await rig.control("settings", {"first_token_ms": 60_000})
    rig.key = key
    body = {"model": "sim/echo", "messages": [user("hi")], "max_tokens": 10, "stream": True}
    async with rig.raw("/chat/completions", body) as (reader, _):
        await reader.readuntil(b"PROCESSING")
        answer = await rig.post("/chat/completions", body | {"max_tokens": 20}, headers=bearer(key))
        assert (answer.status_code, answer.headers["retry-after"]) == (402, "2")
    while rig.simulator.world.active:
        await rig.client.get(f"{rig.origin}/_sim/state")
    assert rig.simulator.world.account("small").in_flight_nano == 0


async def test_free_models_per_minute(rig: Rig) -> None:
    """The twenty-first request in a minute is refused; keys of one account share the count."""
    keys = [rig.simulator.add_key(account="free") for _ in range(2)]
    await rig.control("settings", {"clock_offset_s": 60 - time.time() % 60})  # a minute has just begun
    results = [await status(rig, keys[n % 2], FREE) for n in range(21)]
    assert results == [200] * 20 + [429]


@pytest.mark.parametrize(("bought", "limit"), [("9.99", 50), (10, 1000)])
async def test_free_models_per_day(rig: Rig, bought: Any, limit: int) -> None:
    """50 a day, or 1000 for those who bought ten credits; /key tells the count."""
    key = rig.simulator.add_key(account="free", credits=bought)
    await rig.control("accounts", {"id": "free", "free_used_today": limit - 1})
    assert await status(rig, key, FREE) == 200
    assert (await record(rig, key))["free_model_daily_requests"] == {"used": limit, "limit": limit, "remaining": 0}
    assert await status(rig, key, FREE) == 429
    assert await status(rig, key) == 200
    await rig.control("settings", {"clock_offset_s": 86_400})
    assert await status(rig, key, FREE) == 200


async def test_states_of_a_key(rig: Rig) -> None:
    """Disabled, expired, deleted, suspended: each is refused, each in its way."""
    soon = datetime.now(UTC) + timedelta(seconds=60)
    expiring = rig.simulator.add_key(expires_at=soon)
    assert await status(rig, expiring) == 200
    assert await status(rig, rig.simulator.add_key(disabled=True)) == 401
    await rig.control("settings", {"clock_offset_s": 61})
    assert await status(rig, expiring) == 401
    await rig.control("keys", {"key": rig.key, "deleted": True})
    assert await status(rig, rig.key) == 401
    barred = rig.simulator.add_key(account="barred")
    await rig.control("accounts", {"id": "barred", "suspended": True})
    assert (await rig.get("/key", headers=bearer(barred))).status_code == 403


async def test_management_keys_administer_and_do_not_infer(rig: Rig) -> None:
    """Inference 403, /credits 200; with a normal key the other way round."""
    assert await status(rig, rig.management) == 403
    assert (await record(rig, rig.management))["is_management_key"] is True
    assert (await rig.get("/credits", headers=bearer(rig.management))).json()["data"]["total_credits"] == 100
    assert (await rig.get("/credits")).status_code == 403


async def test_administration_of_keys(rig: Rig) -> None:
    """A created key works at once, its secret is told once, disabled keys are hidden unless asked for."""
    headers = bearer(rig.management)
    made = (await rig.post("/keys", {"name": "n", "limit": 1}, headers=headers)).json()
    assert await status(rig, made["key"]) == 200
    path = f"/keys/{made['data']['hash']}"
    assert "key" not in (await rig.get(path, headers=headers)).json()
    await rig.client.patch(rig.base_url + path, json={"disabled": True}, headers=headers)
    assert await status(rig, made["key"]) == 401
    hashes = [key["hash"] for key in (await rig.get("/keys", headers=headers)).json()["data"]]
    every = [key["hash"] for key in (await rig.get("/keys?include_disabled=true", headers=headers)).json()["data"]]
    assert made["data"]["hash"] not in hashes
    assert made["data"]["hash"] in every
    assert (await rig.get("/keys")).status_code == 403


async def test_keys_come_in_pages_of_a_hundred(rig: Rig) -> None:
    """`offset` turns the page."""
    for _ in range(105):
        rig.simulator.add_key(account="user_one")
    headers = bearer(rig.management)
    sizes = [len((await rig.get(f"/keys?offset={at}", headers=headers)).json()["data"]) for at in (0, 100)]
    assert sizes == [100, 6]


def test_spending_by_period() -> None:
    """The windows begin at UTC midnight, on Mondays, and on the first."""
    spending = Spending()
    spending.add(5, MONDAY - 1)
    spending.add(7, MONDAY)
    assert [spending.read(period, MONDAY) for period in ("daily", "weekly", "monthly", None)] == [7, 7, 12, 12]
    assert period_end("weekly", MONDAY) == datetime(2026, 11, 30, tzinfo=UTC)
    assert period_end("monthly", MONDAY) == datetime(2026, 12, 1, tzinfo=UTC)
    assert period_end(None, MONDAY) is None
