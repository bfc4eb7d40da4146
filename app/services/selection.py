"""Which key serves the next call, among those that may: one function for each strategy. Pure but for the dice, which
are handed in. Knows no mark, no cap and no clock.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from heapq import heapify, heapreplace
from itertools import accumulate, groupby
from operator import attrgetter
from typing import Any, Final, Generic, Protocol, TypeVar


class Strategy(StrEnum):
    """In each of them a key of weight 0 serves only where no other one can."""

    BALANCED = "balanced"
    """The least calls in flight for its weight, of two that are drawn by weight."""
    ROUND_ROBIN = "round_robin"
    WEIGHTED = "weighted"
    """Drawn by weight, whatever is in flight."""
    LEAST_USED = "least_used"
    LEAST_RECENT = "least_recent"
    RANDOM = "random"
    MOST_CREDIT = "most_credit"
    TIERS = "tiers"
    """Balanced in the lowest tier; the next one takes what that cannot."""


class Candidate(Protocol):
    """What the choice depends on. `leases`, `turn` and `credit_spent` never fall while a group lives."""

    @property
    def id(self) -> str: ...

    @property
    def account(self) -> str: ...

    @property
    def weight(self) -> int: ...

    @property
    def tier(self) -> int: ...

    @property
    def in_flight(self) -> int: ...

    @property
    def leases(self) -> int: ...

    @property
    def turn(self) -> int:
        """When it was last leased, as a number that rises with every lease."""

    @property
    def credit_nano(self) -> float:
        """What is left of it; infinite where no limit is known."""


C = TypeVar("C", bound=Candidate)
_SCANNED: Final = 8


class Group(Generic[C]):
    """Keys that may serve now, at least one, in a form from which one is chosen fast. It never changes."""

    __slots__ = ("_by_account", "_by_id", "_heap", "count", "even", "keys", "sums", "turn")

    def __init__(self, keys: Sequence[C]) -> None:
        self.keys = keys
        self.count = len(keys)
        # Most accounts have one key, and there may be a thousand of them.
        weights: Sequence[int] = [key.weight for key in keys] if self.count > 1 else (1,)
        self.even = min(weights) == max(weights)
        self.sums: Sequence[int] = () if self.even else list(accumulate(weights))
        self.turn = -1
        self._heap: list[tuple[Any, int, C]] | None = None
        self._by_account: dict[str, Group[C]] | None = None
        self._by_id: dict[str, C] | None = None

    @property
    def by_account(self) -> dict[str, Group[C]]:
        if self._by_account is None:
            found: dict[str, list[C]] = {}
            for key in self.keys:
                found.setdefault(key.account, []).append(key)
            self._by_account = {account: Group(keys) for account, keys in found.items()}
        return self._by_account

    @property
    def by_id(self) -> dict[str, C]:
        if self._by_id is None:
            self._by_id = {key.id: key for key in self.keys}
        return self._by_id

    def least(self, measure: Callable[[C], Any]) -> C:
        """The key that measures least. As measures only rise, a heap is put right where it is looked at."""
        if self._heap is None:
            self._heap = [(measure(key), place, key) for place, key in enumerate(self.keys)]
            heapify(self._heap)
        while True:
            measured, place, key = self._heap[0]
            now = measure(key)
            if now == measured:
                return key
            heapreplace(self._heap, (now, place, key))


def picker(strategy: Strategy, dice: Callable[[], float]) -> Callable[[Group[C]], C]:
    """The function that chooses. `dice` gives numbers from 0 up to 1."""
    draws: _Draws[Any] = _Draws(dice)
    picks: dict[Strategy, Callable[[Group[Any]], Any]] = {
        Strategy.BALANCED: draws.balanced,
        Strategy.ROUND_ROBIN: draws.in_turn,
        Strategy.WEIGHTED: draws.weighted,
        Strategy.LEAST_USED: lambda group: group.least(attrgetter("leases")),
        Strategy.LEAST_RECENT: lambda group: group.least(attrgetter("turn")),
        Strategy.RANDOM: draws.anyone,
        Strategy.MOST_CREDIT: lambda group: group.least(_credit_spent),
        Strategy.TIERS: draws.balanced,
    }
    return picks[strategy]


class _Draws(Generic[C]):
    """The choices that depend on the dice."""

    __slots__ = ("_dice",)

    def __init__(self, dice: Callable[[], float]) -> None:
        self._dice = dice

    def anyone(self, group: Group[C]) -> C:
        return group.keys[int(self._dice() * group.count)]

    def weighted(self, group: Group[C]) -> C:
        if group.even:
            return group.keys[int(self._dice() * group.count)]
        return group.keys[bisect(group.sums, self._dice() * group.sums[-1])]

    def balanced(self, group: Group[C]) -> C:
        if group.count > _SCANNED:
            return _freer(self.weighted(group), self.weighted(group), even=group.even)
        if group.even:
            return _freest(group.keys)
        best = self.weighted(group)
        for key in group.keys:
            if key.in_flight * best.weight < best.in_flight * key.weight:
                best = key
        return best

    def in_turn(self, group: Group[C]) -> C:
        group.turn = self._resumed(group) if group.turn < 0 else (group.turn + 1) % group.count
        return group.keys[group.turn]

    def _resumed(self, group: Group[C]) -> int:
        """After the key that served last: groups are made anew whenever something changes, which must not show."""
        last = max(range(group.count), key=lambda place: group.keys[place].turn)
        # Workers that start together do not all begin with the first one.
        return (last + 1) % group.count if group.keys[last].turn else int(self._dice() * group.count)


def _freer(first: C, second: C, *, even: bool) -> C:
    one, other = first.in_flight, second.in_flight
    if not even:
        return first if one * second.weight <= other * first.weight else second
    if one == other:
        return first if first.turn <= second.turn else second
    return first if one < other else second


def _freest(keys: Sequence[C]) -> C:
    """Among equals the one that has waited longest, so that an idle pool takes turns."""
    best = keys[0]
    least, turn = best.in_flight, best.turn
    for key in keys:
        load = key.in_flight
        if load < least or (load == least and key.turn < turn):
            best, least, turn = key, load, key.turn
    return best


def _credit_spent(key: Candidate) -> tuple[float, int]:
    return -key.credit_nano, key.leases


def ordered(strategy: Strategy, keys: Iterable[C]) -> tuple[Group[C], ...]:
    """The groups in which a key is looked for, one after the other."""
    weighty: list[C] = []
    reserve: list[C] = []
    for key in keys:
        (weighty if key.weight else reserve).append(key)
    parts: list[list[C]] = [weighty]
    if strategy is Strategy.TIERS:
        by_tier = attrgetter("tier")
        parts = [list(tier) for _, tier in groupby(sorted(weighty, key=by_tier), by_tier)]
    return tuple(Group(part) for part in (*parts, reserve) if part)


def shared_limits(accounts: Iterable[str]) -> str:
    """A warning for people where keys outnumber the accounts, because limits belong to accounts; else nothing.

    One account for each key, empty where nobody knows it.
    """
    known = [account for account in accounts if account]
    distinct = len(set(known))
    if distinct == len(known):
        return ""
    if distinct == 1:
        return f"{len(known)} keys, 1 account: no extra rate limit"
    return f"{len(known)} keys, {distinct} accounts: keys of one account share its rate limits"
