"""How cells become rows, series and quantiles."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from app.services.cells import FIELDS, Figures, Measure, Step, sums_in
from app.services.insight_plan import Dimension, Order, Query, Spans, plan
from app.services.insight_sheet import Sheet, answer, spans_in
from tests.test_services.ledger_world import NOW_S, USD

HOUR_S = 3600


def query(**changes: Any) -> Query:
    facts: dict[str, Any] = {"since_s": NOW_S - 2 * HOUR_S, "until_s": NOW_S, "step": Step.HOUR}
    return Query(**{**facts, **changes})


def cell(bins: dict[int, int] | None = None, **amounts: int) -> bytes:
    lanes = sum(amounts.get(name, 0) << 48 * place for place, name in enumerate(FIELDS))
    flat = [part for pair in (bins or {}).items() for part in pair]
    packed = lanes.to_bytes(6 * len(FIELDS), "little", signed=True)
    return bytes([len(FIELDS)]) + packed + (msgspec.msgpack.encode(flat) if flat else b"")


def sheet_of(asked: Query, *buckets: dict[bytes, bytes]) -> Sheet:
    """The first buckets of the period hold these cells: read as `Insight` does."""
    sheet = Sheet(plan(asked, NOW_S))
    held = list(zip(sheet.plan.buckets, buckets, strict=False))
    if not asked.where:
        for bucket, cells in held:
            whole = sum(sums_in(one) for one in cells.values())
            packed = bytes([len(FIELDS)]) + whole.to_bytes(6 * len(FIELDS), "little", signed=True)
            sheet.put_all({str(bucket).encode(): packed}, spans=asked.spans)
    for _, cells in held:
        sheet.put_sums({name: sums_in(one) for name, one in cells.items()})
    wanted = sheet.detailed(asked)
    for bucket, cells in held:
        sheet.put_detail(bucket, [(name, cells.get(name)) for name in wanted], spans=asked.spans)
    return sheet


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
    """Sums of the rests become dollars; corrections may be negative. Hashes of all calls hold other buckets too."""
    asked = query()
    sheet = Sheet(plan(asked, NOW_S))
    first, second = (str(bucket).encode() for bucket in sheet.plan.buckets[:2])
    beyond = str(sheet.plan.buckets.stop).encode()
    cells = {first: cell(cost_rest=999_999_999), second: cell(cost_usd=-1, cost_rest=2), beyond: cell(served=1)}
    sheet.put_all(cells, spans=True)
    total = answer(asked, sheet).total
    assert (total.cost_usd, total.cost_rest, total.cost_nano, total.served) == (0, 1, 1, 0)


def test_nothing_is_an_answer_too() -> None:
    """With zeros for every bucket and no row."""
    asked = query(by=(Dimension.MODEL,), compare=True)
    told = answer(asked, sheet_of(asked), sheet_of(asked))
    assert (told.total, told.rows, len(told.series), told.before) == (Figures(), (), 3, Figures())
    assert told.since_s <= asked.since_s < asked.until_s <= told.until_s


def test_quantiles() -> None:
    """Of each measure by itself; nothing was measured: there are none."""
    assert spans_in({}) == Spans()
    told = spans_in({0: 1, Measure.DURATION + 5: 90, Measure.DURATION + 40: 6, Measure.DURATION + 60: 4})
    assert told.first_token is not None
    assert told.first_token.p50_ms == told.first_token.p99_ms == 4
    assert told.duration is not None
    assert told.duration.p50_ms < told.duration.p95_ms < told.duration.p99_ms
    assert told.overhead is None


@pytest.mark.parametrize("where", [{}, {Dimension.GROUP: ("g",)}], ids=["all", "filtered"])
def test_spans_by_row_and_bucket(where: Any) -> None:
    """Only where they are asked for, `other` has none."""
    cells = {b"a\tg": cell({3: 10}, served=10), b"b\tg": cell({30: 1}, served=1)}
    asked = query(by=(Dimension.CLIENT,), top=1, where=where, order=Order.REQUESTS, spans=True)
    told = answer(asked, sheet_of(asked, cells, {b"a\tg": cell({50: 99}, served=99)}))
    first, rest = told.rows
    assert (first.values, rest.values, rest.spans) == (("a",), ("other",), Spans())
    assert first.spans == spans_in({3: 10, 50: 99})
    if where:
        assert told.spans == spans_in({3: 10, 30: 1, 50: 99})
        assert told.span_series == (spans_in({3: 10, 30: 1}), spans_in({50: 99}), Spans())
    asked = query(by=(Dimension.CLIENT,), top=1, where=where)
    assert answer(asked, sheet_of(asked, cells)).rows[0].spans == Spans()
