"""The pool through any life that hypothesis can think of: its clock is turned, its keys come, fail, return and go.

A model keeps count beside it. At the end every call is over, no count is left, and every key can be had again.
"""

from __future__ import annotations

import random
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.models.key_facts import KeyFacts
from app.models.lease import Tried, Wanted
from app.models.marks import Ban, Family, Mark, MarkKind, Move, Scope
from app.services.gates import Gate
from app.services.pool import Pool, PoolKey
from app.services.selection import Strategy
from tests.test_services.test_pool import Clock, Source, record

IDS = "abcdef"
MODELS = ("openai/gpt-4o", "meta/llama:free")

records = st.builds(
    record,
    key_id=st.sampled_from(IDS),
    tags=st.sampled_from([(), ("eu",)]),
    weight=st.sampled_from([0, 1, 5]),
    tier=st.sampled_from([0, 1]),
    models_denied=st.sampled_from([(), ("openai/*",)]),
    max_rpm=st.sampled_from([None, 2]),
    max_in_flight=st.sampled_from([None, 2]),
    max_day_nano=st.sampled_from([None, 10]),
    account=st.sampled_from(["", "org_1", "org_2"]),
)
wishes = st.builds(
    Wanted,
    models=st.sampled_from([(), MODELS[:1], MODELS[1:], MODELS]),
    family=st.sampled_from(list(Family)),
    tags=st.sampled_from([(), ("eu",), ("eu", "us")]),
    affinity=st.sampled_from([b"", b"12345678", b"abcdefgh"]),
    pin_key=st.booleans(),
)
scopes = st.sampled_from(list(Scope))


