"""Figures of use."""

from __future__ import annotations

from app.models.usage import Spent


def test_nothing_spent_is_zero_everywhere() -> None:
    """A new client has used nothing."""
    assert Spent(0, 0, 0, 0) == Spent()
