"""What a client is told about its own key, in OpenRouter's schema."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from openrouter.components import KeyBudget
from openrouter.operations.getcurrentkey import GetCurrentKeyData

from app.api.account import credits_answer, key_answer
from app.models.keys import ClientKey
from app.models.limits import Limit, Span, Unit
from app.models.usage import Spent
from app.services.money import NANO, Standing, Whose, standing_of

CLIENT = ClientKey(id="ck_1", name="alice", digest="d", masked="gw_live_…a81f", expires_at=1_800_000_000.0)
SPENT = Spent(total_nano=1_500_000_000, day_nano=1, week_nano=20, month_nano=300)
AT = datetime(2026, 11, 25, 13, 30, tzinfo=UTC).timestamp()


def told(value: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(value))["data"]
    return found


def money(whose: Whose, span: Span, size: float, used: float, **more: Any) -> Standing:
    return standing_of(whose, Limit(unit=Unit.USD, span=span, size=int(size * NANO), **more), int(used * NANO), AT)


def test_the_key_answer_holds_the_clients_figures() -> None:
    """Dollars from nano-dollars, the client's label, nothing of the pool."""
    data = told(key_answer(CLIENT, SPENT))

    assert data["label"] == "gw_live_…a81f"
    assert (data["usage"], data["usage_daily"], data["usage_weekly"], data["usage_monthly"]) == (1.5, 1e-9, 2e-8, 3e-7)
    assert data["expires_at"] == "2027-01-15T08:00:00Z"
    assert data["is_management_key"] is False
    assert data["creator_user_id"] is None
    assert (data["limit"], data["limit_remaining"], data["limit_reset"]) == (None, None, None)
    assert (data["budgets"], data["effective_budget"]) == ([], None)
    assert data["rate_limit"]["requests"] == -1


def test_amounts_are_exact() -> None:
    """No float stands between the books and the answer."""
    text = msgspec.json.encode(key_answer(CLIENT, Spent(total_nano=123_456_789_000_000_001)))

    assert b'"usage":123456789.000000001,' in text


def test_a_key_without_end_says_so() -> None:
    """No expiry is null."""
    client = ClientKey(id="ck_1", name="alice", digest="d", masked="m")

    assert key_answer(client, Spent())["data"]["expires_at"] is None


@pytest.mark.filterwarnings("ignore:.*DEPRECATED:DeprecationWarning")
def test_the_tightest_limit_of_money_is_told() -> None:
    """What stops the key first is its limit; each budget stands beside it, as OpenRouter's SDK reads them."""
    day = money(Whose.KEY, Span.DAY, 10, 4)
    group = money(Whose.GROUP, Span.MONTH, 100, 98.5)
    total = money(Whose.KEY, Span.TOTAL, 50, 1.5)
    data = told(key_answer(CLIENT, SPENT, (day, group, total), now_s=AT))

    assert (data["limit"], data["limit_remaining"], data["limit_reset"]) == (100, 1.5, "monthly")
    assert data["budgets"] == [
        {
            "scope": "key_limit",
            "limit_usd": 10,
            "spend_usd": 4,
            "remaining_usd": 6,
            "reset_interval": "daily",
            "resets_at": "2026-11-26T00:00:00Z",
            "include_byok": False,
            "budget_id": None,
            "guardrail_id": None,
        },
        {
            "scope": "workspace",
            "limit_usd": 100,
            "spend_usd": 98.5,
            "remaining_usd": 1.5,
            "reset_interval": "monthly",
            "resets_at": "2026-12-01T00:00:00Z",
            "include_byok": False,
            "budget_id": group.limit.id,
            "guardrail_id": None,
        },
        {
            "scope": "key_limit",
            "limit_usd": 50,
            "spend_usd": 1.5,
            "remaining_usd": 48.5,
            "reset_interval": None,
            "resets_at": None,
            "include_byok": False,
            "budget_id": None,
            "guardrail_id": None,
        },
    ]
    assert data["effective_budget"] == data["budgets"][1]
    assert [KeyBudget.model_validate(budget).remaining_usd for budget in data["budgets"]] == [6, 1.5, 48.5]
    assert GetCurrentKeyData.model_validate(data).limit_remaining == 1.5


