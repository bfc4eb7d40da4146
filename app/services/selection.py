"""Which key serves a call. Pure given the pool's state: no clock, no effect."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Protocol, TypeVar


class Candidate(Protocol):
    """What the choice depends on."""

    @property
    def id(self) -> str: ...

    @property
    def in_flight(self) -> int: ...

    @property
    def leases(self) -> int: ...

    @property
    def resting_until(self) -> float: ...


C = TypeVar("C", bound=Candidate)


def choose(candidates: Iterable[C], tried: Collection[str], now_s: float) -> C | None:
    """The key with the least calls in flight; among equals the one that was leased least, so that an idle pool takes
    turns.

    Keys in `tried` and keys at rest are passed over.
    """
    best: C | None = None
    for key in candidates:
        if key.resting_until > now_s or key.id in tried:
            continue
        if best is None or (key.in_flight, key.leases) < (best.in_flight, best.leases):
            best = key
    return best


def soonest_s(candidates: Iterable[Candidate], now_s: float) -> float | None:
    """Seconds until the first key is back from its rest, or None where there is no key at all."""
    waits = [key.resting_until - now_s for key in candidates]
    return max(0.0, min(waits)) if waits else None
