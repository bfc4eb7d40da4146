"""What a call is told that finds no key."""

from __future__ import annotations

import pytest

from app.core.errors import Fault
from app.models.lease import Skipped
from app.services import shortage

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("skipped", "retry_after", "said"),
    [
        ([], None, "keys add"),
        ([Skipped("k", shortage.TAGS), Skipped("l", shortage.MODEL)], None, "keys' tags, model"),
        (
            [Skipped("k", "key_limit", NOW + 90.2), Skipped("l", "free_daily", NOW + 9.1)],
            b"10",
            "key_limit, free_daily",
        ),
        ([Skipped("k", "key_limit", NOW - 5)], b"1", "1 s"),
        ([Skipped("k", shortage.MAX_IN_FLIGHT), Skipped("l", "x", NOW + 99)], b"1", "max_in_flight"),
        ([Skipped("k", shortage.ON_TRIAL)], b"1", "on_trial"),
        ([Skipped("k", "disabled", 253_402_300_799.0)], None, "disabled"),
        ([Skipped("k", shortage.TRIED), Skipped("l", shortage.TAGS)], None, "resting (tried)"),
    ],
)
def test_the_refusal(skipped: list[Skipped], retry_after: bytes | None, said: str) -> None:
    """A 503 with a reason, and with the time of the soonest return where there is one."""
    error = shortage.no_key(skipped, NOW)

    assert (error.status, error.error_type) == (503, "no_usable_key")
    assert dict(error.headers).get(b"retry-after") == retry_after
    assert said in f"{error.message} {error.hint}"
    assert error.fault is (Fault.UPSTREAM if retry_after else Fault.GATEWAY)


@pytest.mark.parametrize(("wait_s", "useless"), [(5.0, False), (3600.0, True)])
def test_a_long_wait_tells_sdks_not_to_retry(wait_s: float, useless: bool) -> None:
    """They would come back within seconds."""
    error = shortage.no_key([Skipped("k", "credits", NOW + wait_s)], NOW)

    assert ((b"x-should-retry", b"false") in error.headers) == useless


def test_not_all_come_back_at_once() -> None:
    """Over at least a tenth of the wait, and nobody too early."""
    for wait_s in (0.0, 1.0, 9.5, 60.0, 600.0):
        told = {shortage.spread_s(wait_s, draw / 100) for draw in range(100)}
        assert min(told) >= max(1, wait_s)
        assert max(told) - min(told) >= max(1, wait_s / 10)
