"""What the usage page is asked for in its address: period, metric, filters, grouping; and the questions that follow.
Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode

from app.services.cells import KEPT, Step, short_key
from app.services.insight_plan import Dimension, Order, Query
from app.services.period import PeriodError, period

PATH: Final = "/admin/usage"
METRICS: Final[Mapping[str, Order]] = {
    "spend": Order.COST,
    "requests": Order.REQUESTS,
    "input": Order.INPUT,
    "cached": Order.INPUT,
    "output": Order.OUTPUT,
    "reasoning": Order.OUTPUT,
    "errors": Order.FAILED,
    "latency": Order.REQUESTS,
}
"""The metrics, and what makes a row one of the first."""
SPANS: Final = ("duration", "first_token", "overhead")
PERIODS: Final = ("1h", "24h", "7d", "30d", "90d", "365d")
_USUAL: Final = "7d"
_USUAL_METRIC: Final = "spend"
_LONGEST: Final = 200
_DAY_S: Final = 86_400
_HOURLY_S: Final = 8 * _DAY_S
_REQUESTS: Final = (Dimension.MODEL, Dimension.CLIENT, Dimension.KEY, Dimension.PROVIDER)
"""What single calls can be filtered by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Words that nobody knows count as not said; a period that cannot be read is told by `error`."""

    words: str
    since_s: float
    until_s: float
    now_s: float
    metric: str = _USUAL_METRIC
    span: str = SPANS[0]
    """Which part of a call its latency is of."""
    where: Mapping[Dimension, str]
    by: tuple[Dimension, ...] = ()
    """Explore: what the plot is told apart by, at most two."""
    step: Step | None = None
    cumulative: bool = False
    compares: bool = True
    outcomes: bool = False
    """Whether the last card tells outcomes instead of providers."""
    error: str = ""

    def url(self, path: str = PATH, **changes: str) -> str:
        said = {
            "period": "" if self.words == _USUAL else self.words,
            "metric": "" if self.metric == _USUAL_METRIC else self.metric,
            "span": "" if self.span == SPANS[0] else self.span,
            **{name.value: value for name, value in self.where.items()},
            "by": self.by[0].value if self.by else "",
            "and": self.by[1].value if len(self.by) > 1 else "",
            "step": self.step.value if self.step else "",
            "cumulative": "1" if self.cumulative else "",
            "compare": "" if self.compares else "0",
            "card": "outcomes" if self.outcomes else "",
        } | changes
        shown = {name: value for name, value in said.items() if value}
        return f"{path}?{urlencode(shown)}" if shown else path

    @property
    def hidden(self) -> list[tuple[str, str]]:
        """What a form that changes the plot takes along."""
        said = {"period": self.words, "metric": self.metric, "span": self.span}
        said |= {"card": "outcomes" if self.outcomes else "", "compare": "" if self.compares else "0"}
        said |= {name.value: value for name, value in self.where.items()}
        return [(name, value) for name, value in said.items() if value]

    @property
    def unfiltered(self) -> str:
        return self.url(**{one.value: "" for one in self.where})

    @property
    def length_s(self) -> float:
        return self.until_s - self.since_s

    def moved(self, times: int) -> str:
        """The period of the same length before (-1) or after (1); nothing where that lies ahead of now."""
        since, until = self.since_s + times * self.length_s, self.until_s + times * self.length_s
        if since >= self.now_s or until <= 0:
            return ""
        return self.url(period=f"{_instant(max(0.0, since))}..{_instant(until)}")

    @property
    def own_period(self) -> bool:
        return self.words not in PERIODS

    @property
    def day_since(self) -> str:
        return _instant(self.since_s)[:10]

    @property
    def day_until(self) -> str:
        """The last day that has a part in the period."""
        return _instant(max(self.since_s, self.until_s - 1))[:10]

    def requests(self, **more: str) -> str:
        """The address of the single calls that this page sums up; without what those cannot be filtered by."""
        said = {"since": str(int(self.since_s)), "until": str(int(self.until_s)), **more}
        said |= {one.value: self.where[one] for one in _REQUESTS if one in self.where}
        return f"/admin/requests?{urlencode(said)}"


def wanted_of(query: Mapping[str, str], now_s: float) -> Wanted:
    words = query.get("period", "").strip()[:_LONGEST] or _USUAL
    begin, end = (query.get(name, "").strip()[:30] for name in ("from", "to"))
    if begin or end:
        words = f"{begin or end}..{end}"
    error = ""
    try:
        since_s, until_s = period(words, now_s)
    except PeriodError:
        error, words = words, _USUAL
        since_s, until_s = period(words, now_s)
    metric, span, step = query.get("metric", ""), query.get("span", ""), query.get("step", "")
    by = [Dimension(text) for name in ("by", "and") if (text := query.get(name, "")) in list(Dimension)]
    return Wanted(
        words=words,
        since_s=since_s,
        until_s=until_s,
        now_s=now_s,
        metric=metric if metric in METRICS else _USUAL_METRIC,
        span=span if span in SPANS else SPANS[0],
        where={one: value for one in Dimension if (value := query.get(one.value, "").strip()[:_LONGEST])},
        by=tuple(dict.fromkeys(by)),
        step=Step(step) if step in list(Step) else None,
        cumulative=query.get("cumulative") == "1",
        compares=query.get("compare") != "0",
        outcomes=query.get("card") == "outcomes",
        error=error,
    )


def query_of(wanted: Wanted, by: tuple[Dimension, ...] = (), *, top: int = 10, compare: bool = False) -> Query:
    """What of the period is to be told. How long calls took is told of all of them, and of groups if that is asked."""
    where = {one: (short_key(text) if one is Dimension.KEY else text,) for one, text in wanted.where.items()}
    return Query(
        since_s=wanted.since_s,
        until_s=wanted.until_s,
        step=wanted.step or fine_step(wanted),
        by=by,
        where=where,
        top=top,
        order=METRICS[wanted.metric],
        compare=compare,
        spans=not by or wanted.metric == "latency",
    )


def fine_step(wanted: Wanted) -> Step | None:
    """By the hour for up to a week, as long as hours are kept; None: as suits."""
    kept = wanted.since_s > wanted.now_s - KEPT[Step.HOUR].kept_s
    return Step.HOUR if kept and 2 * 3600 < wanted.length_s <= _HOURLY_S else None


def _instant(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M")
