"""Which key is chosen, given the pool."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from app.services.selection import choose, soonest_s


@dataclass
class Key:
    """A candidate."""

    id: str
    in_flight: int = 0
    leases: int = 0
    resting_until: float = 0.0


@pytest.mark.parametrize(
    ("keys", "tried", "chosen"),
    [
        ([], (), None),
        ([Key("a")], (), "a"),
        ([Key("a", in_flight=2), Key("b", in_flight=1)], (), "b"),
        ([Key("a", leases=5), Key("b", leases=4)], (), "b"),
        ([Key("a", resting_until=11), Key("b", in_flight=9)], (), "b"),
        ([Key("a", resting_until=10), Key("b", in_flight=9)], (), "a"),
        ([Key("a"), Key("b", in_flight=9)], {"a"}, "b"),
        ([Key("a")], {"a"}, None),
    ],
)
def test_the_least_busy_ready_key_is_chosen(keys: list[Key], tried: set[str], chosen: str | None) -> None:
    """Load first, then turns; tried and resting keys are passed over."""
    found = choose(keys, tried, 10.0)

    assert chosen == (found.id if found else None)


@pytest.mark.parametrize(
    ("keys", "wait"),
    [([], None), ([Key("a", resting_until=12), Key("b", resting_until=11)], 1.0), ([Key("a")], 0.0)],
)
def test_the_soonest_return(keys: list[Key], wait: float | None) -> None:
    """How long until somebody is back."""
    assert wait == soonest_s(keys, 10.0)
