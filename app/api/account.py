"""What `GET /key` and `GET /credits` say to a client: facts of its own client key, in OpenRouter's schema.

The pool's account never shows here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from app.models.keys import ClientKey
from app.models.limits import Limit, Span, Unit
from app.models.usage import Spent
from app.services.money import Standing, Whose, dollars

_RESETS: Final = {Span.DAY: "daily", Span.WEEK: "weekly", Span.MONTH: "monthly"}
_SPAN_S: Final = {Span.MINUTE: 60, Span.HOUR: 3600, Span.DAY: 86_400}


def key_answer(
    client: ClientKey, spent: Spent, standings: Sequence[Standing] = (), *, now_s: float = math.inf
) -> dict[str, Any]:
    """The body of `GET /key`, to be encoded by msgspec. Amounts are dollars.

    `standings`: the limits of money that the client's calls must meet, its group's and the gateway's too. Without a
    time, raises that end count as ended.
    """
    blocking = [standing for standing in standings if _counts_every_call(standing.limit)]
    tightest = min(blocking, key=lambda standing: standing.left_nano, default=None)
    # What all clients together have spent is shown to one of them only where it is what stops him first.
    shown = [standing for standing in blocking if standing.whose is not Whose.GATEWAY or standing is tightest]
    return {
        "data": {
            "label": client.masked,
            "name": client.name,
            "limit": None if tightest is None else _usd(tightest.size_nano),
            "limit_remaining": None if tightest is None else _usd(max(0, tightest.left_nano)),
            "limit_reset": None if tightest is None else _RESETS.get(tightest.limit.span),
            "include_byok_in_limit": False,
            "usage": _usd(spent.total_nano),
            "usage_daily": _usd(spent.day_nano),
            "usage_weekly": _usd(spent.week_nano),
            "usage_monthly": _usd(spent.month_nano),
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
            "budgets": [_budget(standing) for standing in shown],
            "effective_budget": None if tightest is None else _budget(tightest),
            # The pool's account has such a quota, a client key has none.
            "free_model_daily_requests": {"used": 0, "limit": 0, "remaining": 0},
            "rate_limit": _rate_limit(client, now_s),
        }
    }


def credits_answer(spent: Spent, standings: Sequence[Standing] = ()) -> dict[str, Any]:
    """The body of `GET /credits`, to be encoded by msgspec.

    A client key has as many credits as it may use in all; without such a limit, what it used.
    """
    left = [
        standing.left_nano
        for standing in standings
        if standing.limit.span is Span.TOTAL and _counts_every_call(standing.limit)
    ]
    total_nano = spent.total_nano + max(0, min(left, default=0))
    return {"data": {"total_credits": _usd(total_nano), "total_usage": _usd(spent.total_nano)}}


def _counts_every_call(limit: Limit) -> bool:
    """A limit for some models or for each end user apart has no place in OpenRouter's schema."""
    return not (limit.models or limit.each_user or limit.shadow)


def _budget(standing: Standing) -> dict[str, Any]:
    """OpenRouter's `KeyBudget`. A group and the gateway are to a client key what a workspace is."""
    own = standing.whose is Whose.KEY
    return {
        "scope": "key_limit" if own else "workspace",
        "limit_usd": _usd(standing.size_nano),
        "spend_usd": _usd(standing.used_nano),
        "remaining_usd": _usd(standing.left_nano),
        "reset_interval": _RESETS.get(standing.limit.span),
        "resets_at": _instant(standing.resets_at),
        "include_byok": False,
        "budget_id": None if own else standing.limit.id,
        "guardrail_id": None,
    }


def _rate_limit(client: ClientKey, now_s: float) -> dict[str, Any]:
    """The key's own limit of requests that is reached first by a steady caller."""
    rates = [
        (limit.size_at(now_s), _SPAN_S[limit.span])
        for limit in client.limits
        if limit.unit is Unit.REQUESTS and limit.span in _SPAN_S and _counts_every_call(limit)
    ]
    if not rates:
        return {"requests": -1, "interval": "10s", "note": "This field is deprecated and safe to ignore."}
    size, span_s = min(rates, key=lambda rate: rate[0] / rate[1])
    return {"requests": size, "interval": f"{span_s}s", "note": "So many requests in any interval of this length."}


def _usd(nano: int) -> msgspec.Raw:
    return msgspec.Raw(dollars(nano).encode())


def _instant(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
