"""The way to a key: near first, and past what does not fit."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

import pytest

from app.models.lease import ANYTHING, Wanted
from app.services.chooser import Chooser
from app.services.selection import Group, Strategy


@dataclass
class Key:
    """A candidate."""

    id: str
    account: str
    weight: int = 1
    in_flight: int = 0
    leases: int = 0
    turn: int = 0
    tier: int = 0
    credit_nano: float = 0


def keys(accounts: int, each: int) -> list[Key]:
    return [Key(f"{account}-{number}", f"org_{account}") for account in range(accounts) for number in range(each)]


def chooser(pool: list[Key]) -> Chooser[Key]:
    made: Chooser[Key] = Chooser(Strategy.BALANCED, random.Random(3).random)
    made.follow(pool)
    return made


def session(number: int, *, pin_key: bool = False) -> Wanted:
    return Wanted(affinity=random.Random(number).randbytes(8), pin_key=pin_key)


@pytest.mark.parametrize("accounts", [3, 20])
def test_a_session_stays_with_its_account(accounts: int) -> None:
    """While that has keys, whichever of them; and it moves alone when they are gone."""
    pool = keys(accounts, 4)
    choose = chooser(pool)
    homes: dict[int, str] = {}
    for number in range(200):
        near = [choose.nearest(Group(pool), session(number), None) for _ in range(8)]
        assert len({key.account for key in near if key}) == 1
        assert len({key.id for key in near if key}) == 1, "nobody took turns: nothing was leased"
        homes[number] = near[0].account if near[0] else ""
    assert len(set(homes.values())) == accounts
    left = Group([key for key in pool if key.account != "org_0"])
    for number, home in homes.items():
        key = choose.nearest(left, session(number), None)
        assert key is not None
        assert key.account == home or home == "org_0"


def test_a_pinned_session_stays_with_its_key() -> None:
    """The sessions of an account share its keys."""
    pool = keys(1, 20)
    choose = chooser(pool)
    used: Counter[str] = Counter()
    for number in range(400):
        first = choose.nearest(Group(pool), session(number, pin_key=True), None)
        assert first is not None
        used[first.id] += 1
        rest = [key for key in pool if key.id != first.id][:12]
        again = choose.nearest(Group([*rest, first]), session(number, pin_key=True), None)
        assert again is first
        assert choose.nearest(Group(rest), session(number, pin_key=True), None) in rest
    assert len(used) == 20


def test_failover_reaches_the_last_account_and_key() -> None:
    """Far behind the first ranks."""
    pool = keys(20, 10)
    choose = chooser(pool)
    for last in (pool[0], pool[-1]):
        for wanted in (session(1), session(1, pin_key=True)):
            assert choose.nearest(Group(pool), wanted, lambda key, last=last: key is last) is last
            assert choose.nearest(Group(pool), wanted, lambda key: False) is None
            assert choose.nearest(Group([last]), wanted, None) is last


@pytest.mark.parametrize("wanted", [ANYTHING, session(5), session(5, pin_key=True)])
def test_what_does_not_fit_is_passed_by(wanted: Wanted) -> None:
    """In one group and the next."""
    pool = keys(3, 40)
    choose = chooser(pool)
    groups = (Group(pool[:60]), Group(pool[60:]))
    for last in (pool[3], pool[100]):
        assert choose.fitting(groups, wanted, lambda key, last=last: key is last) is last
    assert choose.fitting(groups, wanted, lambda key: False) is None
    assert choose.fitting((), wanted, lambda key: True) is None


def test_affinity_needs_something_to_choose_from() -> None:
    """With one account it only matters for pinned keys."""
    one, two = chooser(keys(1, 3)), chooser(keys(2, 1))
    assert [one.has_near(ANYTHING), one.has_near(session(1)), one.has_near(session(1, pin_key=True))] == [0, 0, 1]
    assert [two.has_near(ANYTHING), two.has_near(session(1))] == [0, 1]
