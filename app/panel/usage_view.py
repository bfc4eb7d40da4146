"""What the usage page is asked for in its address, and how an answer becomes its plot and its cards. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from app.services.cells import Figures, Step
from app.services.insight_plan import Answer, Dimension, Order
from app.services.period import PeriodError, period

PATH: Final = "/admin/usage"
METRICS: Final[Mapping[str, Order]] = {
    "spend": Order.COST,
    "requests": Order.REQUESTS,
    "input": Order.INPUT,
    "output": Order.OUTPUT,
    "errors": Order.FAILED,
    "latency": Order.REQUESTS,
}
PERIODS: Final = ("1h", "24h", "7d", "30d", "90d", "365d")
CARDS: Final = (Dimension.MODEL, Dimension.CLIENT, Dimension.KEY, Dimension.PROVIDER)
_FILTERS: Final = tuple(Dimension)
_USUAL: Final = "7d"
_DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Unknown words count as not said; a period that cannot be read is told in `error`."""

    words: str
    since_s: float
    until_s: float
    metric: str
    where: Mapping[Dimension, str]
    by: Dimension | None = None
    """Explore: what the plot is told apart by."""
    step: Step | None = None
    cumulative: bool = False
    error: bool = False

    def url(self, path: str = PATH, **changes: str) -> str:
        said = {
            "period": "" if self.words == _USUAL else self.words,
            "metric": "" if self.metric == "spend" else self.metric,
            **{name.value: value for name, value in self.where.items()},
            "by": self.by.value if self.by else "",
            "step": self.step.value if self.step else "",
            "cumulative": "1" if self.cumulative else "",
        } | changes
        shown = {name: value for name, value in said.items() if value}
        return f"{path}?{urlencode(shown)}" if shown else path

    @property
    def length_s(self) -> float:
        return self.until_s - self.since_s

    def moved(self, times: int) -> str:
        """The period of the same length before (-1) or after (1)."""
        since, until = self.since_s + times * self.length_s, self.until_s + times * self.length_s
        return self.url(period=f"{_instant(since)}..{_instant(until)}")


def wanted_of(query: Mapping[str, str], now_s: float) -> Wanted:
    words = query.get("period", "").strip()[:100] or _USUAL
    if (begin := query.get("from", "").strip()[:30]) or query.get("to"):
        words = f"{begin or '2020-01-01'}..{query.get('to', '').strip()[:30]}"
    error = False
    try:
        since_s, until_s = period(words, now_s)
    except PeriodError:
        error, words = True, _USUAL
        since_s, until_s = period(words, now_s)
    by, step = query.get("by", ""), query.get("step", "")
    metric = query.get("metric", "")
    return Wanted(
        words=words,
        since_s=since_s,
        until_s=until_s,
        metric=metric if metric in METRICS else "spend",
        where={one: query[one.value].strip()[:200] for one in _FILTERS if query.get(one.value, "").strip()},
        by=Dimension(by) if by in list(Dimension) else None,
        step=Step(step) if step in list(Step) else None,
        cumulative=query.get("cumulative") == "1",
        error=error,
    )


def value_of(figures: Figures, metric: str) -> float:
    """In the metric's own unit: nano-dollars, calls, tokens, milliseconds."""
    match metric:
        case "spend":
            return figures.cost_nano
        case "requests":
            return figures.requests
        case "input":
            return figures.input_tokens
        case "output":
            return figures.output_tokens
        case "errors":
            return figures.failed + figures.refused
        case _:
            return figures.duration_ms / figures.requests if figures.requests else 0.0


SHOWN_AS: Final = {"spend": "usd", "latency": "span"}


def series_of(answer: Answer, wanted: Wanted) -> list[tuple[str, list[float]]]:
    """The lines of the plot: one, or one for each row of the grouping."""
    if wanted.by is None:
        found = [("", [value_of(one, wanted.metric) for one in answer.series])]
    else:
        found = [(row.values[0], [value_of(one, wanted.metric) for one in row.series]) for row in answer.rows]
    return [(name, _summed(values)) for name, values in found] if wanted.cumulative else found


def _summed(values: Sequence[float]) -> list[float]:
    total, found = 0.0, []
    for value in values:
        total += value
        found.append(total)
    return found


def island(
    answer: Answer, lines: Sequence[tuple[str, Sequence[float]]], before: Sequence[float], shown: str
) -> dict[str, Any]:
    """What the interactive plot reads."""
    return {
        "starts": list(answer.starts_s),
        "lines": [{"name": name, "values": list(values)} for name, values in lines],
        "before": list(before),
        "shown": shown,
        "until": answer.until_s,
    }


def _instant(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M")