def test_a_limit_that_is_used_up_has_nothing_left() -> None:
    """More may be spent than was reserved: the remainder is zero, and the budget says how much it is over."""
    data = told(key_answer(CLIENT, SPENT, (money(Whose.KEY, Span.WEEK, 1, 1.25),)))

    assert (data["limit"], data["limit_remaining"], data["limit_reset"]) == (1, 0, "weekly")
    assert data["effective_budget"]["remaining_usd"] == -0.25


@pytest.mark.parametrize(("used", "shown"), [(10, False), (99, True)])
def test_what_all_spend_together_is_shown_only_where_it_blocks_first(used: float, shown: bool) -> None:
    """A client has no business with the others' use."""
    data = told(
        key_answer(CLIENT, SPENT, (money(Whose.KEY, Span.DAY, 10, 4), money(Whose.GATEWAY, Span.DAY, 100, used)))
    )

    assert len(data["budgets"]) == 1 + shown
    assert data["limit_remaining"] == (1 if shown else 6)


@pytest.mark.parametrize("more", [{"models": "openai/*"}, {"each_user": True}, {"shadow": True}])
def test_limits_that_do_not_stop_every_call_are_not_the_keys(more: dict[str, Any]) -> None:
    """The schema has no words for them."""
    limited = (money(Whose.KEY, Span.TOTAL, 10, 4, **more),)
    data = told(key_answer(CLIENT, SPENT, limited))

    assert (data["limit"], data["budgets"]) == (None, [])
    assert told(credits_answer(SPENT, limited)) == {"total_credits": 1.5, "total_usage": 1.5}


def test_the_limit_of_requests_is_told() -> None:
    """Of several, the one that a steady caller reaches first; raised, while it is."""
    limits = (
        Limit(unit=Unit.REQUESTS, span=Span.MINUTE, size=60, raised_to=90, raised_until=AT + 1),
        Limit(unit=Unit.REQUESTS, span=Span.DAY, size=100_000),
        Limit(unit=Unit.REQUESTS, span=Span.HOUR, size=1, shadow=True),
        Limit(unit=Unit.TOKENS, span=Span.HOUR, size=1),
    )
    client = ClientKey(id="c", name="c", digest="d", masked="m", limits=limits)

    def rate(now_s: float) -> tuple[int, str]:
        found = told(key_answer(client, SPENT, now_s=now_s))["rate_limit"]
        return found["requests"], found["interval"]

    assert rate(AT + 2) == (60, "60s")
    assert rate(AT) == (100_000, "86400s")
    assert told(key_answer(client, SPENT))["rate_limit"]["requests"] == 60


def test_credits_are_what_was_used() -> None:
    """A key without a budget has nothing left over to promise."""
    assert told(credits_answer(SPENT)) == {"total_credits": 1.5, "total_usage": 1.5}


def test_credits_are_the_limit_in_all() -> None:
    """What is left of it is the difference, and never less than nothing."""
    total, group = money(Whose.KEY, Span.TOTAL, 50, 1.5), money(Whose.GROUP, Span.TOTAL, 60, 55)
    day = money(Whose.KEY, Span.DAY, 1, 1)

    assert told(credits_answer(SPENT, (total, day))) == {"total_credits": 50, "total_usage": 1.5}
    assert told(credits_answer(SPENT, (total, group))) == {"total_credits": 6.5, "total_usage": 1.5}
    over = money(Whose.KEY, Span.TOTAL, 1, 1.5)
    assert told(credits_answer(SPENT, (over,))) == {"total_credits": 1.5, "total_usage": 1.5}