class PoolLife(RuleBasedStateMachine):
    """`calls` are those that run, as they were leased."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.pool = Pool(self.clock, dice=random.Random(0).random)
        self.records: dict[str, Any] = {}
        self.marks: dict[tuple[Scope, str], Mark] = {}
        self.calls: list[PoolKey] = []

    # ---- what happens

    @rule(found=st.lists(records, max_size=6, unique_by=lambda one: one.id))
    def keys_change(self, found: list[Any]) -> None:
        self.records = {one.id: one for one in found}
        self.pool.replace(found, Source())

    @rule(key_id=st.sampled_from(IDS), account=st.sampled_from(["", "org_1", "org_3"]), spent=st.integers(0, 12))
    def a_probe_tells(self, key_id: str, account: str, spent: int) -> None:
        facts = KeyFacts(
            id=key_id, probed_at=self.clock.now_s, account=account, workspace=account and "w", usage_daily_nano=spent
        )
        self.pool.take_facts({key_id: facts})

    @rule(span_s=st.sampled_from([0.5, 5.0, 70.0, 90_000.0]))
    def time_passes(self, span_s: float) -> None:
        self.clock.now_s += span_s

    @rule(strategy=st.sampled_from(list(Strategy)))
    def somebody_switches(self, strategy: Strategy) -> None:
        self.pool.set_strategy(strategy)

    @rule(wanted=wishes, moves=st.lists(st.sampled_from(list(Move)), max_size=3), many=st.integers(1, 4))
    def calls_come(self, wanted: Wanted, moves: list[Move], many: int) -> None:
        for _ in range(many):
            self.a_call_comes(wanted, moves)

    def a_call_comes(self, wanted: Wanted, moves: list[Move]) -> None:
        tried = Tried()
        for move in moves:
            key = self.pool.lease(wanted, tried)
            if key is None:
                break
            tried = tried.after(key, move)
        key = self.pool.lease(wanted, tried)
        if key is None:
            error = self.pool.empty(wanted, tried)
            assert error.status == 503
            assert len(self.pool.why_not(wanted, tried)) == len(self.pool)
            return
        self.check_choice(key, wanted, tried)
        self.calls.append(key.__enter__())

    def check_choice(self, key: PoolKey, wanted: Wanted, tried: Tried) -> None:
        home = key.home
        assert home is self.pool.get(key.id)
        assert tried.allows(key)
        assert not wanted.tags or set(wanted.tags) & set(home.tags)
        assert home.rule.serves(wanted.models)
        assert home.max_in_flight is None or home.in_flight < home.max_in_flight
        assert not home.spent_today(self.clock.now_s)
        assert all(gate.mark is None and not gate.busy for gate in key.gates)
        for scope, subject in self.subjects(home, wanted.family):
            mark = self.marks.get((scope, subject))
            assert mark is None or mark.until_s <= self.clock.now_s, f"a mark on {scope} {subject} is in force"

    @staticmethod
    def subjects(key: PoolKey, family: Family) -> list[tuple[Scope, str]]:
        return [
            (Scope.KEY, key.id),
            (Scope.ACCOUNT, key.account),
            (Scope.WORKSPACE, key.workspace),
            (Scope.FAMILY, f"{key.account} {family.value}"),
        ]

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), scope=scopes, model=st.sampled_from(MODELS), span_s=st.sampled_from([1.0, 60.0, 4000.0]))
    def a_call_is_refused(self, data: st.DataObject, scope: Scope, model: str, span_s: float) -> None:
        key = data.draw(st.sampled_from(self.calls))
        ban = Ban(scope, MarkKind.COOL, self.clock.now_s + span_s, "refused")
        for mark in self.pool.apply(key, (ban,), model):
            old = self.marks.get((mark.scope, mark.subject))
            if old is None or old.until_s < mark.until_s:
                self.marks[mark.scope, mark.subject] = mark

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def a_call_is_served(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(self.calls))
        self.pool.served(key)
        self.pool.charge(key, 3)

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), error=st.sampled_from([None, ValueError(), KeyboardInterrupt()]))
    def a_call_ends(self, data: st.DataObject, error: BaseException | None) -> None:
        key = data.draw(st.sampled_from(self.calls))
        self.calls.remove(key)
        key.__exit__(type(error) if error else None, error, None)

    @rule(scope=scopes, subject=st.sampled_from([*IDS, "org_1", "org_2", "key:a", "w", "org_1 paid", *MODELS]))
    def another_worker_marks(self, scope: Scope, subject: str) -> None:
        mark = Mark(
            scope=scope,
            subject=subject,
            kind=MarkKind.SPENT,
            until_s=self.clock.now_s + 100,
            reason="spent",
            at_s=self.clock.now_s,
        )
        self.marks[scope, subject] = mark
        self.pool.take_marks(self.marks.values())

    @rule(data=st.data())
    def marks_are_cleared(self, data: st.DataObject) -> None:
        if self.marks:
            del self.marks[data.draw(st.sampled_from(sorted(self.marks)))]
        self.pool.take_marks(self.marks.values())

    # ---- what is always true

    @invariant()
    def counts_are_true(self) -> None:
        running: dict[str, int] = {}
        for key in self.calls:
            running[key.id] = running.get(key.id, 0) + 1
        assert self.pool.in_flight() == running
        assert 0 <= self.pool.resting() <= len(self.pool)

    @invariant()
    def one_call_is_on_trial(self) -> None:
        on_trial: list[Gate] = [gate for key in self.calls for gate in key._passed if gate.busy]
        assert len(on_trial) == len(set(map(id, on_trial)))

    def teardown(self) -> None:
        for key in self.calls:
            key.__exit__(None, None, None)
        assert self.pool.in_flight() == {}
        self.clock.now_s += 10**6
        self.every_key_comes_back()

    def every_key_comes_back(self) -> None:
        """Once the marks are over, one call after the other frees whatever was half open."""
        reached: set[str] = set()
        for _ in range(2 * len(self.records)):
            tried = Tried(keys=frozenset(reached))
            key = self.pool.lease(Wanted(), tried)
            if key is None:
                break
            with key:
                reached.add(key.id)
        assert reached == set(self.records)
        assert self.pool.resting() == 0
        assert self.pool.in_flight() == {}


PoolLife.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestPoolLife = PoolLife.TestCase
