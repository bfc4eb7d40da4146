"""Facts of keys: what they add up to."""

from __future__ import annotations

import msgspec
import pytest

from app.models.key_facts import Budget, KeyFacts


@pytest.mark.parametrize(
    ("facts", "available", "has_money"),
    [
        (KeyFacts(id="k"), None, False),
        (KeyFacts(id="k", tells_budgets=True), None, True),
        (KeyFacts(id="k", limit_remaining_nano=5), 5, True),
        (KeyFacts(id="k", limit_remaining_nano=0, tells_budgets=True), 0, False),
        (KeyFacts(id="k", limit_remaining_nano=5, budget=Budget(scope="workspace", remaining_nano=0)), 0, False),
        (KeyFacts(id="k", budget=Budget(scope="member", remaining_nano=7)), 7, True),
        (KeyFacts(id="k", limit_remaining_nano=5, budget=Budget(scope="member")), 5, True),
    ],
)
def test_money(facts: KeyFacts, available: int | None, has_money: bool) -> None:
    """The narrower of limit and budget counts, and an answer that speaks of neither proves nothing."""
    assert facts.available_nano == available
    assert facts.has_money is has_money


def test_what_is_stored_is_read_again() -> None:
    """Through JSON and back."""
    facts = KeyFacts(id="k", probed_at=1.5, account="a", budget=Budget(scope="member", resets_at=2.5), balance_nano=-1)
    assert msgspec.json.decode(msgspec.json.encode(facts), type=KeyFacts) == facts
