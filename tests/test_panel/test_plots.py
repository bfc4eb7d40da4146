"""Where the marks of a plot stand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.models.ledger import Entry, TryMade
from app.panel import plots
from app.panel.plots import Moment

MONDAY_S = 1_795_392_000  # 2026-11-23
DAY_S = 86_400
counts = st.integers(min_value=0, max_value=10**6)


@pytest.mark.parametrize(
    ("outcomes", "tone"),
    [
        ((0, 0, 0), "idle"),
        ((9, 0, 0), "ok"),
        ((9, 1, 0), "warn"),
        ((99, 0, 1), "warn"),
        ((9, 0, 1), "bad"),
        ((0, 0, 1), "bad"),
    ],
)
def test_calls_have_a_tone(outcomes: tuple[int, int, int], tone: str) -> None:
    """Bad from a tenth of failures on."""
    assert plots.tone_of(*outcomes) == tone


@given(st.floats(min_value=1e-6, max_value=1e12))
def test_an_axis_ends_at_a_round_number_above_everything(most: float) -> None:
    """Nothing sticks out, and at least half of the ground is used."""
    top = plots.ceiling(most)
    assert most * 0.9999 <= top <= most * 2.01


def test_an_axis_of_nothing_has_a_height() -> None:
    """Nothing is divided by zero."""
    assert plots.ceiling(0) == 1


def test_a_strip_has_a_place_for_each_minute() -> None:
    """The last is now; trouble is taller than peace and can be pointed at."""
    found = plots.strip([(0, 0, 0), (5, 0, 0), (5, 1, 0), (1, 0, 9)])

    assert found.paths == (("ok", "M4 2h3v14h-3z"), ("idle", "M0 7h3v4h-3z"))
    assert [(cell.x, cell.height, cell.tone, cell.ago) for cell in found.cells] == [
        (8, 16, "warn", 1),
        (12, 18, "bad", 0),
    ]
    assert (found.width, found.total) == (15, (11, 1, 9))


@given(st.lists(st.floats(min_value=-5, max_value=1e9), max_size=40))
def test_a_spark_stays_on_its_ground(values: list[float]) -> None:
    """Whatever the values are."""
    found = plots.spark(values)
    places = [tuple(map(float, place.split(","))) for place in found.points.split()]

    assert len(places) == len(values)
    assert all(0 <= x <= 72 and 0 <= y <= 18 for x, y in places)


@given(st.lists(st.tuples(counts, counts, counts, counts), min_size=1, max_size=40))
def test_a_ribbon_stacks_every_call_within_its_ground(steps: list[tuple[int, int, int, int]]) -> None:
    """The parts of a bar lie on each other, and their heights are as the numbers."""
    found = plots.ribbon([(60 * place, *step) for place, step in enumerate(steps)])

    for bar, step in zip(found.bars, steps, strict=True):
        ground = 100.0
        for (_, y, height), number in zip(bar.parts, [number for number in step if number], strict=True):
            assert y + height == pytest.approx(ground, abs=0.02)
            assert height == pytest.approx(100 * number / found.ticks[0], abs=0.02)
            ground = y
        assert ground >= -0.05
    assert found.total.requests == sum(map(sum, steps))


@pytest.mark.parametrize("count", [1, 2, 5, 24, 30, 60, 168])
def test_the_axis_of_time_reaches_from_end_to_end(count: int) -> None:
    """Few labels, at even distances."""
    found = plots.ribbon([Moment(3600.0 * place, 1, 0, 0, 0) for place in range(count)])

    assert found.times[0] == 0
    assert len(found.times) <= 8
    if count > 1:
        assert found.times[-1] == 3600 * count
        gaps = {round(later - sooner, 3) for sooner, later in zip(found.times, found.times[1:], strict=False)}
        assert len(gaps) == 1


def test_lines_are_broken_where_nothing_is_known() -> None:
    """A gap is a gap, and a single value can be seen all the same."""
    found = plots.lines([("p95", [1, 2, None, 4, None], "ac")], [0, 60, 120, 180, 240], bound=3)

    first, second = found.lines[0].paths
    assert [place.split(",")[0] for place in first.split()] == ["0.0", "250.0"]
    assert [place.split(",")[0] for place in second.split()] == ["750.0", "752.0"]
    assert found.ticks == (4, 2, 0)
    assert found.bound == 25


def test_no_line_is_no_error() -> None:
    """Before the first value there is an empty ground."""
    found = plots.lines([("p95", [], "ac")])
    assert (found.lines[0].paths, found.times) == ((), ())


def entry(**changes: object) -> Entry:
    given: dict[str, object] = {
        "id": "1-1",
        "request_id": "r",
        "at_s": 0.0,
        "client_id": "c",
        "overhead_ms": 10.0,
        "outcome": "rescued",
        "tries": (TryMade("a", "429 limit", 90.0), TryMade("b", "200", 100.0)),
        "first_token_ms": 200.0,
        "duration_ms": 1000.0,
    }
    return Entry(**(given | changes))  # type: ignore[arg-type]


def test_a_waterfall_follows_the_call_from_key_to_key() -> None:
    """The gateway's own time, the try in vain, the wait for the answer, the answer."""
    admit, first, second = plots.waterfall(entry()).stages

    assert (admit.kind, admit.x, admit.width) == ("admit", 0, 10)
    assert (first.tone, first.x, first.width, first.moved) == ("warn", 10, 90, True)
    assert (second.tone, second.x, second.width) == ("idle", 100, 100)
    assert (second.streamed_x, second.streamed_width) == (200, 800)


