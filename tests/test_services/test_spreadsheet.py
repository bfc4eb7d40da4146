"""Cells that no spreadsheet runs."""

from __future__ import annotations

from typing import Any

import pytest

from app.services.spreadsheet import safe_cell


@pytest.mark.parametrize("text", ["=1+1", "@SUM(A1)", "+cmd|' /C calc'!A0", "-2+3", "\t=1", "\r=1", "\n=1", "\uff1d1"])
def test_a_formula_becomes_a_text(text: str) -> None:
    """Behind an apostrophe, whatever way it begins."""
    assert safe_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["openai/gpt-4o", "-1.5", "+3", "", "a=b", 7, -0.5, None])
def test_everything_else_stays_as_it_is(value: Any) -> None:
    """Negative amounts above all."""
    assert safe_cell(value) == value
