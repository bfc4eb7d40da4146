"""Who is told of a budget, when, and in which words."""

from __future__ import annotations

import msgspec
import pytest

from app.models.alerts import Gravity
from app.models.limits import Limit, Span, Unit
from app.services.alert_rules import budget_alert, kept_s, passed, place_of
from app.services.money import Whose, standing_of

USD = 10**9
NOW_S = 1_795_392_000.0  # Monday 2026-11-23, 00:00 UTC
LIMIT = Limit(unit=Unit.USD, span=Span.MONTH, size=25 * USD)


@pytest.mark.parametrize(
    ("used", "percent"),
    [(0, 0), (12 * USD, 0), (125 * USD // 10, 50), (20 * USD, 80), (2499 * USD // 100, 95), (26 * USD, 95)],
)
def test_the_highest_threshold_counts(used: int, percent: int) -> None:
    """Exactly at it, and once however far beyond."""
    assert passed(standing_of(Whose.KEY, LIMIT, used, NOW_S), (50, 80, 95)) == percent


def test_the_words() -> None:
    """Who, how far, of what, what is left and until when."""
    alert = budget_alert("c:ck_1", "client bot", standing_of(Whose.KEY, LIMIT, 20 * USD, NOW_S), 80, NOW_S)
    assert alert.title == "client bot has used 80 % of $25 per month"
    assert alert.text == "$20 are spent or reserved. $5 are left until 2026-12-01 00:00 UTC."
    assert (alert.gravity, alert.place) == (Gravity.WARN, "/admin/client-keys/ck_1")
    assert alert.until_s == NOW_S + 8 * 86_400
    full = budget_alert("c:ck_1", "client bot", standing_of(Whose.KEY, LIMIT, 25 * USD, NOW_S), 95, NOW_S)
    assert "Further calls are refused until 2026-12-01" in full.text
    assert full.gravity is Gravity.BAD
    shadow = msgspec.structs.replace(LIMIT, shadow=True)
    assert "$0 are left" in budget_alert("x", "x", standing_of(Whose.KEY, shadow, 25 * USD, NOW_S), 95, NOW_S).text


def test_an_event_has_one_id() -> None:
    """The same limit, period and threshold are one event; another of them is another one."""

    def of(limit: Limit, percent: int, now_s: float) -> str:
        return budget_alert("c:ck_1", "n", standing_of(Whose.KEY, limit, 20 * USD, now_s), percent, now_s).id

    first, daily = of(LIMIT, 80, NOW_S), msgspec.structs.replace(LIMIT, span=Span.DAY)
    assert first == of(msgspec.structs.replace(LIMIT, size=1), 80, NOW_S + 86_400)
    others = {of(LIMIT, 95, NOW_S), of(LIMIT, 80, NOW_S + 31 * 86_400), of(daily, 80, NOW_S)}
    assert len(others | {first}) == 4


def test_it_is_remembered_longer_than_the_period() -> None:
    """Or the same would be told twice."""
    assert [kept_s(span) // 86_400 for span in (Span.DAY, Span.WEEK, Span.MONTH, Span.TOTAL)] == [2, 9, 33, 400]


def test_where_a_spender_is_seen() -> None:
    """A client's page, or a group's."""
    assert place_of("c:ck_1") == "/admin/client-keys/ck_1"
    assert place_of("g:g_1") == "/admin/groups/g_1"
