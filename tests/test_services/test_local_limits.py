"""What one worker lets in on its own."""

from __future__ import annotations

import pytest

from app.core.errors import GatewayError
from app.models.limits import Span, Unit
from app.services import local_limits
from app.services.limit_plan import Plan
from app.services.limit_script import Admission
from app.services.local_limits import LocalLimits, WithoutRedis
from app.services.money import Amounts
from tests.test_services.limit_world import HandClock, a_client, a_group, a_plan, limit


class World:
    def __init__(self, plan: Plan, workers: int = 1, without: WithoutRedis | None = None) -> None:
        self.plan = plan
        self.clock = HandClock()
        self.local = LocalLimits(self.clock, without or WithoutRedis())
        self.local.workers = workers
        self.number = 0

    def learn(self, *used: int) -> None:
        self.local.learn(self.plan.checks((), ""), used, self.clock.wall_s())

    def admit(self, nano: int = 0, tokens: int = 0, least_nano: int = 0) -> int | tuple[int, int]:
        """What was granted, or with which status it was refused and when to come back."""
        self.number += 1
        amounts = Amounts(nano, tokens, 0, least_nano)
        call = Admission(str(self.number), self.plan.checks((), ""), amounts, self.clock.wall_s(), self.plan.clamp)
        try:
            return self.local.admit(call)
        except GatewayError as error:
            return error.status, int(dict(error.headers).get(b"retry-after", b"0"))


@pytest.mark.parametrize(("span", "wait_s"), [(Span.MINUTE, 61), (Span.HOUR, 3660), (Span.DAY, 87_300)])
def test_a_share_of_a_rate(span: Span, wait_s: int) -> None:
    """A worker of three lets a third in, and goes on when the window has slid on."""
    world = World(a_plan(limit(Unit.REQUESTS, span, 10)), workers=3)
    assert [world.admit() for _ in range(4)] == [0, 0, 0, (429, wait_s)]
    world.clock.now_s += wait_s - 1
    assert world.admit() == (429, 1)
    world.clock.now_s += 1
    assert [world.admit() for _ in range(3)] == [0, 0, 0]


def test_no_share_is_less_than_one() -> None:
    """However many workers there are."""
    world = World(a_plan(limit(Unit.REQUESTS, Span.MINUTE, 2)), workers=50)
    assert [world.admit(), world.admit()] == [0, (429, 61)]


def test_it_fits_again_when_enough_has_slid_out() -> None:
    """Not when all has."""
    world = World(a_plan(limit(Unit.TOKENS, Span.MINUTE, 100)))
    for _ in range(3):
        assert world.admit(tokens=30) == 0
        world.clock.now_s += 10
    assert world.admit(tokens=50) == (429, 41)
    assert world.admit(tokens=10) == 0
    assert world.admit(tokens=101) == (429, 0)


def test_money_goes_on_from_what_was_left() -> None:
    """Reservations count at once; what a call did not need is left again."""
    world = World(a_plan(limit(Unit.USD, Span.TOTAL, 100)))
    assert world.admit(1) == (503, 2)
    world.learn(40)
    assert [world.admit(30), world.admit(30), world.admit(1)] == [30, 30, (402, 0)]
    world.local.settled("2", 10)
    world.local.settled("2", 10)
    world.local.settled("unknown", 10)
    assert [world.admit(21), world.admit(20)] == [(402, 0), 20]
    world.learn(0)
    # What was let in before Redis spoke again is in what it said.
    world.local.settled("3", 0)
    assert [world.admit(101), world.admit(100)] == [(402, 0), 100]


def test_money_of_a_new_period() -> None:
    """The next day begins with all of it, a raise that is over counts no more."""
    now_s = HandClock().now_s
    world = World(a_plan(limit(Unit.USD, Span.DAY, 50, raised_to=100, raised_until=now_s + 10)))
    world.learn(60)
    assert world.admit(40) == 40
    world.clock.now_s += 10
    assert world.admit(0) == (402, 43_190)
    world.clock.now_s += 86_400
    assert [world.admit(50), world.admit(1)] == [50, (402, 43_190)]


def test_clamp() -> None:
    """Less than asked for where only the money is short."""
    plan = Plan(a_client(limit(Unit.USD, Span.TOTAL, 100), clamp=True), None, a_group(limit(Unit.USD, Span.TOTAL, 60)))
    world = World(plan)
    world.learn(0, 0)
    assert [world.admit(80, least_nano=10), world.admit(80, least_nano=10)] == [60, (402, 0)]
    world.local.settled("1", 45)
    assert [world.admit(80, least_nano=16), world.admit(80, least_nano=15)] == [(402, 0), 15]


