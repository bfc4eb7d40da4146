"""The bounds on further tries."""

from __future__ import annotations

import pytest

from app.models.marks import Move, Verdict
from app.services.rescue import Bounds, RetryBudget, helps, in_time


def test_in_an_outage_tries_stay_a_share_of_the_calls() -> None:
    """Of a thousand calls in a moment, each wanting two more tries, a fifth gets one, and the few that are kept."""
    budget = RetryBudget(0.2)
    granted = 0
    for _ in range(1000):
        budget.add()
        granted += sum(budget.take(5.0) for _ in range(2))

    assert 200 <= granted <= 200 + RetryBudget.AT_FIRST


def test_a_quiet_gateway_rescues_every_call() -> None:
    """One call in a second may always be tried again."""
    budget = RetryBudget(0.01)
    for second in range(1, 100):
        budget.add()
        assert budget.take(float(second))


def test_a_share_of_nothing_means_never() -> None:
    """The operator has switched it off."""
    budget = RetryBudget(0)
    budget.add()

    assert not budget.take(1.0)
    assert not budget.take(1000.0)


def test_tokens_do_not_pile_up() -> None:
    """A busy hour does not pay for a storm."""
    budget = RetryBudget(1.0)
    for _ in range(100_000):
        budget.add()

    assert sum(budget.take(1.0) for _ in range(1000)) == RetryBudget.MOST


@pytest.mark.parametrize(
    ("move", "unbilled", "repeatable", "good"),
    [
        (Move.NONE, True, True, False),
        (Move.KEY, False, False, False),
        (Move.KEY, True, False, True),
        (Move.KEY, False, True, True),
        (Move.ACCOUNT, True, False, True),
        (Move.AGAIN, False, True, True),
    ],
)
def test_nobody_pays_twice(move: Move, unbilled: bool, repeatable: bool, good: bool) -> None:
    """A further try needs a place to go to, and a proof or a call that costs nothing so far."""
    assert helps(Verdict(move=move, unbilled=unbilled), repeatable=repeatable) is good


@pytest.mark.parametrize(
    ("tries", "spent_s", "good"), [(1, 0.0, True), (3, 0.0, False), (1, 60.0, False), (2, 59, True)]
)
def test_tries_are_bounded_by_number_and_time(tries: int, spent_s: float, good: bool) -> None:
    """Whichever comes first."""
    assert in_time(Bounds(3, 60.0), tries, spent_s) is good
