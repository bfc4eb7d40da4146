"""What a client is told about its own key, in OpenRouter's schema."""

from __future__ import annotations

from app.api.account import credits_answer, key_answer
from app.models.keys import ClientKey
from app.models.usage import Spent

CLIENT = ClientKey(id="ck_1", name="alice", digest="d", masked="gw_live_…a81f", expires_at=1_800_000_000.0)
SPENT = Spent(total_nano=1_500_000_000, day_nano=1, week_nano=20, month_nano=300)


def test_the_key_answer_holds_the_clients_figures() -> None:
    """Dollars from nano-dollars, the client's label, nothing of the pool."""
    data = key_answer(CLIENT, SPENT)["data"]

    assert data["label"] == "gw_live_…a81f"
    assert (data["usage"], data["usage_daily"], data["usage_weekly"], data["usage_monthly"]) == (1.5, 1e-9, 2e-8, 3e-7)
    assert data["expires_at"] == "2027-01-15T08:00:00Z"
    assert data["is_management_key"] is False
    assert data["creator_user_id"] is None


def test_a_key_without_end_says_so() -> None:
    """No expiry is null."""
    client = ClientKey(id="ck_1", name="alice", digest="d", masked="m")

    assert key_answer(client, Spent())["data"]["expires_at"] is None


def test_credits_are_what_was_used() -> None:
    """A key without a budget has nothing left over to promise."""
    assert credits_answer(SPENT) == {"data": {"total_credits": 1.5, "total_usage": 1.5}}
