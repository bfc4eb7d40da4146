"""A key at work: its counts, its caps, its secret."""

from __future__ import annotations

import math

import pytest

from app.core.clock import SystemClock
from app.core.security import Secret
from app.models.key_facts import Budget, KeyFacts
from app.models.keys import OpenRouterKey
from app.services.pool_key import DAY_S, PerMinute, PoolKey, Spending

MIDNIGHT = 20_000 * DAY_S


class Clock(SystemClock):
    """Turned by hand."""

    now_s = 0.0

    def monotonic_s(self) -> float:
        return self.now_s


def key(**facts: object) -> PoolKey:
    record = OpenRouterKey(id="id", sealed="x", masked="sk-or-…", **facts)  # type: ignore[arg-type]
    made = PoolKey(record, Secret("sk-or-v1-canary"))
    made.follow(record, Clock())
    return made


def test_no_minute_holds_more_than_the_limit() -> None:
    """Wherever it begins."""
    clock = Clock()
    minute = PerMinute(clock, 2)
    for at_s in (0.0, 50.0):
        clock.now_s = at_s
        assert minute.wait_s() == 0
        minute.note()
    assert minute.wait_s() == 10
    clock.now_s = 60
    assert minute.wait_s() == 0
    minute.note()
    assert minute.wait_s() == 50


def test_spending_is_of_one_day() -> None:
    """What a probe has seen counts in place of what was settled before it."""
    spending = Spending()
    spending.add(5, MIDNIGHT + 1)
    assert spending.nano(MIDNIGHT + 2) == 5
    spending.see(7, MIDNIGHT + 3)
    spending.add(1, MIDNIGHT + 4)
    assert spending.nano(MIDNIGHT + 5) == 8
    assert spending.nano(MIDNIGHT + DAY_S) == 0
    spending.add(2, MIDNIGHT + DAY_S)
    spending.see(99, MIDNIGHT + 6)
    assert spending.nano(MIDNIGHT + DAY_S + 1) == 2


def test_caps() -> None:
    """Without any a key is never full."""
    assert not key().capped
    two = key(max_in_flight=2, max_rpm=3)
    assert two.capped
    with two:
        assert not two.full
        with two:
            assert two.full
    assert not two.full
    with two:
        pass
    assert two.full, "three calls in this minute"


def test_a_changed_limit_counts_anew_and_the_same_does_not() -> None:
    """A change of something else does not forget this minute's calls."""
    record = OpenRouterKey(id="id", sealed="", masked="", max_rpm=1)
    one = PoolKey(record, Secret("x"))
    one.follow(record, Clock())
    with one:
        pass
    one.follow(record, Clock())
    assert one.full
    one.follow(OpenRouterKey(id="id", sealed="", masked=""), Clock())
    assert not one.full


def test_what_probes_tell() -> None:
    """Account, workspace and money; an older probe changes no money."""
    one = key(max_day_nano=10)
    assert (one.account, one.workspace, one.credit_nano) == ("key:id", "key:id", math.inf)
    facts = KeyFacts(
        id="id",
        probed_at=MIDNIGHT + 5,
        workspace="ws",
        limit_remaining_nano=9,
        budget=Budget(scope="member", remaining_nano=4),
        usage_daily_nano=10,
    )
    one.learn("org", facts)
    assert (one.account, one.workspace, one.credit_nano) == ("org", "ws", 4)
    assert one.spent_today(MIDNIGHT + 6)
    assert not one.spent_today(MIDNIGHT + DAY_S)
    one.credit_nano -= 1
    one.learn("org", facts)
    assert one.credit_nano == 3
    one.learn("", None)
    assert one.account == "key:id"


def test_a_twin_counts_for_its_key() -> None:
    """And shows what the key shows."""
    one = key()
    twin = one.on_trial(())
    with twin:
        assert (one.in_flight, one.leases) == (1, 1)
        assert twin.home is one
        assert repr(twin) == repr(one)
    assert (one.in_flight, twin.id, twin.authorization()) == (0, "id", one.authorization())


def test_the_lease_comes_back_whatever_happens() -> None:
    """Also on cancellation and other things that are no Exception."""
    one = key()
    for error in (ValueError, KeyboardInterrupt, GeneratorExit):
        with pytest.raises(error), one:
            raise error
    assert one.in_flight == 0


def test_a_key_at_work_shows_no_secret() -> None:
    """Its repr is for logs."""
    assert key().authorization() == b"Bearer sk-or-v1-canary"
    assert "canary" not in repr(key())
