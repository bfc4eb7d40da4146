"""What differences mean, and how unknown costs are corrected."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.models.alerts import AlertKind
from app.models.books import Comparison, Finding
from app.models.ledger import CostKind, Entry
from app.services.reconcile_plan import activity_nano, alerts_of, corrections, judged

USD = 10**9
CENT = USD // 100


@pytest.mark.parametrize(
    ("own", "unknown", "theirs", "finding"),
    [
        (5 * USD, 0, 5 * USD, Finding.AGREES),
        (5 * USD, 0, 5 * USD + CENT, Finding.AGREES),
        (5 * USD, 0, 6 * USD, Finding.ELSEWHERE),
        (5 * USD, 0, 4 * USD, Finding.TOO_MUCH),
        (5 * USD, 2 * USD, 4 * USD, Finding.CORRECTED),
        (5 * USD, USD // 2, 4 * USD, Finding.TOO_MUCH),
        (5 * USD, USD, 6 * USD, Finding.ELSEWHERE),
        (5 * USD, USD, None, Finding.NOT_COMPARED),
        (0, 0, 0, Finding.AGREES),
        (1000 * USD, 0, 1004 * USD, Finding.AGREES),
    ],
)
def test_what_a_difference_means(own: int, unknown: int, theirs: int | None, finding: Finding) -> None:
    """A cent or half a percent lies between days; more means something."""
    assert judged(own, unknown, theirs) is finding


def test_activity_is_summed_exactly() -> None:
    """Over models and endpoints, of the day that was asked for only; to the last digit."""
    body = (
        b'{"data":[{"date":"2026-11-22","usage":0.1},{"date":"2026-11-22 00:00:00","usage":1.4e-7},'
        b'{"date":"2026-11-21","usage":5}]}'
    )
    assert activity_nano(body, "2026-11-22") == 100_000_140
    assert activity_nano(b'{"data":[]}', "2026-11-22") == 0
    for broken in (b"", b"{}", b'{"data":[{"date":"2026-11-22","usage":"NaN"}]}', b"\xff"):
        assert activity_nano(broken, "2026-11-22") is None


def unknown(number: int, nano: int) -> Entry:
    return Entry(id=f"j-{number}", request_id="r", at_s=1.0, client_id="c", cost_nano=nano, cost_kind=CostKind.UNKNOWN)


@given(st.lists(st.integers(0, 10**12), max_size=8), st.integers(0, 10**13))
def test_corrections_take_away_just_the_excess(costs: list[int], excess: int) -> None:
    """To the nano-dollar, and never more than was charged."""
    entries = [unknown(number, nano) for number, nano in enumerate(costs)]
    found = corrections([*entries, Entry(id="k-1", request_id="r", at_s=1.0, client_id="c", cost_nano=5)], excess)
    assert all(0 <= nano <= entry.cost_nano for entry, nano in found)
    assert sum(entry.cost_nano - nano for entry, nano in found) == min(excess, sum(costs))


def test_alerts_say_what_to_look_at() -> None:
    """A key that somebody else uses, and books that say too much; the rest is silent."""
    told = {"day": "2026-11-22", "own_nano": USD, "theirs_nano": 3 * USD}
    comparisons = [
        Comparison(key_id="a", finding=Finding.ELSEWHERE, **told),
        Comparison(key_id="b", finding=Finding.TOO_MUCH, **told),
        Comparison(key_id="c", finding=Finding.AGREES, **told),
        Comparison(key_id="d", finding=Finding.CORRECTED, **told),
    ]
    alerts = alerts_of(comparisons, {"a": "main"}, 7.0)
    assert [(one.kind, one.subject) for one in alerts] == [
        (AlertKind.KEY_USED_ELSEWHERE, "a"),
        (AlertKind.BOOKS_DIFFER, "b"),
    ]
    assert alerts[0].title == "OpenRouter key main is used elsewhere"
    assert alerts[0].text == "$2 of 2026-11-22 did not go through this gateway."
