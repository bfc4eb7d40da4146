"""Which tables answer a question."""

from __future__ import annotations

from typing import Any

import pytest

from app.services.cells import Step, Table, bucket_of, starts_at
from app.services.insight_plan import Dimension, Query, QueryError, plan
from tests.test_services.ledger_world import NOW_S

HOUR_S, DAY_S = 3600, 86_400


def query(**changes: Any) -> Query:
    facts: dict[str, Any] = {"since_s": NOW_S - 2 * HOUR_S, "until_s": NOW_S, "step": Step.HOUR}
    return Query(**{**facts, **changes})


@pytest.mark.parametrize(
    ("by", "where", "table"),
    [
        ((), {}, Table.ALL),
        ((Dimension.GROUP,), {}, Table.CLIENTS),
        ((Dimension.CLIENT,), {Dimension.GROUP: ("g",)}, Table.CLIENTS),
        ((Dimension.KEY, Dimension.ACCOUNT), {}, Table.KEYS),
        ((), {Dimension.PROVIDER: ("p",)}, Table.MODELS),
        ((Dimension.MODEL,), {Dimension.CLIENT: ("c",)}, Table.CUBE),
    ],
)
def test_the_smallest_table_that_tells_it(by: Any, where: Any, table: Table) -> None:
    """Only crossed questions need the cube."""
    assert plan(query(by=by, where=where), NOW_S).table is table


@pytest.mark.parametrize(
    ("age_s", "where", "step"),
    [
        (30 * 60, {}, Step.MINUTE),
        (30 * 60, {Dimension.CLIENT: ("c",), Dimension.MODEL: ("m",)}, Step.HOUR),
        (DAY_S, {}, Step.HOUR),
        (30 * DAY_S, {}, Step.DAY),
        (390 * DAY_S, {}, Step.DAY),
        (900 * DAY_S, {}, Step.MONTH),
        (390 * DAY_S, {Dimension.KEY: ("k",), Dimension.GROUP: ("g",)}, Step.DAY),
    ],
)
def test_the_step_suits_the_period(age_s: int, where: Any, step: Step) -> None:
    """As fine as it is kept and can be looked at."""
    asked = plan(query(since_s=NOW_S - age_s, step=None, where=where), NOW_S)
    assert (asked.step, asked.outlived) == (step, False)


@pytest.mark.parametrize(
    "changes",
    [
        {"since_s": NOW_S, "until_s": NOW_S},
        {"since_s": -5.0},
        {"by": (Dimension.KEY, Dimension.KEY)},
        {"by": tuple(Dimension)},
        {"since_s": NOW_S - 3 * HOUR_S, "step": Step.MINUTE},
        {"since_s": NOW_S - 60 * DAY_S, "step": Step.HOUR},
        {"by": (Dimension.KEY, Dimension.MODEL), "step": Step.MINUTE},
    ],
)
def test_what_cannot_be_told_is_refused(changes: dict[str, Any]) -> None:
    """With a sentence."""
    with pytest.raises(QueryError, match=r"\.$"):
        plan(query(**changes), NOW_S)


def test_what_is_not_kept_any_more_is_said() -> None:
    """So that the answer is not called complete."""
    where = {Dimension.KEY: ("k",), Dimension.GROUP: ("g",)}
    assert plan(query(since_s=NOW_S - 1200 * DAY_S, step=None, where=where), NOW_S).outlived
    assert not plan(query(since_s=NOW_S - 1000 * DAY_S, step=None, where=where), NOW_S).outlived


def test_the_future_has_no_buckets() -> None:
    """A month that has begun is told up to now."""
    last = plan(query(until_s=NOW_S + 20 * DAY_S), NOW_S).buckets[-1]
    assert last == bucket_of(Step.HOUR, NOW_S)


def test_the_period_before_is_as_long() -> None:
    """And ends where this one begins."""
    asked = plan(query(), NOW_S)
    assert asked.before().buckets.stop == asked.buckets.start
    assert len(asked.before().buckets) == len(asked.buckets)


def test_all_calls_are_read_from_few_hashes() -> None:
    """Three years of days are 37."""
    asked = plan(query(since_s=NOW_S - 1095 * DAY_S, step=Step.DAY), NOW_S)
    assert len(asked.names()) == 37


@pytest.mark.parametrize(
    ("step", "age_s"), [(Step.HOUR, 20 * DAY_S), (Step.DAY, 400 * DAY_S), (Step.DAY, DAY_S), (Step.MINUTE, 900)]
)
@pytest.mark.parametrize("before", [False, True])
def test_a_cover_holds_the_same_time(step: Step, age_s: int, before: bool) -> None:
    """Each second of the period once and no other, but for those to come; long ones by whole longer buckets."""
    asked = plan(query(since_s=NOW_S - age_s, step=step), NOW_S)
    assert (asked.to_now, asked.before().to_now) == (True, False)
    asked = asked.before() if before else asked
    places = asked.cover()
    spans = [(starts_at(one, bucket), starts_at(one, bucket + 1)) for one, bucket in places]
    assert [begin for begin, _ in spans[1:]] == [end for _, end in spans[:-1]]
    assert spans[0][0] == starts_at(step, asked.buckets.start)
    end = starts_at(step, asked.buckets.stop)
    assert spans[-1][1] == end or (asked.to_now and spans[-1][1] > NOW_S)
    assert len(places) < 75