def test_running_calls() -> None:
    """Counted here, and free when they have ended or are settled, in whatever order and how often."""
    world = World(a_plan(limit(Unit.CONCURRENT, Span.NOW, 4)), workers=2)
    assert [world.admit(), world.admit(), world.admit()] == [0, 0, (429, 1)]
    world.local.ended("1")
    world.local.ended("1")
    world.local.settled("1", 0)
    world.local.ended("unknown")
    assert [world.admit(), world.admit()] == [0, (429, 1)]
    world.local.settled("2", 0)
    world.local.settled("4", 0)
    assert [world.admit(), world.admit(), world.admit()] == [0, 0, (429, 1)]


def test_what_runs_already_counts_when_redis_goes_away() -> None:
    """A worker whose calls Redis has let in does not let as many in once more."""
    world = World(a_plan(limit(Unit.CONCURRENT, Span.NOW, 4)), workers=2)
    running = world.plan.checks((), "").running
    for hold in ("a", "b", "c", "d", "e"):
        world.local.began(hold, running)
    world.local.ended("d")
    world.local.settled("e", 0)
    world.local.take_over()
    assert world.admit() == (429, 1)
    world.local.ended("a")
    world.local.settled("b", 0)
    assert [world.admit(), world.admit()] == [0, (429, 1)]
    world.local.settled("a", 0)
    world.local.settled("c", 0)
    assert [world.admit(), world.admit()] == [0, (429, 1)]


def test_what_redis_said_of_yesterday_is_no_news() -> None:
    """A call that came before midnight may be let in after one of the new day."""
    world = World(a_plan(limit(Unit.USD, Span.DAY, 100)))
    world.clock.now_s += 86_400
    world.learn(30)
    world.local.learn(world.plan.checks((), ""), (90,), world.clock.now_s - 86_400)
    assert [world.admit(71), world.admit(70)] == [(402, 43_200), 70]
    world.local.learn(world.plan.checks((), ""), (90,), world.clock.now_s - 1)
    assert [world.admit(11), world.admit(10)] == [(402, 43_200), 10]


@pytest.mark.parametrize(
    ("without", "calls", "money"),
    [
        (WithoutRedis(), (429, 61), (402, 0)),
        (WithoutRedis(rates="allow"), 1, (402, 0)),
        (WithoutRedis(rates="refuse"), (503, 2), (402, 0)),
        (WithoutRedis(budgets="refuse"), (429, 61), (503, 2)),
    ],
)
def test_policies(without: WithoutRedis, calls: object, money: object) -> None:
    """What the operator has decided for rates and for budgets."""
    rates = World(a_plan(limit(Unit.REQUESTS, Span.MINUTE, 1)), without=without)
    budgets = World(a_plan(limit(Unit.USD, Span.TOTAL, 1)), without=without)
    budgets.learn(0)
    rates.admit(1)
    budgets.admit(1)
    assert (rates.admit(1), budgets.admit(1)) == (calls, money)


def test_shadows_refuse_nobody() -> None:
    """Limits that only measure."""
    shadows = [limit(unit, span, 0, shadow=True) for unit, span in ((Unit.USD, Span.DAY), (Unit.CONCURRENT, Span.NOW))]
    world = World(a_plan(*shadows, limit(Unit.REQUESTS, Span.MINUTE, 0, shadow=True)))
    assert [world.admit(5), world.admit(5)] == [5, 5]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bounds calls are refused, rates begin anew, and what is known stays up to date."""
    monkeypatch.setattr(local_limits, "_MOST_KNOWN", 1)
    monkeypatch.setattr(local_limits, "_MOST_HOLDS", 2)
    plan = a_plan(limit(Unit.USD, Span.TOTAL, 9), limit(Unit.USD, Span.DAY, 9), limit(Unit.CONCURRENT, Span.NOW, 9))
    world = World(plan)
    world.learn(9, 9, 0)
    world.learn(0, 0, 0)
    assert world.admit(1) == (503, 2)  # of the day's nothing is known
    world.plan = a_plan(limit(Unit.USD, Span.TOTAL, 9))
    assert [world.admit(1), world.admit(1), world.admit(1)] == [1, 1, (503, 2)]
    rates = World(a_plan(limit(Unit.REQUESTS, Span.MINUTE, 1), limit(Unit.REQUESTS, Span.HOUR, 1)))
    assert [rates.admit(), rates.admit()] == [0, (429, 3660)]
