"""How the gateway's books and OpenRouter's agree."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import msgspec
import pytest

from app.core.redis import RedisManager
from app.models.books import Comparison, Finding
from app.panel.usage_books import BookDay, Books, day_of, days_of
from tests.test_panel.usage_world import USD, BooksWorld, books_world

__all__ = ["books_world"]
NOW_S = 1_795_400_000.0  # 2026-11-23, 02:13 UTC
DAY_S = 86_400.0


@pytest.mark.parametrize(
    ("since_s", "until_s", "days", "today"),
    [
        (NOW_S - 3600, NOW_S, [], True),
        (NOW_S - DAY_S, NOW_S, [date(2026, 11, 22)], True),
        (NOW_S - 2 * DAY_S, NOW_S + 10 * DAY_S, [date(2026, 11, 22), date(2026, 11, 21)], True),
        (NOW_S - 2 * DAY_S, NOW_S - 2 * DAY_S + 60, [date(2026, 11, 21)], False),
    ],
)
def test_days_that_are_over(since_s: float, until_s: float, days: list[date], today: bool) -> None:
    """Only those can be compared; the newest first."""
    assert days_of(since_s, until_s, NOW_S) == (days, today)


def test_at_most_a_month_is_looked_at() -> None:
    """Of a long period the last days."""
    days, _ = days_of(0, NOW_S, NOW_S)
    assert (len(days), days[0]) == (30, date(2026, 11, 22))


def compared(finding: Finding, own: int, theirs: int | None) -> Comparison:
    return Comparison(day="d", key_id="k", finding=finding, own_nano=own, theirs_nano=theirs)


def test_a_day_is_the_sum_of_its_keys() -> None:
    """Small differences of keys that agree are none; what could not be compared does not count."""
    found = day_of(
        "d",
        [
            compared(Finding.AGREES, 10, 11),
            compared(Finding.ELSEWHERE, 10, 15),
            compared(Finding.TOO_MUCH, 10, 8),
            compared(Finding.CORRECTED, 10, 9),
            compared(Finding.NOT_COMPARED, 10, None),
        ],
    )
    assert found == BookDay("d", 4, 2, 3, True)
    assert day_of("d", [compared(Finding.NOT_COMPARED, 10, None)]) is None
    assert day_of("d", []) is None
    books = Books((found, BookDay("e", 1, 0, 0, False)), 2, False)
    assert (books.gap_nano, books.differing) == (3, (found,))


def test_the_page_says_which_days_agree(books_world: BooksWorld) -> None:
    """And by how much the others differ, in words that name whose books say more."""
    today = datetime.now(UTC).date()
    days = [str(today - timedelta(days=back)) for back in (1, 2)]
    assert "no day of this period was compared" in books_world.get("/admin/usage")

    async def store(redis: RedisManager) -> None:
        for day, one in zip(
            days, (compared(Finding.AGREES, 5, 5), compared(Finding.ELSEWHERE, USD, 3 * USD)), strict=True
        ):
            told = msgspec.json.encode(msgspec.structs.replace(one, day=day))
            await redis.command("HSET", redis.keys.books("reconcile", day), "k", told)

    books_world.redis(store)
    text = books_world.get("/admin/usage")
    assert "1 of 2 days differ, by $2.00 in all" in text
    assert f"{days[1]}</time>: OpenRouter has booked $2.00 more" in text
    assert f"{days[0]}</time>: agrees" in text
    assert "Today&#39;s figures are ours alone." in text or "Today's figures are ours alone." in text
