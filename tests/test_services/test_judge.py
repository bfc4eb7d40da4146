"""Which answers move a call to another key."""

from __future__ import annotations

import pytest

from app.services.judge import Verdict, judge_status


@pytest.mark.parametrize(
    ("status", "retry_after", "verdict"),
    [
        (200, b"", Verdict(False)),
        (400, b"", Verdict(False)),
        (403, b"", Verdict(False)),
        (404, b"9", Verdict(False)),
        (500, b"", Verdict(False)),
        (503, b"9", Verdict(False)),
        (401, b"", Verdict(True, 60.0)),
        (402, b"", Verdict(True, 60.0)),
        (402, b"3", Verdict(True, 3.0)),
        (429, b"", Verdict(True, 5.0)),
        (429, b" 30 ", Verdict(True, 30.0)),
        (429, b"999999999", Verdict(True, 300.0)),
        (429, b"-5", Verdict(True, 5.0)),
        (429, b"abc", Verdict(True, 5.0)),
        (429, b"30, 60", Verdict(True, 5.0)),
        (429, b"9" * 50, Verdict(True, 5.0)),
    ],
)
def test_verdicts(status: int, retry_after: bytes, verdict: Verdict) -> None:
    """Only what speaks of the key rests it, for as long as upstream says within bounds."""
    assert verdict == judge_status(status, retry_after)
