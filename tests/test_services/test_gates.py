"""Marks shut, time and proof open, and one call goes first."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from app.models.marks import Family, Mark, MarkKind, Scope
from app.services.gates import Gates

NOW = 1000.0


@dataclass
class Key:
    """A key, with the account and the workspace of its first letter."""

    id: str

    @property
    def account(self) -> str:
        return self.id[0]

    @property
    def workspace(self) -> str:
        return f"w{self.id[0]}"


KEYS = [Key("a1"), Key("a2"), Key("b1")]


def mark(scope: Scope, subject: str, until_s: float = NOW + 10) -> Mark:
    return Mark(scope=scope, subject=subject, kind=MarkKind.COOL, until_s=until_s, reason="r", at_s=NOW)


def ready(gates: Gates, family: Family = Family.PAID) -> str:
    found, trials = gates.sift(KEYS, family)
    return " ".join(key.id + "?" * (key.id in trials) for key in found)


@pytest.mark.parametrize(
    ("scope", "subject", "left", "left_free"),
    [
        (Scope.KEY, "a1", "a2 b1", "a2 b1"),
        (Scope.ACCOUNT, "a", "b1", "b1"),
        (Scope.WORKSPACE, "wa", "b1", "b1"),
        (Scope.FAMILY, "a :free", "a1 a2 b1", "b1"),
        (Scope.FAMILY, "a paid", "b1", "a1 a2 b1"),
        (Scope.MODEL, "openai/gpt-4o", "a1 a2 b1", "a1 a2 b1"),
        (Scope.KEY, "somebody else", "a1 a2 b1", "a1 a2 b1"),
    ],
)
def test_whom_a_mark_shuts_out(scope: Scope, subject: str, left: str, left_free: str) -> None:
    """The keys of its subject, for calls of its family."""
    gates = Gates()
    gates.put(mark(scope, subject))
    assert (ready(gates), ready(gates, Family.FREE)) == (left, left_free)


def test_after_a_mark_one_call_goes_first() -> None:
    """While it runs the others stay out; when it was served the gate is gone."""
    gates = Gates()
    gates.put(mark(Scope.ACCOUNT, "a"))
    assert gates.tick(NOW + 9) == NOW + 10
    assert gates.tick(NOW + 10) == float("inf")
    assert ready(gates) == "a1? a2? b1"
    gate = gates.of(Scope.ACCOUNT)["a"]
    assert gate.begin()
    assert not gate.begin()
    assert ready(gates) == "b1"
    gate.prove()
    assert ready(gates) == "a1 a2 b1"
    assert not gates.of(Scope.ACCOUNT)


def test_a_trial_that_proves_nothing_is_repeated() -> None:
    """The gate stays half open."""
    gates = Gates()
    gates.put(mark(Scope.KEY, "a1"))
    gates.tick(NOW + 10)
    gate = gates.of(Scope.KEY)["a1"]
    gate.begin()
    gate.end()
    assert ready(gates) == "a1? a2 b1"


def test_a_trial_that_fails_shuts_again() -> None:
    """A later proof by the same call does not open what a mark has shut."""
    gates = Gates()
    gates.put(mark(Scope.KEY, "a1"))
    gates.tick(NOW + 10)
    gate = gates.of(Scope.KEY)["a1"]
    gate.begin()
    gates.put(mark(Scope.KEY, "a1", NOW + 20))
    gate.prove()
    assert ready(gates) == "a2 b1"
    gates.tick(NOW + 20)
    assert ready(gates) == "a1? a2 b1"


def test_all_marks_are_taken_in_place_of_those_before() -> None:
    """What is gone is half open, what is over never was, what stays keeps its state."""
    gates = Gates()
    gates.put(mark(Scope.KEY, "a1"))
    gates.put(mark(Scope.KEY, "a2"))
    gates.take([mark(Scope.KEY, "a2"), mark(Scope.KEY, "b1"), mark(Scope.ACCOUNT, "b", NOW - 1)], NOW)
    assert ready(gates) == "a1?"
    gates.take([], NOW)
    assert ready(gates) == "a1? a2? b1?"


def test_of_two_marks_the_longer_one_counts() -> None:
    """In either order."""
    for first, second in ((10, 20), (20, 10)):
        gates = Gates()
        gates.put(mark(Scope.KEY, "a1", NOW + first))
        gates.put(mark(Scope.KEY, "a1", NOW + second))
        assert gates.tick(NOW) == NOW + 20


def test_models_are_not_tried_out() -> None:
    """Their gate is gone with the mark."""
    gates = Gates()
    gates.put(mark(Scope.MODEL, "m"))
    assert "m" in gates.of(Scope.MODEL)
    gates.tick(NOW + 10)
    assert not gates.of(Scope.MODEL)


def test_who_has_left_need_not_be_tried() -> None:
    """But a mark stays, for when he comes back."""
    gates = Gates()
    for scope, subject in ((Scope.KEY, "z1"), (Scope.ACCOUNT, "z"), (Scope.FAMILY, "z paid"), (Scope.KEY, "a1")):
        gates.put(mark(scope, subject))
    gates.put(mark(Scope.KEY, "z2", NOW + 50))
    gates.tick(NOW + 10)
    gates.keep_only(KEYS)
    assert set(gates.of(Scope.KEY)) == {"a1", "z2"}
    assert not gates.of(Scope.ACCOUNT)
    assert not gates.of(Scope.FAMILY)


def test_each_change_is_seen_at_the_next_look() -> None:
    """By the instant from which on things are different."""
    gates = Gates()
    gates.put(mark(Scope.KEY, "a1"))
    gates.tick(NOW + 10)
    gate = gates.of(Scope.KEY)["a1"]
    for change in (gate.begin, gate.end, gate.begin, gate.prove):
        gates.next_s = NOW
        change()
        assert gates.next_s < 0
