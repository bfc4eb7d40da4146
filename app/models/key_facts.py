"""What a probe has learnt of an OpenRouter key, as a frozen fact that all workers share. Money is in nano-dollars."""

from __future__ import annotations

import msgspec


class Budget(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The budget that blocks first. `scope` in OpenRouter's words: key_limit, api_key, member, workspace, …"""

    scope: str
    remaining_nano: int | None = None
    resets_at: float | None = None


class KeyFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """None and "" mean that OpenRouter did not say. `probed_at` is wall-clock seconds since the epoch."""

    id: str
    probed_at: float = 0.0
    label: str = ""
    is_management: bool = False
    is_free_tier: bool = False
    account: str = ""
    """The organization's id, else the creator's: what shares credits, limits and quotas."""
    workspace: str = ""
    limit_nano: int | None = None
    limit_remaining_nano: int | None = None
    limit_reset: str = ""
    """`daily`, `weekly`, `monthly`, or nothing for a limit for life."""
    usage_nano: int = 0
    usage_daily_nano: int | None = None
    budget: Budget | None = None
    tells_budgets: bool = False
    """Whether the answer spoke of budgets at all: without it, no limit does not mean that none is spent."""
    free_used: int | None = None
    free_remaining: int | None = None
    expires_at: float | None = None
    balance_nano: int | None = None
    """The account's credits that are left; only a management key may ask for them."""

    @property
    def available_nano(self) -> int | None:
        """What may still be spent by the narrower of limit and budget; None where neither is known."""
        budget = None if self.budget is None else self.budget.remaining_nano
        known = [nano for nano in (self.limit_remaining_nano, budget) if nano is not None]
        return min(known) if known else None

    @property
    def has_money(self) -> bool:
        """Whether it is proven that no cap of this key is spent."""
        available = self.available_nano
        return self.tells_budgets if available is None else available > 0
