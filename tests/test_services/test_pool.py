"""Leases are counted truly, and rests are kept."""

from __future__ import annotations

import contextlib
import random

from hypothesis import given
from hypothesis import strategies as st

from app.core.clock import SystemClock
from app.core.security import SealBroken, Secret
from app.models.keys import KeyKind, KeyState, OpenRouterKey
from app.services.pool import Pool


class Clock(SystemClock):
    """Turned by hand."""

    now_s = 100.0

    def monotonic_s(self) -> float:
        return self.now_s


class Source:
    """Keys whose secrets are made of their ids; those in `broken` do not open."""

    def __init__(self, *broken: str) -> None:
        self.broken = broken

    def secret_of(self, key_id: str) -> Secret:
        if key_id in self.broken:
            raise SealBroken
        return Secret(f"sk-or-v1-{key_id}")


def record(key_id: str, **facts: object) -> OpenRouterKey:
    return OpenRouterKey(id=key_id, sealed="x", masked=f"sk-or-…{key_id}", **facts)  # type: ignore[arg-type]


def pool_of(*ids: str) -> Pool:
    pool = Pool(Clock())
    pool.replace([record(key_id) for key_id in ids], Source())
    return pool


def test_only_what_serves_is_in_the_pool() -> None:
    """Disabled, management and unreadable keys are not."""
    pool = Pool(Clock())
    pool.replace(
        [
            record("a"),
            record("b", state=KeyState.DISABLED),
            record("c", kind=KeyKind.MANAGEMENT),
            record("d"),
            record("e", kind=KeyKind.INFERENCE),
        ],
        Source("d"),
    )

    assert len(pool) == 2
    assert {key.id for key in (pool.get("a"), pool.get("e")) if key} == {"a", "e"}
    assert pool.get("d") is None


def test_a_key_that_stays_keeps_its_counts() -> None:
    """A change of the pool forgets neither a running lease nor a rest."""
    pool = pool_of("a", "b")
    key = pool.get("a")
    assert key is not None
    with key:
        pool.rest(key, 10)
        pool.replace([record("a"), record("c")], Source())
        again = pool.get("a")
        assert again is key
        assert (again.in_flight, pool.resting(), len(pool)) == (1, 1, 2)
    assert key.in_flight == 0


def test_rest_ends_by_time() -> None:
    """A resting key is passed over until its time has come; a shorter rest does not shorten a longer one."""
    clock = Clock()
    pool = Pool(clock)
    pool.replace([record("a")], Source())
    key = pool.take(())
    assert key is not None
    pool.rest(key, 10)
    pool.rest(key, 3)
    assert pool.take(()) is None
    error = pool.empty()
    assert (error.status, dict(error.headers)[b"retry-after"]) == (503, b"10")
    clock.now_s += 10
    assert pool.take(()) is key


def test_an_empty_pool_says_what_to_do() -> None:
    """No key at all is not a matter of waiting."""
    error = Pool(Clock()).empty()

    assert error.status == 503
    assert "keys add" in error.hint
    assert not error.headers


def test_an_idle_pool_takes_turns() -> None:
    """With nothing in flight the keys are used evenly."""
    pool = pool_of("a", "b", "c")
    used = []
    for _ in range(9):
        key = pool.take(())
        assert key is not None
        with key:
            used.append(key.id)

    assert [used.count(name) for name in "abc"] == [3, 3, 3]


@given(st.integers(0, 2**32))
def test_in_flight_ends_at_zero(seed: int) -> None:
    """Whatever happens inside the leases, the counts are true and end at nothing."""
    pool = pool_of("a", "b", "c")
    choice = random.Random(seed)

    def nested(depth: int) -> None:
        key = pool.take(())
        if key is None or depth == 0:
            return
        before = key.in_flight
        with key:
            assert key.in_flight == before + 1
            if choice.random() < 0.3:
                raise ValueError
            nested(depth - 1)

    for _ in range(10):
        with contextlib.suppress(ValueError):
            nested(6)

    assert [key.in_flight for name in "abc" if (key := pool.get(name))] == [0, 0, 0]


def test_a_key_at_work_shows_no_secret() -> None:
    """Its repr is for logs."""
    key = pool_of("secretpart").take(())

    assert key is not None
    assert key.authorization() == b"Bearer sk-or-v1-secretpart"
    assert "sk-or-v1-secretpart" not in repr(key)
