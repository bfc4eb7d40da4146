"""What OpenRouter answers about a key, read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.models.key_facts import Budget, KeyFacts
from app.services.key_answer import UnreadableAnswer, balance_nano, key_facts

BUDGET = {"scope": "workspace", "limit_usd": 5, "remaining_usd": 1.4e-7, "resets_at": "2026-11-24T00:00:00.000Z"}


def answer(**fields: Any) -> bytes:
    return json.dumps({"data": fields}).encode()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, KeyFacts(id="k")),
        ({"limit": None, "limit_reset": None, "expires_at": None, "effective_budget": None}, KeyFacts(id="k")),
        ({"limit": 0.1, "limit_remaining": 1e-9}, KeyFacts(id="k", limit_nano=10**8, limit_remaining_nano=1)),
        ({"usage": "2.5", "usage_daily": 0}, KeyFacts(id="k", usage_nano=2_500_000_000, usage_daily_nano=0)),
        ({"organization_id": "o", "creator_user_id": "u"}, KeyFacts(id="k", account="o")),
        ({"organization_id": None, "creator_user_id": "u"}, KeyFacts(id="k", account="u")),
        ({"is_provisioning_key": True, "is_free_tier": True}, KeyFacts(id="k", is_management=True, is_free_tier=True)),
        (
            {"budgets": [BUDGET], "effective_budget": BUDGET, "workspace_id": "w"},
            KeyFacts(
                id="k",
                workspace="w",
                tells_budgets=True,
                budget=Budget(scope="workspace", remaining_nano=140, resets_at=1_795_478_400.0),
            ),
        ),
        (
            {"free_model_daily_requests": {"used": 3, "limit": 50, "remaining": 47}},
            KeyFacts(id="k", free_used=3, free_remaining=47),
        ),
        ({"expires_at": "1970-01-02T00:00:00", "limit_reset": "daily"},
         KeyFacts(id="k", expires_at=86_400.0, limit_reset="daily")),
        ({"expires_at": "tomorrow"}, KeyFacts(id="k")),
    ],
)  # fmt: skip
def test_facts(said: dict[str, Any], expected: KeyFacts) -> None:
    """Money is exact; what is missing or null stays unknown."""
    assert key_facts("k", answer(**said)) == expected


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b"\xff", answer(limit="much"), answer(usage="Infinity"), answer(usage="NaN")],
)
def test_nonsense(body: bytes) -> None:
    """Whatever a box in between sends is one error."""
    with pytest.raises(UnreadableAnswer):
        key_facts("k", body)
    with pytest.raises(UnreadableAnswer):
        balance_nano(body)


def test_the_balance() -> None:
    """What was bought less what was spent; zero of zero tells nothing."""
    assert balance_nano(answer(total_credits=10, total_usage=10)) == 0
    assert balance_nano(answer(total_credits=0, total_usage=0.5)) == -500_000_000
    assert balance_nano(answer(total_credits=0, total_usage=0)) is None
