"""What a client is told of its call's way."""

from __future__ import annotations

import pytest

from app.models.lease import Skipped
from app.services.call import Try
from app.services.trace import trace_line

AT = 1_790_000_000.0  # 2026-09-21T14:13:20Z
MASKED = "sk-or-v1-0e6…1c96"


def test_tried_and_skipped_keys_are_told() -> None:
    """In plain words, in their order, by their masks."""
    tries = [Try("1" * 64, MASKED, "429 free_daily"), Try("2" * 64, "sk-or-v1-111…2222", "200")]
    skipped = [Skipped("sk-or-v1-333…4444", "key_limit", AT), Skipped("sk-or-v1-555…6666", "max_in_flight")]

    assert trace_line(tries, skipped, "balanced").decode() == (
        "strategy=balanced; tried=sk-or-v1-0e6...1c96 429 free_daily, sk-or-v1-111...2222 200; "
        "skipped=sk-or-v1-333...4444 key_limit until 2026-09-21T14:13:20Z, sk-or-v1-555...6666 max_in_flight"
    )


def test_the_id_of_a_key_is_not_told() -> None:
    """It is a hash of the whole key, and nobody's business but the operator's."""
    assert b"1" * 64 not in trace_line([Try("1" * 64, MASKED, "200")], [], "balanced")


def test_nothing_skipped_is_said() -> None:
    """An empty list would read like a mistake."""
    assert trace_line([Try("1", MASKED, "200")], [], "tiers").endswith(b"tried=sk-or-v1-0e6...1c96 200; skipped=none")


@pytest.mark.parametrize(("count", "told"), [(8, b""), (9, b" and 1 more"), (1000, b" and 992 more")])
def test_a_large_pool_makes_no_large_header(count: int, told: bytes) -> None:
    """Some are named, the others are counted."""
    line = trace_line([], [Skipped(MASKED, "key_limit", AT)] * count, "balanced")

    assert line.count(b"key_limit") == min(count, 8)
    assert line.endswith(told)
    assert len(line) < 1024


@pytest.mark.parametrize("until_s", [None, 0.0, -1.0, 4e9, 253_402_300_799.0, float("inf")])
def test_an_end_that_means_nothing_is_left_out(until_s: float | None) -> None:
    """What only people end has no date."""
    assert b"until" not in trace_line([], [Skipped(MASKED, "r", until_s)], "balanced")


def test_the_line_is_fit_for_a_header() -> None:
    """Only ASCII, whatever a mask or a reason holds."""
    line = trace_line([Try("1", "k\u00e9y…", "200")], [Skipped("\U0001f511", "r\u00e4son")], "balanced")

    assert line.isascii()
    assert b"k?y... 200" in line
