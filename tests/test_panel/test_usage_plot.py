"""The large plot of the usage page."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.panel.usage_plot import Plot, is_rest, per_1k, plot_of, shown_as, value_of
from app.panel.usage_view import METRICS, Wanted, wanted_of
from app.services.cells import Figures, Step
from app.services.insight_plan import Answer, Quantiles, Row, Spans

WORDS = {"now": "now", "before": "before", "p50": "p50", "p95": "p95"}
START_S = 1_795_392_000
HOUR_S = 3600
FULL = Figures(
    served=5, rescued=1, failed=2, refused=3, left=4, input_tokens=100, output_tokens=50, cached_tokens=10,
    reasoning_tokens=20, cost_usd=1, cost_rest=5, duration_ms=3000,
)  # fmt: skip


def wanted(**said: str) -> Wanted:
    return wanted_of(said, START_S + 4 * HOUR_S)


def answer(series: list[Figures], rows: tuple[Row, ...] = (), spans: tuple[Spans, ...] = ()) -> Answer:
    starts = tuple(START_S + HOUR_S * at for at in range(len(series)))
    return Answer(
        since_s=START_S,
        until_s=START_S + HOUR_S * len(series),
        step=Step.HOUR,
        by=(),
        starts_s=starts,
        total=Figures(),
        rows=rows,
        series=tuple(series),
        span_series=spans,
    )


def calls(*numbers: int) -> list[Figures]:
    return [Figures(served=number) for number in numbers]


def row(name: str, *numbers: int) -> Row:
    return Row(values=(name,), figures=Figures(served=sum(numbers)), series=tuple(calls(*numbers)))


def plot(asked: Wanted, told: Answer, before: Answer | None = None) -> Plot:
    return plot_of(asked, told, before, WORDS, lambda values: f"<{values[0]}>")


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("spend", 1_000_000_005),
        ("requests", 15),
        ("input", 100),
        ("cached", 10),
        ("output", 50),
        ("reasoning", 20),
        ("errors", 5),
        ("latency", 200.0),
    ],
)
def test_each_metric_has_its_value(metric: str, value: float) -> None:
    """In its own unit."""
    assert value_of(FULL, metric) == value


def test_nothing_is_divided_by_nothing() -> None:
    """No call has no mean, and no token no price."""
    assert value_of(Figures(), "latency") is None
    assert per_1k(Figures()) is None
    assert per_1k(Figures(input_tokens=1500, output_tokens=500, cost_usd=3)) == 1_500_000_000
    assert {shown_as(metric) for metric in METRICS} == {"usd", "span", "short"}


def test_one_line_stands_before_that_of_the_time_before() -> None:
    """Dashed, and only where it has as many steps."""
    found = plot(wanted(metric="requests"), answer(calls(1, 4, 2)), answer(calls(2, 2, 2)))
    assert [(one.name, one.values, one.tone) for one in found.series] == [
        ("now", (1, 4, 2), "k1"),
        ("before", (2, 2, 2), "soft dash"),
    ]
    assert [(form, tone) for form, tone, _ in found.shapes] == [("area", "k1"), ("line", "soft dash"), ("line", "k1")]
    assert found.shapes[2][2] == "0.0,75.0 500.0,0.0 1000.0,50.0"
    assert len(plot(wanted(), answer(calls(1, 4, 2)), answer(calls(2, 2))).series) == 1


def test_groups_are_stacked() -> None:
    """Each on the one before, all others on top; heights add up to the total."""
    found = plot(wanted(metric="requests", by="model"), answer(calls(4, 4), (row("a", 1, 2), row("other", 3, 2))))
    assert found.kind == "bars"
    assert [(one.name, one.tone) for one in found.series] == [("<a>", "k1"), ("<other>", "rest")]
    assert found.ticks[0] == 4
    assert found.shapes == (
        ("bars", "k1", "M0.0 75.00h430.0v25.00h-430.0zM500.0 50.00h430.0v50.00h-430.0z"),
        ("bars", "rest", "M0.0 0.00h430.0v75.00h-430.0zM500.0 0.00h430.0v50.00h-430.0z"),
    )


def test_sums_that_grow_are_lines() -> None:
    """Of each group by itself."""
    found = plot(wanted(metric="requests", by="model", cumulative="1"), answer(calls(4, 4), (row("a", 1, 2),)))
    assert (found.kind, found.series[0].values) == ("line", (1, 3))
    assert plot(wanted(metric="requests", cumulative="1"), answer(calls(1, 2))).series[0].values == (1, 3)


def test_latency_is_a_band_with_gaps() -> None:
    """Between what half and what nearly all calls keep; where nobody called there is none."""
    told = (
        Spans(duration=Quantiles(100, 400, 500)),
        Spans(),
        Spans(duration=Quantiles(200, 300, 500), first_token=Quantiles(1, 2, 3)),
    )
    found = plot(wanted(metric="latency"), answer(calls(1, 0, 1), spans=told))
    assert found.kind == "band"
    assert [one.values for one in found.series] == [(400, None, 300), (100, None, 200)]
    assert [form for form, _, _ in found.shapes] == ["area", "area", "line", "line", "line", "line"]
    assert found.shapes[0][2] == "0.0,0.0 2.0,0.0 2.0,75.0 0.0,75.0"
    first = plot(wanted(metric="latency", span="first_token"), answer(calls(1, 0, 1), spans=told))
    assert first.series[0].values == (None, None, 2)


def test_latency_of_groups_is_a_mean_without_the_others() -> None:
    """Of those that are summed up nobody wants to know one."""
    rows = (
        Row(values=("a",), figures=Figures(), series=(Figures(served=2, duration_ms=300), Figures())),
        Row(values=("other",), figures=Figures(), series=(Figures(served=2, duration_ms=300), Figures())),
    )
    found = plot(wanted(metric="latency", by="model"), answer(calls(1, 1), rows))
    assert (found.kind, [one.values for one in found.series]) == ("line", [(150, None)])


def test_only_all_others_are_the_rest() -> None:
    """A row of another dimension may be called so in one of them."""
    assert is_rest(Row(values=("other", "other"), figures=Figures()))
    assert not is_rest(Row(values=("other", "a"), figures=Figures()))
    assert not is_rest(Row(values=(), figures=Figures()))


def test_days_are_told_by_their_dates() -> None:
    """A clock says nothing over a week."""
    assert plot(wanted(), answer(calls(*range(168)))).label_step_s == 86_400
    assert plot(wanted(), answer(calls(*range(24)))).label_step_s == HOUR_S
    assert plot(wanted(), answer(calls(1))).step_s == HOUR_S


@given(
    st.sampled_from([*METRICS]),
    st.lists(st.lists(st.integers(0, 10**12), min_size=3, max_size=3), max_size=12),
    st.booleans(),
)
def test_every_plot_can_be_drawn(metric: str, groups: list[list[int]], cumulative: bool) -> None:
    """Nothing stands outside of the ground, and what the script reads is JSON."""
    rows = tuple(
        Row(
            values=(str(at),), figures=Figures(), series=tuple(Figures(served=n, cost_usd=n, failed=n) for n in numbers)
        )
        for at, numbers in enumerate(groups)
    )
    asked = wanted(metric=metric, by="model", cumulative="1" if cumulative else "")
    found = plot(asked, answer(calls(1, 2, 3), rows))
    assert json.loads(json.dumps(found.island))["starts"] == list(found.starts_s)
    for form, _, place in found.shapes:
        heights = re.findall(r"M\S+ ([-\d.e+]+)h" if form == "bars" else r",([-\d.e+]+)", place)
        assert all(-0.1 <= float(height) <= 100.1 for height in heights)
    assert found.empty == (not any(any(one.values) for one in found.series))
