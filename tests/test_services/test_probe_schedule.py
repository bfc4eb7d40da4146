"""When which key is asked: by a clock turned by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.probe_schedule import Pace, ProbeSchedule, Watch

NOW = 1_000_000.0


def schedule(*key_ids: str, rate: float = 1000.0, interval: float = 300.0, **watch: object) -> ProbeSchedule:
    made = ProbeSchedule(interval, rate)
    made.follow({key_id: Watch(**watch) for key_id in key_ids}, NOW)  # type: ignore[arg-type]
    return made


def test_unknown_keys_are_asked_at_once_and_then_by_interval() -> None:
    """With a tenth more or less."""
    plan = schedule("a")
    assert plan.take(NOW) == "a"
    assert plan.take(NOW + 1000) is None, "it is asked once at a time"
    plan.answered("a", NOW, NOW)
    assert 270 <= plan.wait_s(NOW) <= 330
    assert plan.take(NOW + 269) is None
    assert plan.take(NOW + 331) == "a"


def test_a_new_leader_goes_on_where_the_old_one_was() -> None:
    """Keys that somebody asked lately are not asked again."""
    plan = schedule("a", known_s=NOW - 100)
    assert 170 <= plan.wait_s(NOW) <= 230


def test_keys_added_together_part() -> None:
    """The jitter differs by key and round."""
    plan = schedule("a", "b", "c")
    waits = set()
    for step, key_id in enumerate(("a", "b", "c")):
        alone = schedule(key_id)
        assert plan.take(NOW + step) == alone.take(NOW) == key_id
        alone.answered(key_id, NOW, NOW)
        waits.add(alone.wait_s(NOW))
    assert len(waits) == 3


def test_checks_go_first_and_starve_nobody() -> None:
    """Three urgent ones, then the one that waits longest."""
    plan = ProbeSchedule(300, 1000)
    plan.follow({"old": Watch()}, NOW - 5)
    plan.follow({"old": Watch()} | {f"c{n}": Watch(Pace.CHECK, asked_s=NOW) for n in range(5)}, NOW)
    order = [plan.take(NOW + step) for step in range(6)]
    assert order.index("old") == 3


def test_a_check_is_asked_at_once() -> None:
    """Even where the key was described a moment ago."""
    plan = schedule("a", known_s=NOW - 1)
    assert plan.take(NOW) is None
    plan.follow({"a": Watch(Pace.CHECK, NOW - 1, asked_s=NOW - 0.5)}, NOW)
    assert plan.take(NOW) == "a"
    plan.refused("a", NOW)
    plan.follow({"a": Watch(Pace.CHECK, NOW - 1, asked_s=NOW)}, NOW)
    assert plan.take(NOW + 1) is None, "an answer is believed for a while"


@pytest.mark.parametrize(("pace", "most_s"), [(Pace.CHECK, 60), (Pace.ROUTINE, 300), (Pace.SPENT, 300)])
def test_back_off(pace: Pace, most_s: float) -> None:
    """5, 10, 20 … seconds; refused keys are asked each minute, others at their interval."""
    plan = schedule("a", pace=pace)
    waits = []
    now_s = NOW
    for _ in range(12):
        assert plan.take(now_s) == "a"
        plan.failed("a", now_s)
        waits.append(plan.wait_s(now_s))
        now_s += waits[-1] + 0.001
    assert 4.5 <= waits[0] <= 5.5
    assert waits[1] > waits[0]
    assert most_s * 0.9 <= waits[-1] <= most_s * 1.1
    assert plan.take(now_s) == "a"
    plan.answered("a", now_s, now_s)
    assert plan.wait_s(now_s) > 50


def test_spent_keys_are_asked_more_often_but_not_for_ever() -> None:
    """Each minute; one that a probe brought back in vain, more and more seldom."""
    plan = schedule("a", pace=Pace.SPENT)
    waits = []
    now_s = NOW
    for _ in range(4):
        assert plan.take(now_s) == "a"
        plan.answered("a", now_s, now_s, returned=True)
        waits.append(plan.wait_s(now_s))
        now_s += 400
    assert 100 <= waits[0] <= 140
    assert 200 <= waits[1] <= 270
    assert waits[-1] >= 270


def test_a_key_that_probes_like_and_calls_do_not() -> None:
    """It is believed more slowly each time, so that it costs no call again and again."""
    plan = schedule("a", pace=Pace.CHECK, asked_s=NOW)
    assert plan.take(NOW) == "a"
    plan.answered("a", NOW, NOW, returned=True)
    plan.follow({"a": Watch(Pace.ROUTINE, NOW)}, NOW)
    plan.follow({"a": Watch(Pace.CHECK, NOW, asked_s=NOW + 1)}, NOW + 1)
    assert plan.take(NOW + 2) is None
    assert plan.take(NOW + 12) == "a"


def test_what_is_gone_is_forgotten() -> None:
    """Also while it is being asked."""
    plan = schedule("a")
    assert plan.take(NOW) == "a"
    plan.follow({}, NOW)
    plan.answered("a", NOW, NOW)
    plan.failed("a", NOW)
    plan.refused("a", NOW)
    plan.soon("a", NOW)
    assert len(plan) == 0
    assert plan.wait_s(NOW) == float("inf")


def test_soon() -> None:
    """Before its time."""
    plan = schedule("a", known_s=NOW)
    plan.soon("a", NOW)
    assert plan.take(NOW) == "a"


@given(
    st.integers(1, 40),
    st.floats(0.5, 50),
    st.lists(st.tuples(st.floats(0, 20), st.sampled_from(["answered", "refused", "failed", "check"])), max_size=60),
)
def test_the_rate_is_bounded_whatever_happens(keys: int, rate: float, events: list[tuple[float, str]]) -> None:
    """No two probes start closer together than the rate allows, and no key is asked twice at a time."""
    plan = ProbeSchedule(30, rate)
    watches = {f"k{n}": Watch() for n in range(keys)}
    now_s, last_s = NOW, float("-inf")
    plan.follow(watches, now_s)
    running: list[str] = []
    for step_s, event in events:
        now_s += step_s
        while (key_id := plan.take(now_s)) is not None:
            assert key_id not in running
            assert now_s - last_s >= 1 / rate - 1e-6
            last_s = now_s
            running.append(key_id)
        if event == "check":
            watches["k0"] = Watch(Pace.CHECK, asked_s=now_s)
            plan.follow(watches, now_s)
        elif running:
            ended = running.pop(0)
            {"answered": lambda e, t: plan.answered(e, t, t), "refused": plan.refused, "failed": plan.failed}[event](
                ended, now_s
            )
    assert plan.wait_s(now_s) >= 0