def test_the_last_try_of_a_failed_call_is_bad() -> None:
    """Nothing was streamed, and nothing follows."""
    last = plots.waterfall(entry(outcome="failed", first_token_ms=0.0)).stages[-1]
    assert (last.tone, last.streamed_x, last.moved) == ("bad", None, False)


def test_a_refused_call_has_seen_no_key() -> None:
    """Only the gateway's own time is left."""
    found = plots.waterfall(entry(outcome="refused", tries=(), first_token_ms=0.0, duration_ms=0.0, overhead_ms=0.0))
    assert [stage.kind for stage in found.stages] == ["admit"]


@given(
    st.lists(st.floats(min_value=0, max_value=1e6), max_size=5),
    st.floats(min_value=0, max_value=1e6),
    st.floats(min_value=0, max_value=1e6),
)
def test_a_waterfall_stays_on_its_ground(tries: list[float], overhead: float, duration: float) -> None:
    """Whatever clocks have measured."""
    made = tuple(TryMade("k", "200", ms) for ms in tries)
    for stage in plots.waterfall(entry(tries=made, overhead_ms=overhead, duration_ms=duration)).stages:
        assert 0 <= stage.x <= 1000.1
        assert stage.x + stage.width <= 1002.1
        assert stage.streamed_x is None or stage.streamed_x + stage.streamed_width <= 1002.1


@pytest.mark.parametrize(("value", "level"), [(0, 0), (-1, 0), (1, 1), (25, 1), (26, 2), (99, 4), (100, 4)])
def test_amounts_have_four_levels_above_nothing(value: float, level: int) -> None:
    """So that a little can be told from nothing."""
    assert plots.level(value, 100) == level


def test_a_heatmap_shows_amounts_outcomes_and_gaps() -> None:
    """Each in its place."""
    found = plots.heatmap([[0, 8], [None, (9, 0, 1), 4]])

    assert [(cell.x, cell.y, cell.tone) for cell in found.cells] == [
        (0, 0, "h-0"),
        (1, 0, "h-4"),
        (1, 1, "f-bad"),
        (2, 1, "h-2"),
    ]
    assert (found.columns, found.rows) == (3, 2)


def test_a_calendar_begins_its_weeks_on_monday() -> None:
    """A Sunday closes a column."""
    found = plots.calendar([(MONDAY_S, 3.0), (MONDAY_S - DAY_S, 1.0), (MONDAY_S + 8 * DAY_S, 0.0)])

    assert [(day.x, day.y) for day in found.days] == [(0, 6), (1, 0), (2, 1)]
    assert [week for week, _ in found.months] == [0, 2]
    assert found.weeks == 3
    assert plots.calendar([]).days == ()


@pytest.mark.parametrize(("part", "whole", "share"), [(1, 4, 25.0), (9, 4, 100.0), (-1, 4, 0.0), (1, 0, 0.0)])
def test_a_share_stays_within_its_whole(part: float, whole: float, share: float) -> None:
    """Also where a limit was overdrawn."""
    assert plots.percent(part, whole) == share


def test_times_of_an_axis_are_digits() -> None:
    """The words of a month are the template's."""
    assert plots.axis_time(MONDAY_S + 14 * 3600) == "14:00"
    assert plots.month_and_day(MONDAY_S) == (11, 23)
