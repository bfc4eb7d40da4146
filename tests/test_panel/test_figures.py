"""Numbers, money and times as texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.panel import figures

NANO = 10**9


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (None, "—"),
        (0, "$0"),
        (42_180_000_000, "$42.18"),
        (9_400_000, "$0.0094"),
        (14, "$0.000000014"),
        (995_000_000, "$1.00"),
        (31_550 * NANO, "$31,550"),
        (-5 * NANO, "−$5.00"),
        (999_999_999_999, "$1,000.00"),
    ],
)
def test_money_is_as_exact_as_it_helps(nano: int | None, text: str) -> None:
    """Cents from ten cents on, two telling digits below, whole dollars from a thousand on."""
    assert figures.usd(nano) == text


@pytest.mark.parametrize(
    ("nano", "text"), [(1_234_567_891, "$1.234567891"), (5 * NANO, "$5.00"), (-14, "−$0.000000014")]
)
def test_exact_money_keeps_every_digit(nano: int, text: str) -> None:
    """Where it matters nothing is rounded."""
    assert figures.usd(nano, exact=True) == text


@given(st.integers(min_value=-(10**18), max_value=10**18))
def test_exact_money_can_be_read_back(nano: int) -> None:
    """The exact text stands for its amount and no other."""
    text = figures.usd(nano, exact=True).replace("−", "-").replace("$", "").replace(",", "")
    whole, _, rest = text.lstrip("-").partition(".")
    assert (int(whole) * NANO + int(rest.ljust(9, "0"))) * (-1 if text.startswith("-") else 1) == nano


@pytest.mark.parametrize(
    ("number", "text"),
    [(None, "—"), (204, "204"), (3450, "3.5k"), (31_400_000, "31.4M"), (250_000, "250k"), (2e12, "2.0T")],
)
def test_large_numbers_are_short(number: float | None, text: str) -> None:
    """Three digits and a letter."""
    assert figures.short(number) == text


@pytest.mark.parametrize(("number", "text"), [(None, "—"), (0, "0"), (18204, "18,204")])
def test_counts_have_thousands(number: int | None, text: str) -> None:
    """A count is told whole."""
    assert figures.count(number) == text


def test_a_share_of_nothing_is_told_as_none() -> None:
    """Nothing is divided by zero."""
    assert (figures.share(1, 3), figures.share(1, 0), figures.share(9993, 10_000, 2)) == ("33.3%", "—", "99.93%")


@pytest.mark.parametrize(
    ("ms", "text"),
    [(None, "—"), (3.14, "3.1 ms"), (642, "642 ms"), (1840, "1.84 s"), (125_000, "2 min 05 s")],
)
def test_spans_choose_their_unit(ms: float | None, text: str) -> None:
    """Milliseconds, seconds, minutes."""
    assert figures.span(ms) == text


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (999, "999 B"), (1400, "1.4 kB"), (312_000_000, "312 MB")])
def test_sizes_are_in_thousands(size: int, text: str) -> None:
    """As storage is counted."""
    assert figures.size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-3, "0 s"), (42, "42 s"), (300, "5 min"), (6 * 3600, "6 h"), (12 * 86_400, "12 d")]
)
def test_how_long_in_the_largest_unit(seconds: float, text: str) -> None:
    """One number, one unit."""
    assert figures.within(seconds) == text


@pytest.mark.parametrize(
    ("now", "before", "text"),
    [(106.1, 100, "▲ 6.1%"), (88, 100, "▼ 12%"), (100, 100, "= 0%"), (5, 0, ""), (45_600, 10, "▲ 4,560x")],
)
def test_changes_have_a_direction(now: float, before: float, text: str) -> None:
    """And nothing is said where there is nothing to compare with."""
    assert figures.change(now, before) == text


def test_times_are_told_in_utc() -> None:
    """For people and for the attribute."""
    assert figures.clock_time(1_795_419_064) == "2026-11-23 07:31:04 UTC"
    assert figures.iso_time(1_795_419_064) == "2026-11-23T07:31:04Z"
