"""What `GET /key` and `GET /credits` say to a client: facts of its own client key, in OpenRouter's schema.

The pool's account never shows here.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from app.models.keys import ClientKey
from app.models.usage import Spent

NANO = 1_000_000_000


def key_answer(client: ClientKey, spent: Spent) -> dict[str, Any]:
    """The body of `GET /key`. Amounts are dollars."""
    return {
        "data": {
            "label": client.masked,
            "name": client.name,
            "limit": None,
            "limit_remaining": None,
            "limit_reset": None,
            "include_byok_in_limit": False,
            "usage": _dollars(spent.total_nano),
            "usage_daily": _dollars(spent.day_nano),
            "usage_weekly": _dollars(spent.week_nano),
            "usage_monthly": _dollars(spent.month_nano),
            "byok_usage": 0,
            "byok_usage_daily": 0,
            "byok_usage_weekly": 0,
            "byok_usage_monthly": 0,
            "is_free_tier": False,
            "is_management_key": False,
            "is_provisioning_key": False,
            "expires_at": _instant(client.expires_at),
            "creator_user_id": None,
            "organization_id": None,
            "workspace_id": None,
            "allowed_data_regions": ["global"],
            "budgets": [],
            "effective_budget": None,
            # The pool's account has such a quota, a client key has none.
            "free_model_daily_requests": {"used": 0, "limit": 0, "remaining": 0},
            "rate_limit": {"requests": -1, "interval": "10s", "note": "This field is deprecated and safe to ignore."},
        }
    }


def credits_answer(spent: Spent) -> dict[str, Any]:
    """The body of `GET /credits`: a client key without a budget has no credits of its own, only what it used."""
    used = _dollars(spent.total_nano)
    return {"data": {"total_credits": used, "total_usage": used}}


def _dollars(nano: int) -> float:
    return nano / NANO


def _instant(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
