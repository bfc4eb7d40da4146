"""Providers that stand out."""

from __future__ import annotations

import pytest

from app.services import outliers
from app.services.outliers import Outliers


def note(
    seen: Outliers, provider: str, calls: int, errors: int, *, first_s: float | None = 1.0, at: float = 0.0
) -> None:
    for number in range(calls):
        seen.note("m", provider, at, failed=number < errors, first_token_s=first_s)


def test_nobody_stands_out() -> None:
    """Equals do not, and few calls prove nothing."""
    seen = Outliers()
    note(seen, "A", 100, 5)
    note(seen, "B", 100, 4)
    note(seen, "C", 10, 10, first_s=90)
    assert seen.find(0) == ()


def test_a_failing_provider() -> None:
    """Three times the others' errors, and at least a fifth."""
    seen = Outliers()
    note(seen, "A", 100, 30)
    note(seen, "B", 100, 5)
    (found,) = seen.find(0)
    assert (found.provider, found.failing, found.slow) == ("A", True, False)
    assert (found.calls, found.error_share, found.others_error_share) == (100, 0.3, 0.05)


def test_all_fail_alike() -> None:
    """An outage of the model is no outlier, but a provider that is alone on a model is."""
    seen = Outliers()
    note(seen, "A", 100, 60)
    assert [found.provider for found in seen.find(0)] == ["A"]
    note(seen, "B", 100, 60)
    assert seen.find(0) == ()


def test_a_slow_provider() -> None:
    """Three times the others' median to the first token."""
    seen = Outliers()
    note(seen, "A", 30, 0, first_s=4.5)
    for provider in "BCD":
        note(seen, provider, 30, 0, first_s=1.5)
    note(seen, "E", 30, 0, first_s=None)
    (found,) = seen.find(0)
    assert (found.provider, found.slow, found.first_token_s, found.others_first_token_s) == ("A", True, 4.5, 1.5)


def test_it_is_forgotten() -> None:
    """Ten minutes later, slot by slot."""
    seen = Outliers()
    note(seen, "A", 30, 30)
    note(seen, "A", 30, 0, at=300)
    assert seen.find(300)[0].error_share == 0.5
    assert seen.find(700) == ()
    assert seen.find(90_000) == ()


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest pair goes."""
    monkeypatch.setattr(outliers, "_MOST_PAIRS", 2)
    seen = Outliers()
    note(seen, "A", 100, 100)
    note(seen, "B", 100, 0)
    assert [found.provider for found in seen.find(0)] == ["A"]
    note(seen, "C", 100, 0)
    assert seen.find(0) == ()
