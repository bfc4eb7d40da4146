"""A comparison as it is stored."""

from __future__ import annotations

import msgspec

from app.models.books import Comparison, Finding


def test_a_comparison_is_stored_and_read() -> None:
    """Also one where nobody told what upstream has booked."""
    one = Comparison(day="2026-11-23", key_id="k", finding=Finding.NOT_COMPARED)
    assert msgspec.json.decode(msgspec.json.encode(one), type=Comparison) == one
