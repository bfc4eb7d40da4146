"""Accounts and keys: what they may spend, what they have spent, and who is refused for what. Knows no HTTP."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from simulator.catalogue import Model

FREE_DAILY_SMALL, FREE_DAILY_LARGE = 50, 1000
_LARGE_FROM_NANO = 10 * 10**9  # bought in total
PERIODS = ("daily", "weekly", "monthly")


def period_start(period: str | None, now: float) -> datetime | None:
    """The UTC instant at which the running day, week (Monday) or month began; None: since ever."""
    today = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "daily":
        return today
    if period == "weekly":
        return today - timedelta(days=today.weekday())
    if period == "monthly":
        return today.replace(day=1)
    return None


def period_end(period: str | None, now: float) -> datetime | None:
    start = period_start(period, now)
    if start is None:
        return None
    if period == "monthly":
        return (start + timedelta(days=32)).replace(day=1)
    return start + timedelta(days=1 if period == "daily" else 7)


def iso(at: float | datetime | None) -> str | None:
    if at is None:
        return None
    moment = at if isinstance(at, datetime) else datetime.fromtimestamp(at, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Spending:
    """Money spent in total and in the running UTC day, week and month."""

    def __init__(self) -> None:
        self.total_nano = 0
        self._periods: dict[str, tuple[datetime | None, int]] = {}

    def add(self, nano: int, now: float) -> None:
        self.total_nano += nano
        for period in PERIODS:
            self._periods[period] = (period_start(period, now), self.read(period, now) + nano)

    def read(self, period: str | None, now: float) -> int:
        if period not in PERIODS:
            return self.total_nano
        start, nano = self._periods.get(period, (None, 0))
        return nano if start == period_start(period, now) else 0


@dataclass(slots=True)
class Account:
    """A user or an organization: the credits, and the quotas that all its keys share."""

    id: str
    credits_nano: int = 100 * 10**9  # bought, ever
    organization_id: str | None = None
    workspace_id: str = "7f3b3f0e-0000-4000-8000-000000000001"
    in_flight_budget_nano: int | None = None
    suspended: bool = False
    spending: Spending = field(default_factory=Spending)
    in_flight_nano: int = 0
    free_day: tuple[int, int] = (0, 0)  # (UTC day, requests)
    free_minute: tuple[int, int] = (0, 0)

    @property
    def balance_nano(self) -> int:
        return self.credits_nano - self.spending.total_nano

    @property
    def free_daily_limit(self) -> int:
        return FREE_DAILY_LARGE if self.credits_nano >= _LARGE_FROM_NANO else FREE_DAILY_SMALL

    def free_used(self, now: float) -> int:
        day, used = self.free_day
        return used if day == int(now // 86_400) else 0

    def count_free(self, now: float, per_minute: int) -> str | None:
        """Counts one attempt on a `:free` model; the name of the quota it exceeds, if any."""
        minute, day = int(now // 60), int(now // 86_400)
        in_minute = self.free_minute[1] if self.free_minute[0] == minute else 0
        if in_minute >= per_minute:
            return "429-free-minute"
        self.free_minute = (minute, in_minute + 1)
        used = self.free_used(now)
        if used >= self.free_daily_limit:
            return "429-free-daily"
        self.free_day = (day, used + 1)
        return None


@dataclass(slots=True)
class Key:
    """An API key. The secret is kept because a fake has nothing to protect; it is never printed or listed."""

    secret: str = field(repr=False)
    account: Account
    name: str = "key"
    management: bool = False
    limit_nano: int | None = None
    limit_reset: str | None = None
    include_byok_in_limit: bool = False
    disabled: bool = False
    deleted: bool = False
    expires_at: float | None = None
    created_at: float = 0.0
    updated_at: float | None = None
    workspace_id: str = ""
    spending: Spending = field(default_factory=Spending)

    def __post_init__(self) -> None:
        self.workspace_id = self.workspace_id or self.account.workspace_id

    @property
    def hash(self) -> str:
        return sha256(self.secret.encode()).hexdigest()

    @property
    def label(self) -> str:
        return f"{self.secret[:12]}...{self.secret[-4:]}"

    def limit_remaining_nano(self, now: float) -> int | None:
        if self.limit_nano is None:
            return None
        return max(0, self.limit_nano - self.spending.read(self.limit_reset, now))

    def expired(self, now: float) -> bool:
        return self.expires_at is not None and self.expires_at <= now


def new_secret() -> str:
    return f"sk-or-v1-{secrets.token_hex(32)}"


def refusal(key: Key, model: Model, reserve_nano: int, now: float, free_per_minute: int) -> str | None:
    """The name of the fault with which this key's request is refused, or None. Counts attempts on free models."""
    account = key.account
    if account.suspended:
        return "403-suspended"
    if model.free:
        if account.balance_nano < 0:
            return "402-credits"
        return account.count_free(now, free_per_minute)
    remaining = key.limit_remaining_nano(now)
    if remaining is not None and remaining <= 0:
        return "403-key-limit"
    if account.balance_nano <= 0:
        return "402-credits"
    if remaining is not None and reserve_nano > remaining:
        return "402-key-limit"
    if reserve_nano > account.balance_nano:
        return "402-too-big"
    budget = account.in_flight_budget_nano
    if budget is not None and account.in_flight_nano + reserve_nano > budget:
        return "402-in-flight"
    return None
