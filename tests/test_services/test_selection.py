"""Which key is chosen among those that may serve."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import dataclass

import pytest

from app.services.selection import Group, Strategy, ordered, picker, shared_limits


@dataclass
class Key:
    """A candidate."""

    id: str
    weight: int = 1
    in_flight: int = 0
    leases: int = 0
    turn: int = 0
    tier: int = 0
    account: str = ""
    credit_nano: float = math.inf


def keys(many: int, **facts: int) -> list[Key]:
    return [Key(str(number), **facts) for number in range(many)]


def serve(strategy: Strategy, pool: list[Key], calls: int, *, hold: bool = False) -> Counter[str]:
    """How often each key is chosen, when calls come one after the other, or all at once."""
    pick = picker(strategy, random.Random(7).random)
    group = Group(pool)
    used: Counter[str] = Counter()
    for turn in range(1, calls + 1):
        key = pick(group)
        key.leases += 1
        key.turn = turn
        key.in_flight += hold
        used[key.id] += 1
    return used


@pytest.mark.parametrize("strategy", list(Strategy))
@pytest.mark.parametrize("many", [3, 1000])
@pytest.mark.parametrize("hold", [False, True])
def test_equal_keys_are_used_evenly(strategy: Strategy, many: int, hold: bool) -> None:
    """Whatever the strategy, one after the other or all at once."""
    used = serve(strategy, keys(many), 10 * many, hold=hold)
    assert len(used) > 0.99 * many
    assert max(used.values()) <= (30 if strategy in {Strategy.RANDOM, Strategy.WEIGHTED} else 20)


@pytest.mark.parametrize("strategy", [Strategy.BALANCED, Strategy.WEIGHTED, Strategy.TIERS])
@pytest.mark.parametrize("many", [4, 40])
@pytest.mark.parametrize("hold", [False, True])
def test_weights_are_shares(strategy: Strategy, many: int, hold: bool) -> None:
    """Three quarters of the calls go to the half that weighs three times as much."""
    pool = keys(many)
    for key in pool[: many // 2]:
        key.weight = 3
    used = serve(strategy, pool, 4000, hold=hold)
    assert sum(used[key.id] for key in pool[: many // 2]) == pytest.approx(3000, abs=120)


@pytest.mark.parametrize("even", [True, False])
@pytest.mark.parametrize("many", [5, 200])
def test_balanced_keeps_the_load_level(many: int, even: bool) -> None:
    """Of calls that all run at once, no key has far more than its share."""
    pool = keys(many)
    if not even:
        pool[0].weight = 2
    serve(Strategy.BALANCED, pool, 20 * many, hold=True)
    assert max(key.in_flight / key.weight for key in pool) <= 24


def test_an_idle_small_pool_takes_turns() -> None:
    """Among equals the one that has waited longest."""
    assert set(serve(Strategy.BALANCED, keys(5), 50).values()) == {10}


@pytest.mark.parametrize("strategy", [Strategy.LEAST_USED, Strategy.LEAST_RECENT, Strategy.ROUND_ROBIN])
def test_turns_are_exact(strategy: Strategy) -> None:
    """Each of the keys serves the same number of calls."""
    assert set(serve(strategy, keys(30), 300).values()) == {10}


@pytest.mark.parametrize("many", [2, 30])
def test_turns_go_on_where_groups_are_made_anew(many: int) -> None:
    """Something changes after every few calls, and yet nobody is left out or served twice in a round."""
    pick = picker(Strategy.ROUND_ROBIN, random.Random(7).random)
    pool = keys(many)
    group = Group(pool)
    used: Counter[str] = Counter()
    for turn in range(1, 10 * many + 1):
        if turn % 7 == 0:
            group = Group(pool)
        key = pick(group)
        key.turn = turn
        used[key.id] += 1
    assert set(used.values()) == {10}


def test_workers_do_not_begin_with_the_same_key() -> None:
    """Where none has served yet, the dice say which one is first."""
    pool = keys(100)
    first = {picker(Strategy.ROUND_ROBIN, random.Random(seed).random)(Group(pool)).id for seed in range(8)}
    assert len(first) > 5


def test_least_used_and_least_recent_look_at_the_past() -> None:
    """One at how often, one at when."""
    pool = [Key("often", leases=9, turn=1), Key("late", leases=1, turn=9)]
    assert picker(Strategy.LEAST_USED, random.random)(Group(pool)).id == "late"
    assert picker(Strategy.LEAST_RECENT, random.random)(Group(pool)).id == "often"


def test_most_credit_is_spent_first() -> None:
    """No limit is the most; what is spent changes the choice at once; equals take turns."""
    pool = [Key("a", credit_nano=5), Key("b", credit_nano=9), Key("c", credit_nano=7)]
    pick = picker(Strategy.MOST_CREDIT, random.random)
    group = Group(pool)
    assert pick(group).id == "b"
    pool[1].credit_nano = 6
    assert pick(group).id == "c"
    assert set(serve(Strategy.MOST_CREDIT, [*keys(3), Key("poor", credit_nano=10**9)], 30)) == {"0", "1", "2"}


def test_groups_by_tier_and_reserve() -> None:
    """The lowest tier first; a key without weight comes last, in every strategy."""
    pool = [Key("b", tier=2), Key("a", tier=1), Key("r", weight=0), Key("c", tier=2)]
    tiers = ordered(Strategy.TIERS, pool)
    assert [[key.id for key in group.keys] for group in tiers] == [["a"], ["b", "c"], ["r"]]
    assert [[key.id for key in group.keys] for group in ordered(Strategy.BALANCED, pool)] == [["b", "a", "c"], ["r"]]
    assert ordered(Strategy.BALANCED, []) == ()
    assert picker(Strategy.BALANCED, random.random)(tiers[2]).id == "r"


def test_a_group_knows_accounts_and_ids() -> None:
    """For what looks for something certain in it."""
    group = Group([Key("1", account="a"), Key("2", account="b"), Key("3", account="a")])
    assert {account: sub.count for account, sub in group.by_account.items()} == {"a": 2, "b": 1}
    assert group.by_id["3"] is group.keys[2]


@pytest.mark.parametrize(
    ("accounts", "sentence"),
    [
        ([], ""),
        (["a"], ""),
        (["a", "b"], ""),
        (["", ""], ""),
        (["a"] * 8, "8 keys, 1 account: no extra rate limit"),
        (["a", "a", ""], "2 keys, 1 account: no extra rate limit"),
        (["a", "a", "b"], "3 keys, 2 accounts: keys of one account share its rate limits"),
    ],
)
def test_shared_limits_are_told(accounts: list[str], sentence: str) -> None:
    """Only of accounts that are known."""
    assert shared_limits(accounts) == sentence
