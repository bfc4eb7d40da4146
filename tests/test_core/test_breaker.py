from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.core.breaker import Breaker, BreakerState, Ticket


class HandClock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def wall_s(self) -> float:
        return self.now

    def monotonic_s(self) -> float:
        return self.now


@pytest.fixture
def clock() -> HandClock:
    """Time at rest."""
    return HandClock()


@pytest.fixture
def opened(clock: HandClock) -> Breaker:
    """A breaker that five failures have just opened."""
    breaker = Breaker(clock)
    for _ in range(5):
        breaker.failed(breaker.admit())
    return breaker


def test_opens_at_the_fifth_failure_in_a_row(clock: HandClock) -> None:
    """Four failures leave it closed, the fifth opens it and says so."""
    breaker = Breaker(clock)

    assert [breaker.failed(breaker.admit()) for _ in range(5)] == [False, False, False, False, True]
    assert breaker.state is BreakerState.OPEN
    assert breaker.admit() is Ticket.REFUSED


def test_a_success_forgets_the_failures(clock: HandClock) -> None:
    """Only failures in a row count."""
    breaker = Breaker(clock)
    for _ in range(20):
        for _ in range(4):
            breaker.failed(breaker.admit())
        assert not breaker.succeeded()

    assert breaker.state is BreakerState.CLOSED


def test_half_open_admits_exactly_one_of_two_hundred(opened: Breaker, clock: HandClock) -> None:
    """When the pause is over, the first caller is the probe and all others are refused."""
    clock.now += 1.0

    tickets = [opened.admit() for _ in range(200)]

    assert tickets.count(Ticket.PROBE) == 1
    assert tickets.count(Ticket.REFUSED) == 199
    assert opened.state is BreakerState.HALF_OPEN
    assert opened.refuses


def test_a_probe_that_succeeds_closes(opened: Breaker, clock: HandClock) -> None:
    """After a good probe everybody is admitted, and five new failures are needed to open again."""
    clock.now += 1.0
    opened.admit()

    assert opened.succeeded()
    assert opened.state is BreakerState.CLOSED
    assert not opened.failed(opened.admit())


def test_the_pause_doubles_up_to_thirty_seconds(opened: Breaker, clock: HandClock) -> None:
    """Each failed probe doubles the pause, and 30 s is the longest."""
    pauses = []
    for _ in range(8):
        began = clock.now
        while opened.refuses:
            clock.now += 0.5
        pauses.append(clock.now - began)
        assert opened.failed(opened.admit())

    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]


def test_a_cancelled_probe_leaves_its_place_to_the_next(opened: Breaker, clock: HandClock) -> None:
    """A probe that learnt nothing must not keep the breaker shut for ever."""
    clock.now += 1.0
    opened.abandoned(opened.admit())

    assert opened.admit() is Ticket.PROBE


def test_stragglers_neither_count_nor_pass_for_the_probe(opened: Breaker, clock: HandClock) -> None:
    """Calls admitted before it opened may end late: their failures change nothing, nor does their cancellation."""
    clock.now += 1.0
    assert opened.admit() is Ticket.PROBE

    assert not opened.failed(Ticket.CALL)
    opened.abandoned(Ticket.CALL)

    assert opened.admit() is Ticket.REFUSED


def test_its_words(opened: Breaker) -> None:
    """The repr is for people in a debugger."""
    assert repr(opened) == "<Breaker open, 5 failures in a row>"


class Turned:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_s(self) -> float:
        return self.now_s


class BreakerLife(RuleBasedStateMachine):
    """Whatever happens to calls, in whatever order: one probe at a time, and always a way back."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Turned()
        self.breaker = Breaker(self.clock, threshold=3, first_pause_s=1.0, longest_pause_s=8.0)
        self.running: list[Ticket] = []

    @rule(span_s=st.floats(0, 20))
    def time_passes(self, span_s: float) -> None:
        self.clock.now_s += span_s

    @rule()
    def a_call_asks(self) -> None:
        refuses = self.breaker.refuses
        ticket = self.breaker.admit()
        assert (ticket is Ticket.REFUSED) == refuses
        if ticket is not Ticket.REFUSED:
            self.running.append(ticket)

    @precondition(lambda self: self.running)
    @rule(end=st.sampled_from(["succeeded", "failed", "abandoned"]), data=st.data())
    def a_call_ends(self, end: str, data: st.DataObject) -> None:
        ticket = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        if end == "succeeded":
            self.breaker.succeeded()
            self.running = [Ticket.CALL for _ in self.running]  # a probe of before is an ordinary call now
            assert self.breaker.state is BreakerState.CLOSED
        elif end == "failed":
            self.breaker.failed(ticket)
        else:
            self.breaker.abandoned(ticket)

    @invariant()
    def one_probe_at_a_time(self) -> None:
        assert self.running.count(Ticket.PROBE) <= 1

    @invariant()
    def there_is_a_way_back(self) -> None:
        if not self.running.count(Ticket.PROBE):
            assert self.breaker._opened_at + self.breaker._pause_s <= self.clock.now_s + 8.0


TestBreakerLife = BreakerLife.TestCase
TestBreakerLife.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
