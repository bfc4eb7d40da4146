"""Limits for as long as Redis is away, from what this worker knows: its share of a rate, the money that was last known
to be left, its own running calls. Nothing here is exact, and nothing is without a bound.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from app.core.clock import Clock
from app.models.limits import Span, Unit
from app.services.limit_plan import Check, Checks, amount_of
from app.services.limit_refusal import SPAN_S, refusal, unavailable
from app.services.limit_script import Admission
from app.services.money import Amounts, resets_at
from app.services.spending import period_of

_MOST_KNOWN: Final = 100_000
_MOST_HOLDS: Final = 100_000


@dataclass(frozen=True, slots=True)
class WithoutRedis:
    """What the operator has decided."""

    rates: Literal["share", "allow", "refuse"] = "share"
    budgets: Literal["remainder", "refuse"] = "remainder"


@dataclass(slots=True)
class _Left:
    """Money known to be left of one limit in one period."""

    period: str
    nano: int


class LocalLimits:
    """`workers`: how many share each rate, as far as is known."""

    def __init__(self, clock: Clock, without: WithoutRedis) -> None:
        self._clock = clock
        self._without = without
        self.workers = 1
        self._left: dict[tuple[str, str], _Left] = {}
        self._counts: dict[tuple[str, str], deque[tuple[int, int]]] = {}
        self._running: dict[tuple[str, str], int] = {}
        self._holds: dict[str, list[tuple[Check, int]]] = {}

    def learn(self, checks: Checks, used: Sequence[float], now_s: float) -> None:
        """What Redis has said of each limit."""
        for check, one in zip(checks.items, used, strict=True):
            if check.limit.unit is Unit.USD and len(self._left) < _MOST_KNOWN:
                left = check.limit.size_at(now_s) - int(one)
                self._left[_place(check)] = _Left(period_of(check.limit.span, now_s), left)

    def admit(self, call: Admission) -> None:
        """Raises GatewayError; else the amounts count until `ended` and `settled`."""
        now_s = self._clock.wall_s()
        checks, amounts = call.checks, call.amounts
        for check in checks.items:
            if not check.limit.shadow:
                self._judge(check, amounts, now_s)
        held: list[tuple[Check, int]] = []
        for check in checks.items:
            amount = amount_of(check, amounts)
            if check.limit.unit is Unit.USD:
                if (left := self._left.get(_place(check))) is not None:
                    left.nano -= amount
                held.append((check, amount))
            elif check.limit.unit is Unit.CONCURRENT:
                self._running[_place(check)] = self._running.get(_place(check), 0) + 1
                held.append((check, 1))
            else:
                self._count(_place(check), int(now_s), amount)
        if held and len(self._holds) < _MOST_HOLDS:
            self._holds[call.hold] = held

    def _count(self, place: tuple[str, str], second: int, amount: int) -> None:
        counted = self._counts.setdefault(place, deque())
        if counted and counted[-1][0] == second:
            amount += counted.pop()[1]
        counted.append((second, amount))

    def ended(self, hold: str) -> None:
        held = self._holds.get(hold)
        if held is not None:
            self._holds[hold] = [one for one in held if not self._freed(one[0])]

    def settled(self, hold: str, cost_nano: int) -> None:
        """What was reserved too much is left again."""
        for check, amount in self._holds.pop(hold, ()):
            if not self._freed(check) and (left := self._left.get(_place(check))) is not None:
                left.nano += amount - cost_nano

    def _freed(self, check: Check) -> bool:
        if check.limit.unit is not Unit.CONCURRENT:
            return False
        place = _place(check)
        if self._running.get(place, 0) <= 1:
            self._running.pop(place, None)
        else:
            self._running[place] -= 1
        return True

    def _judge(self, check: Check, amounts: Amounts, now_s: float) -> None:
        size = check.limit.size_at(now_s)
        if check.limit.unit is Unit.USD:
            left = self._left.get(_place(check))
            if self._without.budgets == "refuse" or left is None:
                raise unavailable()
            if left.period != period_of(check.limit.span, now_s):
                self._left[_place(check)] = left = _Left(period_of(check.limit.span, now_s), size)
            if left.nano < amounts.nano:
                ends_s = resets_at(check.limit.span, now_s)
                raise refusal(check, size - left.nano, amounts.nano, ends_s, now_s)
            return
        if self._without.rates == "allow":
            return
        if self._without.rates == "refuse":
            raise unavailable()
        share = max(1, size // self.workers)
        used = self._used(check, now_s)
        wanted = amount_of(check, amounts)
        if used + wanted > share:
            raise refusal(check, used, wanted, now_s + SPAN_S.get(check.limit.span, 1.0), now_s)

    def _used(self, check: Check, now_s: float) -> int:
        if check.limit.span is Span.NOW:
            return self._running.get(_place(check), 0)
        counted = self._counts.get(_place(check))
        if counted is None:
            return 0
        while counted and counted[0][0] <= now_s - SPAN_S[check.limit.span]:
            counted.popleft()
        return sum(amount for _, amount in counted)


def _place(check: Check) -> tuple[str, str]:
    return check.subject, check.limit.id
