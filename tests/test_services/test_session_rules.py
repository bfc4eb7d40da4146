"""When a session ends, and how long a proof holds."""

from __future__ import annotations

import msgspec
import pytest

from app.models.accounts import Account, SessionRecord
from app.models.people import Role
from app.services.session_rules import End, Timeouts, belongs, recently_proved, timed_out, touch_due

TIMEOUTS = Timeouts(idle_s=1800, absolute_s=43_200)
SESSION = SessionRecord(id="s", account="ann", epoch=3, created_s=1000, seen_s=5000, proved_s=1000)
ANN = Account(id="ann", name="Ann", role=Role.ADMIN, created_s=1, epoch=3)


@pytest.mark.parametrize(
    ("now_s", "end"),
    [(5000, None), (6799.9, None), (6800, End.IDLE), (44_199, End.IDLE), (44_200, End.OLD), (10**9, End.OLD)],
)
def test_sessions_end_when_left_alone_or_too_old(now_s: float, end: End | None) -> None:
    """To the second; the age counts even where somebody never pauses."""
    assert timed_out(SESSION, TIMEOUTS, now_s) is end
    used = msgspec.structs.replace(SESSION, seen_s=int(now_s))
    assert timed_out(used, TIMEOUTS, now_s) is (End.OLD if now_s >= 44_200 else None)


@pytest.mark.parametrize(
    ("account", "counts"),
    [
        (ANN, True),
        (None, False),
        (msgspec.structs.replace(ANN, disabled=True), False),
        (msgspec.structs.replace(ANN, epoch=4), False),
        (msgspec.structs.replace(ANN, rev=9, name="Anna"), True),
    ],
)
def test_a_session_needs_its_account(account: Account | None, counts: bool) -> None:
    """As it was when it signed in: there, enabled, of the same epoch."""
    assert belongs(SESSION, account) is counts


@pytest.mark.parametrize(("now_s", "fresh"), [(1000, True), (1599, True), (1600, False)])
def test_a_proof_holds_for_ten_minutes(now_s: float, fresh: bool) -> None:
    """And no second longer."""
    assert recently_proved(SESSION, now_s) is fresh


@pytest.mark.parametrize(("now_s", "due"), [(5000, False), (5059, False), (5060, True)])
def test_a_session_is_touched_once_a_minute(now_s: float, due: bool) -> None:
    """Not at every request."""
    assert touch_due(SESSION, now_s) is due
