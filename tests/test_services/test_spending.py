"""To which days, weeks and months a cost belongs."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from app.models.ledger import CostKind
from app.models.limits import Span
from app.services.spending import (
    LIVES_S,
    held_name,
    noted_purses,
    period_of,
    purse_notes,
    purse_sums,
    purses_name,
    spent_name,
    sums_of,
)
from tests.test_services.limit_world import an_entry


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("moment", "day", "week", "month"),
    [
        ("2026-11-23T00:00:00", "d:2026-11-23", "w:2026-11-23", "m:2026-11"),
        ("2026-11-22T23:59:59.999", "d:2026-11-22", "w:2026-11-16", "m:2026-11"),
        ("2027-01-01T00:00:00", "d:2027-01-01", "w:2026-12-28", "m:2027-01"),
        ("2028-02-29T12:00:00", "d:2028-02-29", "w:2028-02-28", "m:2028-02"),
    ],
)
def test_periods(moment: str, day: str, week: str, month: str) -> None:
    """Days, weeks from Monday and months of UTC, over the ends of years."""
    at_s = at(moment)
    found = [period_of(span, at_s) for span in (Span.DAY, Span.WEEK, Span.MONTH, Span.TOTAL)]
    assert found == [day, week, month, "total"]
    assert spent_name("c:x", Span.DAY, at_s) == ("spent", "c:x", day)
    assert held_name("c:x", Span.WEEK, at_s) == ("held", "c:x", week)


def test_lives_outlast_their_periods() -> None:
    """A sum is there as long as its period, and a while after it."""
    assert LIVES_S[Span.TOTAL] == 0
    assert LIVES_S[Span.DAY] > 86_400
    assert LIVES_S[Span.WEEK] > 14 * 86_400
    assert LIVES_S[Span.MONTH] > 62 * 86_400


def test_sums() -> None:
    """Entries of one owner and day become one sum for each period; those that cost nothing become none."""
    monday, tuesday = at("2026-11-23T10:00:00"), at("2026-11-24T10:00:00")
    entries = [
        an_entry("1", monday, 5, "ck_1", "gr_1"),
        an_entry("2", monday + 60, 7, "ck_1"),
        an_entry("3", tuesday, 11, "ck_2"),
        an_entry("4", tuesday, 0, "ck_3"),
    ]
    sums: dict[tuple[str, ...], int] = {}
    for name, life_s, nano in sums_of(entries):
        sums[name] = sums.get(name, 0) + nano
        assert life_s in LIVES_S.values()
    assert sums["spent", "c:ck_1", "d:2026-11-23"] == 12
    assert sums["spent", "g:gr_1", "total"] == 5
    assert sums["spent", "g:gateway", "w:2026-11-23"] == 23
    assert sums["spent", "g:gateway", "d:2026-11-24"] == 11
    assert sums["spent", "c:ck_2", "m:2026-11"] == 11
    assert not any("ck_3" in name[1] for name in sums)
    assert len(sums_of(entries)) == 4 * 5
    assert sums_of([]) == []


def test_purses() -> None:
    """Budgets of certain models or of one user hear of a cost in their own span, by the day of the call."""
    monday, tuesday = at("2026-11-23T10:00:00"), at("2026-11-24T10:00:00")
    daily, whole = ("c:ck_1~a", Span.DAY), ("g:gr_1~b~u", Span.TOTAL)
    sums = purse_sums([
        (an_entry("1", monday, 5), (daily, whole)),
        (an_entry("2", tuesday, 7), (daily,)),
        (an_entry("3", tuesday, 11), (daily, whole)),
        (an_entry("4", tuesday, 0), (daily,)),
        (an_entry("5", tuesday, 13), ()),
    ])  # fmt: skip
    assert sorted(sums) == [
        (("spent", "c:ck_1~a", "d:2026-11-23"), LIVES_S[Span.DAY], 5),
        (("spent", "c:ck_1~a", "d:2026-11-24"), LIVES_S[Span.DAY], 18),
        (("spent", "g:gr_1~b~u", "total"), 0, 16),
    ]


def test_purses_of_unproven_costs_are_noted() -> None:
    """And read back as they were."""
    purses = (("c:ck_1~a b", Span.DAY), ("g:gr_1~u", Span.TOTAL))
    unknown = msgspec.structs.replace(an_entry("1", at("2026-11-23T10:00:00"), 5), cost_kind=CostKind.UNKNOWN)
    ((name, life_s, fields),) = purse_notes([(unknown, purses), (an_entry("2", 0, 5), purses), (unknown, ())])
    assert (name, life_s) == (purses_name(unknown.id), LIVES_S[Span.DAY])
    assert noted_purses(field.encode() for field in fields) == purses
