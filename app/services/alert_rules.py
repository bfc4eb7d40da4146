"""When somebody is to be told of a limit of money, and in which words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from app.models.alerts import Alert, AlertKind, Gravity
from app.models.limits import Span
from app.services.limit_refusal import in_words
from app.services.money import Standing, dollars
from app.services.spending import period_of


def passed(standing: Standing, percents: Sequence[int]) -> int:
    """The highest percent of the limit that is used up, 0 where none is."""
    used = standing.used_nano * 100
    return max((percent for percent in percents if used >= percent * standing.size_nano), default=0)


def budget_alert(subject: str, name: str, standing: Standing, percent: int, now_s: float) -> Alert:
    """Of one limit in one period at one percent: again the same when it is noticed again."""
    limit = standing.limit
    period = period_of(limit.span, now_s)
    full = standing.used_nano >= standing.size_nano and not limit.shadow
    title = f"{name} has used {percent} % of {in_words(limit, standing.size_nano)}"
    consequence = "Further calls are refused" if full else f"${dollars(max(0, standing.left_nano))} are left"
    until = "" if standing.resets_at is None else f" until {_instant(standing.resets_at)}"
    return Alert(
        id=f"budget:{subject}:{limit.id}:{period}:{percent}",
        kind=AlertKind.BUDGET,
        at_s=now_s,
        subject=subject,
        title=title,
        text=f"${dollars(standing.used_nano)} are spent or reserved. {consequence}{until}.",
        gravity=Gravity.BAD if full else Gravity.WARN,
        place=place_of(subject),
        until_s=standing.resets_at or 0.0,
    )


def place_of(subject: str) -> str:
    """Where a spender is seen: c:<client>, g:<group>."""
    kind, _, name = subject.partition(":")
    return f"/admin/{'client-keys' if kind == 'c' else 'groups'}/{name}"


def kept_s(span: Span) -> int:
    """How long it is remembered that an alert of such a limit was raised: longer than the period."""
    return {Span.DAY: 2, Span.WEEK: 9, Span.MONTH: 33}.get(span, 400) * 86_400


def _instant(at_s: float) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d %H:%M} UTC"
