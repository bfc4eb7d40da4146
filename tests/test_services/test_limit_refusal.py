"""What callers hear whose call does not fit."""

from __future__ import annotations

from typing import Any

import pytest

from app.models.limits import Limit, Span, Unit
from app.services.limit_plan import Check, Plan
from app.services.limit_refusal import in_words, refusal, remaining, unavailable
from app.services.money import NANO, Whose
from tests.test_services.limit_world import NOON, a_client, a_group, limit

DAY_END = NOON + 43_200
RETRY_NEVER = (b"x-should-retry", b"false")


def test_words() -> None:
    """Limits as people say them."""
    usd, month = Unit.USD, Span.MONTH
    assert in_words(limit(usd, month, 1), 25 * NANO) == "$25 per month"
    assert in_words(limit(usd, Span.TOTAL, 1, models="a/*"), NANO // 2) == "$0.5 in all for a/*"
    assert in_words(limit(Unit.REQUESTS, Span.MINUTE, 60), 60) == "60 requests per minute"
    assert in_words(limit(Unit.INPUT_TOKENS, Span.DAY, 9, each_user=True), 9) == "9 input tokens per day for each user"
    assert in_words(limit(Unit.REQUESTS, Span.HOUR, 1), 1) == "1 request per hour"
    assert in_words(limit(Unit.CONCURRENT, Span.NOW, 1), 1) == "1 concurrent request"
    assert in_words(limit(Unit.CONCURRENT, Span.NOW, 4), 4) == "4 concurrent requests"


def told(limit_: int, left: int, reset_s: float) -> tuple[tuple[bytes, bytes], ...]:
    return (
        (b"x-ratelimit-limit", b"%d" % limit_),
        (b"x-ratelimit-remaining", b"%d" % left),
        (b"x-ratelimit-reset", b"%d" % (reset_s * 1000)),
    )


RATES: list[tuple[Limit, Whose, tuple[Any, ...], str, str, Any]] = [
    (
        limit(Unit.REQUESTS, Span.MINUTE, 60), Whose.KEY, (60, 1, NOON + 12.5),
        "This key's limit, 60 requests per minute, is used up.", "There is room again in 13 s.",
        (*told(60, 0, NOON + 12.5), (b"retry-after", b"13")),
    ),
    (
        limit(Unit.TOKENS, Span.DAY, 100, models="a/*"), Whose.GROUP, (99, 20, NOON + 900),
        "The limit of this key's group, 100 tokens per day for a/*, has 1 left: too few for this call.",
        "There is room again at 2026-11-24 12:15 UTC.",
        (*told(100, 1, NOON + 900), (b"retry-after", b"900"), RETRY_NEVER),
    ),
    (
        limit(Unit.CONCURRENT, Span.NOW, 2), Whose.GATEWAY, (3, 1, NOON),
        "The gateway's limit, 2 concurrent requests, is used up.",
        "Wait until one of the running calls has ended.",
        (*told(2, 0, NOON + 1), (b"retry-after", b"1")),
    ),
    (
        limit(Unit.OUTPUT_TOKENS, Span.HOUR, 100), Whose.KEY, (10, 200, NOON + 60),
        "This key's limit is 100 output tokens per hour, and this call alone may need 200.",
        "Send less, or ask for less with `max_tokens`.", (*told(100, 90, NOON), RETRY_NEVER),
    ),
    (
        limit(Unit.INPUT_TOKENS, Span.HOUR, 100), Whose.KEY, (0, 200, NOON + 60),
        "This key's limit is 100 input tokens per hour, and this call alone may need 200.",
        "Send less.", (*told(100, 100, NOON), RETRY_NEVER),
    ),
    (
        limit(Unit.REQUESTS, Span.MINUTE, 1, raised_to=3, raised_until=NOON + 1), Whose.KEY, (3, 1, NOON + 0.2),
        "This key's limit, 3 requests per minute, is used up.", "There is room again in 1 s.",
        (*told(3, 0, NOON + 1), (b"retry-after", b"1")),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("one", "whose", "state", "message", "hint", "headers"), RATES)
def test_rates(one: Limit, whose: Whose, state: tuple[Any, ...], message: str, hint: str, headers: Any) -> None:
    """Which limit, whose, and when to come back; who never can is told so."""
    error = refusal(Check(whose, one, "c:x"), *state, NOON)
    assert (error.status, error.error_type) == (429, "rate_limit_exceeded")
    assert (error.message, error.hint) == (message, hint)
    assert tuple(error.headers) == headers


def test_a_worker_tells_its_share() -> None:
    """Without Redis a call may fit into the limit, and not into what one worker may let in."""
    check = Check(Whose.KEY, limit(Unit.TOKENS, Span.HOUR, 100), "c:x")
    error = refusal(check, 10, 45, NOON + 60, NOON, share=50)
    assert tuple(error.headers)[:2] == told(50, 40, NOON)[:2]
    assert error.message == "This key's limit, 100 tokens per hour, has 40 left: too few for this call."


MONEY: list[tuple[Limit, int, float | None, str, str, Any]] = [
    (
        limit(Unit.USD, Span.DAY, 25 * NANO), 25 * NANO, DAY_END,
        "This key's limit, $25 per day, is used up.", "It begins anew at 2026-11-25 00:00 UTC.",
        (RETRY_NEVER, (b"x-ratelimit-reset", b"%d" % (DAY_END * 1000)), (b"retry-after", b"43200")),
    ),
    (
        limit(Unit.USD, Span.DAY, 25 * NANO), 24 * NANO, DAY_END,
        "This key's limit, $25 per day, has $1 left.",
        "It begins anew at 2026-11-25 00:00 UTC. This call may cost up to $1.5: a lower `max_tokens` makes that less.",
        (RETRY_NEVER, (b"x-ratelimit-reset", b"%d" % (DAY_END * 1000)), (b"retry-after", b"43200")),
    ),
    (
        limit(Unit.USD, Span.TOTAL, NANO), 2 * NANO, None,
        "This key's limit, $1 in all, is used up.", "It does not begin anew by itself.", (RETRY_NEVER,),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("one", "used", "resets_at_s", "message", "hint", "headers"), MONEY)
def test_money(one: Limit, used: int, resets_at_s: float | None, message: str, hint: str, headers: Any) -> None:
    """402: how much is left, when there is more, and what makes the call cheaper where that helps."""
    error = refusal(Check(Whose.KEY, one, "c:x"), used, 1_500_000_000, resets_at_s, NOON)
    assert (error.status, error.error_type, error.message) == (402, "payment_required", message)
    assert error.hint == hint
    assert tuple(error.headers) == headers


def test_what_remains() -> None:
    """The tightest limit on requests is told, and the gateway's own is nobody's business."""
    minute, hour = limit(Unit.REQUESTS, Span.MINUTE, 10), limit(Unit.REQUESTS, Span.HOUR, 100)
    plan = Plan(
        a_client(minute, limit(Unit.USD, Span.DAY, 1)),
        a_group(hour, name="g"),
        a_group(limit(Unit.REQUESTS, Span.DAY, 1)),
    )
    checks = plan.checks((), "")
    assert remaining(checks, [4, 0, 50, 1], NOON) == told(100, 50, NOON + 3600)
    assert remaining(checks, [6, 0, 50, 1], NOON) == told(10, 4, NOON + 60)
    assert remaining(checks, [12, 0, 50, 1], NOON) == told(10, 0, NOON + 60)
    assert remaining(Plan(a_client(), None, a_group(hour)).checks((), ""), [1], NOON) == ()


def test_unavailable() -> None:
    """The gateway's fault, and soon over."""
    error = unavailable()
    assert (error.status, error.error_type, error.headers) == (503, "limits_unavailable", ((b"retry-after", b"2"),))


def test_who_shares_a_limit_comes_back_spread() -> None:
    """The members of a group hear the same refusal at the same time; who is alone hears the exact second."""
    for whose, seconds in {Whose.KEY: b"13", Whose.GROUP: b"15", Whose.GATEWAY: b"15"}.items():
        one = Check(whose, limit(Unit.REQUESTS, Span.MINUTE, 60), "c:x")
        error = refusal(one, 60, 1, NOON + 12.5, NOON, draw=0.9)
        assert dict(error.headers)[b"retry-after"] == seconds
