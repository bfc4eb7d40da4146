"""Limits for as long as Redis is away, from what this worker knows: its share of a rate, the money that was last known
to be left, its own running calls. Nothing here is exact, and nothing is without a bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from app.core.clock import Clock
from app.models.limits import Span, Unit
from app.services.limit_plan import PARTS, Check, Checks, amount_of
from app.services.limit_refusal import refusal, unavailable
from app.services.limit_script import Admission
from app.services.money import resets_at
from app.services.spending import period_of

_MOST_KNOWN: Final = 100_000
_MOST_HOLDS: Final = 100_000
_DAY_S: Final = 86_400

Place = tuple[str, str]


@dataclass(frozen=True, slots=True)
class WithoutRedis:
    """What the operator has decided."""

    rates: Literal["share", "allow", "refuse"] = "share"
    budgets: Literal["remainder", "refuse"] = "remainder"


class _Budget:
    """What is used of a limit of money: as Redis said last, and what was let in here since."""

    __slots__ = ("at_s", "used")

    def __init__(self, used: int, at_s: float) -> None:
        self.used = used
        self.at_s = at_s


class _Hold:
    """What a call that was let in here has taken."""

    __slots__ = ("budgets", "nano", "running")

    def __init__(self, nano: int, budgets: list[_Budget], running: list[Place]) -> None:
        self.nano = nano
        self.budgets = budgets
        self.running = running


class LocalLimits:
    """`workers`: how many share each rate, as far as is known."""

    def __init__(self, clock: Clock, without: WithoutRedis) -> None:
        self._clock = clock
        self._without = without
        self.workers = 1
        self._budgets: dict[Place, _Budget] = {}
        self._counts: dict[Place, dict[int, int]] = {}
        self._running: dict[Place, int] = {}
        self._holds: dict[str, _Hold] = {}
        self._began: dict[str, list[Place]] = {}

    def learn(self, checks: Checks, used: Sequence[float], at_s: float) -> None:
        """What Redis has said of each limit. What it said of a day that is over is no news."""
        for index, place in checks.budgets:
            known = self._budgets.get(place)
            if known is not None:
                if at_s >= known.at_s or at_s // _DAY_S == known.at_s // _DAY_S:
                    self._budgets[place] = _Budget(int(used[index]), at_s)
            elif len(self._budgets) < _MOST_KNOWN:
                self._budgets[place] = _Budget(int(used[index]), at_s)

    @property
    def holds(self) -> bool:
        """Whether anything is to be told of the end of calls."""
        return bool(self._holds or self._began)

    def began(self, hold: str, running: list[Place]) -> None:
        """Redis has let it in, and it has these places among the running calls."""
        if len(self._began) < _MOST_HOLDS:
            self._began[hold] = running

    def take_over(self) -> None:
        """Redis goes away: what runs counts here as well until it has ended, so that it is not let in once more."""
        for hold, running in self._began.items():
            self._run(running)
            self._holds[hold] = _Hold(0, [], running)
        self._began = {}

    def admit(self, call: Admission) -> int:
        """How many nano-dollars it may use; they count until it is settled. Raises GatewayError."""
        now_s = self._clock.wall_s()
        if len(self._holds) >= _MOST_HOLDS:
            raise unavailable()
        nano = call.amounts.nano
        for check in call.checks.items:
            if check.limit.shadow:
                continue
            if check.limit.unit is Unit.USD:
                nano = self._affordable(check, call, nano, now_s)
            else:
                self._judge(check, call, now_s)
        self._take(call, nano, now_s)
        return nano

    def _take(self, call: Admission, nano: int, now_s: float) -> None:
        budgets = []
        for check in call.checks.items:
            place = check.place
            if check.limit.unit is Unit.USD:
                if (budget := self._budgets.get(place)) is not None:
                    budget.used += nano
                    budgets.append(budget)
            elif check.limit.unit is not Unit.CONCURRENT and self._without.rates == "share":
                self._count(check, amount_of(check, call.amounts), now_s)
        running = call.checks.running
        self._run(running)
        if budgets or running:
            self._holds[call.hold] = _Hold(nano, budgets, running)

    def _run(self, places: list[Place]) -> None:
        for place in places:
            self._running[place] = self._running.get(place, 0) + 1

    def ended(self, hold: str) -> None:
        """Its place among the running calls is free."""
        self._began.pop(hold, None)
        held = self._holds.get(hold)
        if held is None:
            return
        for place in held.running:
            if self._running[place] == 1:
                del self._running[place]
            else:
                self._running[place] -= 1
        held.running = []

    def settled(self, hold: str, cost_nano: int) -> None:
        """What was reserved too much is left again."""
        self.ended(hold)
        held = self._holds.pop(hold, None)
        if held is not None:
            for budget in held.budgets:
                budget.used += cost_nano - held.nano

    def _affordable(self, check: Check, call: Admission, nano: int, now_s: float) -> int:
        span, size = check.limit.span, check.limit.size_at(now_s)
        budget = self._budgets.get(check.place)
        if self._without.budgets == "refuse" or budget is None:
            raise unavailable()
        if period_of(span, budget.at_s) != period_of(span, now_s):
            budget = self._budgets[check.place] = _Budget(0, now_s)
        left = size - budget.used
        if left >= nano:
            return nano
        if call.clamp and 0 < call.amounts.least_nano <= left:
            return left
        raise refusal(check, budget.used, call.amounts.nano, resets_at(span, now_s), now_s)

    def _judge(self, check: Check, call: Admission, now_s: float) -> None:
        if self._without.rates == "allow":
            return
        if self._without.rates == "refuse":
            raise unavailable()
        share = max(1, check.limit.size_at(now_s) // self.workers)
        wanted = amount_of(check, call.amounts)
        used, fits_at_s = self._used(check, share - wanted, now_s)
        if used + wanted > share:
            raise refusal(check, used, wanted, fits_at_s, now_s, share=share)

    def _used(self, check: Check, most: int, now_s: float) -> tuple[int, float]:
        """How much, and when it will be no more than `most`."""
        if check.limit.span is Span.NOW:
            return self._running.get(check.place, 0), now_s
        parts, part_s = PARTS[check.limit.span]
        counts = self._counts.get(check.place, {})
        for part in [part for part in counts if part < now_s // part_s - parts]:
            del counts[part]
        used = left = sum(counts.values())
        last = int(now_s // part_s)
        for part in sorted(counts):
            if left <= most:
                break
            left -= counts[part]
            last = part
        return used, float((last + parts + 1) * part_s)

    def _count(self, check: Check, amount: int, now_s: float) -> None:
        if len(self._counts) >= _MOST_KNOWN:
            self._counts.clear()
        part = int(now_s // PARTS[check.limit.span][1])
        counts = self._counts.setdefault(check.place, {})
        counts[part] = counts.get(part, 0) + amount
