"""Which tables answer a question, and how cells become rows."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from app.services.cells import FIELDS, Figures, Step, Table, bucket_of
from app.services.insight_plan import Dimension, Order, Query, QueryError, Sheet, answer, plan, waits_of
from tests.test_services.ledger_world import NOW_S, USD

HOUR_S, DAY_S = 3600, 86_400


def query(**changes: Any) -> Query:
    facts: dict[str, Any] = {"since_s": NOW_S - 2 * HOUR_S, "until_s": NOW_S, "step": Step.HOUR}
    return Query(**{**facts, **changes})


def cell(**amounts: int) -> bytes:
    row = [amounts.get(name, 0) for name in FIELDS]
    while row and not row[-1]:
        row.pop()
    return msgspec.msgpack.encode(row)


def sheet_of(asked: Query, *buckets: dict[bytes, bytes]) -> Sheet:
    """The first buckets of the period hold these cells."""
    sheet = Sheet(plan(asked, NOW_S))
    for bucket, cells in zip(sheet.plan.buckets, buckets, strict=False):
        sheet.put(bucket, cells)
    return sheet


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
        {"by": (Dimension.KEY, Dimension.MODEL), "step": Step.MONTH},
    ],
)
def test_what_cannot_be_told_is_refused(changes: dict[str, Any]) -> None:
    """With a sentence."""
    with pytest.raises(QueryError, match=r"\.$"):
        plan(query(**changes), NOW_S)


def test_what_is_not_kept_any_more_is_said() -> None:
    """An answer over it is not complete."""
    asked = query(since_s=NOW_S - 900 * DAY_S, step=None, where={Dimension.KEY: ("k",), Dimension.GROUP: ("g",)})
    assert plan(asked, NOW_S).outlived
    assert not answer(asked, sheet_of(asked)).complete


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


def test_rows_are_ranked_and_the_rest_is_other() -> None:
    """The first by what was asked for, equal ones by name, cells of `other` always with the rest."""
    cells = {
        b"a\tg": cell(served=5, cost_usd=1), b"b\tg": cell(served=9, cost_rest=5), b"c\th": cell(served=1, cost_usd=1),
        b"other\tg": cell(served=100, cost_usd=9),
    }  # fmt: skip
    asked = query(by=(Dimension.CLIENT,), top=2)
    told = answer(asked, sheet_of(asked, cells, {b"a\tg": cell(served=2)}))
    assert [(row.values, row.figures.served) for row in told.rows] == [(("a",), 7), (("c",), 1), (("other",), 109)]
    assert [one.served for one in told.rows[0].series] == [5, 2, 0]
    assert [one.served for one in told.series] == [115, 2, 0]
    assert (told.total.served, told.total.cost_nano, told.complete) == (117, 11 * USD + 5, True)
    asked = query(by=(Dimension.CLIENT,), top=1, order=Order.REQUESTS)
    assert answer(asked, sheet_of(asked, cells)).rows[0].values == ("b",)


def test_the_period_before_stands_beside() -> None:
    """For each row, for the rest and in all; what there was not before is nothing."""
    asked = query(by=(Dimension.CLIENT,), top=1, compare=True)
    now = sheet_of(asked, {b"a\tg": cell(served=5, cost_usd=2), b"b\tg": cell(served=1)})
    before = sheet_of(asked, {b"b\tg": cell(served=3), b"gone\tg": cell(served=4)})
    told = answer(asked, now, before)
    assert [(row.before.served if row.before else None) for row in told.rows] == [0, 7]
    assert told.before is not None
    assert told.before.served == 7
    assert answer(asked, now).rows[0].before is None


def test_filters_keep_cells_out() -> None:
    """What was lumped together may hold what is looked for, and that is said."""
    asked = query(where={Dimension.CLIENT: ("a", "b")}, by=(Dimension.GROUP,))
    cells = {b"a\tg": cell(served=1), b"b\th": cell(served=2), b"c\tg": cell(served=4)}
    told = answer(asked, sheet_of(asked, cells))
    assert {row.values[0]: row.figures.served for row in told.rows} == {"g": 1, "h": 2}
    assert told.complete
    assert not answer(asked, sheet_of(asked, cells | {b"other\tg": cell(served=1)})).complete


def test_nano_dollars_carry_over() -> None:
    """Sums of the rests become dollars; corrections may be negative."""
    asked = query()
    sheet = Sheet(plan(asked, NOW_S))
    first = str(sheet.plan.buckets.start).encode()
    sheet.put(0, {first: cell(cost_rest=999_999_999), str(sheet.plan.buckets.stop).encode(): cell(served=1)})
    sheet.put(0, {first: cell(cost_usd=-1, cost_rest=2)})
    total = answer(asked, sheet).total
    assert (total.cost_usd, total.cost_rest, total.cost_nano, total.served) == (0, 1, 1, 0)


def test_nothing_is_an_answer_too() -> None:
    """With zeros for every bucket and no row."""
    asked = query(by=(Dimension.MODEL,), compare=True)
    told = answer(asked, sheet_of(asked), sheet_of(asked))
    assert (told.total, told.rows, len(told.series), told.before) == (Figures(), (), 3, Figures())
    assert told.since_s <= asked.since_s < asked.until_s <= told.until_s


def test_quantiles_of_waits() -> None:
    """Nobody waited: there are none."""
    assert waits_of({}) is None
    told = waits_of({12: 1})
    assert told is not None
    assert told.p50_ms == told.p99_ms == 4
