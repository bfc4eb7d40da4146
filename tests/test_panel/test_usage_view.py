"""What an address asks of the usage page."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.panel.usage_view import METRICS, PATH, Wanted, fine_step, query_of, wanted_of
from app.services.cells import Step
from app.services.insight_plan import Dimension, Order, plan

NOW_S = 1_795_400_000.0
HOUR_S = 3600
DAY_S = 86_400


def wanted(**said: str) -> Wanted:
    return wanted_of(said, NOW_S)


def test_an_empty_address_asks_for_a_week_of_spend() -> None:
    """And is written as one."""
    found = wanted()
    assert (found.since_s, found.until_s, found.metric) == (NOW_S - 7 * DAY_S, NOW_S, "spend")
    assert found.url() == PATH


@pytest.mark.parametrize(
    "said",
    [
        {"period": "24h", "metric": "errors"},
        {"metric": "latency", "span": "overhead"},
        {"model": "a b&c=d", "client": "ck_1"},
        {"by": "model", "and": "client", "step": "hour", "cumulative": "1"},
        {"compare": "0", "card": "outcomes"},
        {"period": "2026-11-03..2026-11-20"},
    ],
)
def test_an_address_leads_to_what_it_says(said: dict[str, str]) -> None:
    """Read again, it asks for the same."""
    found = wanted(**said)
    again = {name: values[0] for name, values in parse_qs(urlsplit(found.url()).query).items()}
    assert again == said
    assert wanted(**again) == found


@pytest.mark.parametrize(
    "said",
    [
        {"metric": "x"},
        {"span": "x"},
        {"by": "x"},
        {"and": "model"},
        {"step": "x"},
        {"cumulative": "yes"},
        {"model": " "},
    ],
)
def test_words_that_nobody_knows_are_not_said(said: dict[str, str]) -> None:
    """Nobody is shown an error for them."""
    found = wanted(**said)
    assert not found.error
    assert (found.metric, found.span, found.step, found.cumulative, found.where) == (
        "spend",
        "duration",
        None,
        False,
        {},
    )


def test_a_period_that_cannot_be_read_is_told() -> None:
    """In its place stands the usual one."""
    found = wanted(period="soon", model="m")
    assert (found.error, found.words) == ("soon", "7d")
    assert found.where == {Dimension.MODEL: "m"}


def test_two_dates_are_a_period() -> None:
    """Of whole days; one alone is that day up to now or itself."""
    both = wanted(**{"from": "2026-11-03", "to": "2026-11-04"})
    assert both.until_s - both.since_s == 2 * DAY_S
    assert (both.day_since, both.day_until) == ("2026-11-03", "2026-11-04")
    assert both.own_period
    assert wanted(to="2026-11-04").length_s == DAY_S
    assert wanted(**{"from": "2026-11-20"}).until_s == NOW_S
    assert not wanted(period="24h").own_period


def test_the_arrows_move_by_the_length() -> None:
    """Back as long as there is time, and never past now."""
    now = wanted(period="24h", model="m")
    assert now.moved(1) == ""
    back = wanted_of({"period": parse_qs(urlsplit(now.moved(-1)).query)["period"][0]}, NOW_S)
    assert abs(back.until_s - now.since_s) < 60
    assert abs(back.length_s - now.length_s) < 60
    assert "model=m" in now.moved(-1)
    assert back.moved(1)


def test_single_calls_are_asked_for_by_what_they_know() -> None:
    """Groups and accounts stand in sums alone."""
    found = wanted(period="24h", model="m", group="gr_1", key="abc")
    said = parse_qs(urlsplit(found.requests(outcome="failed")).query)
    assert said == {
        "since": [str(int(NOW_S - DAY_S))],
        "until": [str(int(NOW_S))],
        "outcome": ["failed"],
        "model": ["m"],
        "key": ["abc"],
    }


@pytest.mark.parametrize(
    ("said", "step"),
    [
        ({"period": "1h"}, None),
        ({"period": "24h"}, Step.HOUR),
        ({"period": "7d"}, Step.HOUR),
        ({"period": "30d"}, None),
        ({"period": "2026-01-01..2026-01-03"}, None),
    ],
)
def test_a_week_is_told_by_the_hour(said: dict[str, str], step: Step | None) -> None:
    """As long as hours are kept."""
    assert fine_step(wanted(**said)) == step


def test_questions_carry_the_filters() -> None:
    """Keys by the short ids of sums; how long calls took is asked of groups only where it is shown."""
    found = wanted(model="m", key="f" * 64, metric="errors")
    query = query_of(found, (Dimension.CLIENT,), top=3, compare=True)
    assert query.where == {Dimension.MODEL: ("m",), Dimension.KEY: ("f" * 16,)}
    assert (query.by, query.top, query.order, query.compare) == ((Dimension.CLIENT,), 3, Order.FAILED, True)
    assert not query.spans
    assert query_of(found).spans
    assert query_of(wanted(metric="latency"), (Dimension.MODEL,)).spans


@given(
    st.dictionaries(
        st.sampled_from(["period", "metric", "span", "model", "by", "and", "step", "from", "to", "key"]),
        st.one_of(st.text(max_size=12), st.sampled_from([*METRICS, "model", "key", "month", "2026-11-03", "1h"])),
    )
)
def test_any_address_makes_a_question(said: dict[str, str]) -> None:
    """Whatever stands in it: at worst the step is left to whoever answers."""
    found = wanted(**said)
    query = msgspec.structs.replace(query_of(found, found.by), step=None)
    assert plan(query, NOW_S).buckets
    assert found.url().startswith(PATH)
