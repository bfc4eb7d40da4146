"""Money: exact, integer, and printed as JavaScript prints it."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.money import NANO, nano_of, number, price

NUMBERS = [
    (0, "0"),
    (1, "1e-9"),
    (140, "1.4e-7"),
    (999, "9.99e-7"),
    (1000, "0.000001"),
    (4_950, "0.00000495"),
    (25_500_000_000, "25.5"),
    (3_000_000_000, "3"),
    (-140, "-1.4e-7"),
]


@pytest.mark.parametrize(("nano", "text"), NUMBERS)
def test_numbers_are_written_as_javascript_writes_them(nano: int, text: str) -> None:
    """Below a millionth with an exponent, otherwise plain, never with needless digits."""
    assert number(nano) == text


@given(st.integers(min_value=-(10**15), max_value=10**15))
def test_every_amount_survives_the_round_trip(nano: int) -> None:
    """What is printed is exactly what is owed."""
    assert Decimal(number(nano)) * NANO == nano
    assert nano_of(number(nano)) == nano


def test_prices_are_plain_decimals() -> None:
    """The catalogue's prices are strings without exponents."""
    assert [price(0), price(20), price(1_000_000_000)] == ["0", "0.00000002", "1"]
