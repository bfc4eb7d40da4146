"""How an answer about usage becomes the large plot of its page: series, places, and what the script reads. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.panel.plots import lines
from app.panel.usage_view import Wanted
from app.services.cells import OTHER, Figures
from app.services.insight_plan import Answer, Quantiles, Row, Spans

Values = tuple[float | None, ...]
Namer = Callable[[tuple[str, ...]], str]
_SHOWN: Final = {"spend": "usd", "latency": "span"}
_BARS: Final = 0.86
_DAY_S: Final = 86_400
_TOKENS: Final = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cached": "cached_tokens",
    "reasoning": "reasoning_tokens",
}


def shown_as(metric: str) -> str:
    return _SHOWN.get(metric, "short")


def value_of(figures: Figures, metric: str) -> float | None:
    """In the metric's own unit: nano-dollars, calls, tokens, or the mean of milliseconds."""
    match metric:
        case "spend":
            return figures.cost_nano
        case "requests":
            return figures.requests
        case "errors":
            return figures.failed + figures.refused
        case "latency":
            return figures.duration_ms / figures.requests if figures.requests else None
        case _:
            return int(getattr(figures, _TOKENS[metric]))


def quantiles(spans: Spans, span: str) -> Quantiles | None:
    found: Quantiles | None = getattr(spans, span)
    return found


def per_1k(figures: Figures) -> int | None:
    """What a thousand tokens cost, in nano-dollars."""
    tokens = figures.input_tokens + figures.output_tokens
    return figures.cost_nano * 1000 // tokens if tokens else None


@dataclass(frozen=True, slots=True)
class Series:
    """`tone`: k1 to k8 for groups, `rest` for all others, `soft dash` for what it is compared with."""

    name: str
    values: Values
    tone: str


@dataclass(frozen=True, slots=True)
class Plot:
    """`kind`: line, bars (stacked), or band (of latency). Shapes stand on a ground of 1000 by 100, the first below."""

    kind: str
    show: str
    series: tuple[Series, ...]
    starts_s: tuple[int, ...]
    until_s: int
    ticks: tuple[float, ...]
    times: tuple[float, ...]
    shapes: tuple[tuple[str, str, str], ...]
    """Form (line, area, bars), tone, and the points or the path."""

    @property
    def step_s(self) -> int:
        return self.starts_s[1] - self.starts_s[0] if len(self.starts_s) > 1 else self.until_s - self.starts_s[0]

    @property
    def label_step_s(self) -> int:
        """By what the labels of the axis are told: over several days, an hour says nothing."""
        return max(self.step_s, _DAY_S) if self.until_s - self.starts_s[0] > 2.5 * _DAY_S else self.step_s

    @property
    def empty(self) -> bool:
        return not any(value for one in self.series for value in one.values)

    @property
    def island(self) -> dict[str, Any]:
        """What the script draws the same from."""
        return {
            "kind": self.kind,
            "show": self.show,
            "starts": list(self.starts_s),
            "until": self.until_s,
            "series": [{"name": one.name, "values": list(one.values), "tone": one.tone} for one in self.series],
        }


def plot_of(wanted: Wanted, answer: Answer, before: Answer | None, words: Mapping[str, str], name_of: Namer) -> Plot:
    """`words` are the names of single lines: now, before, p50, p95."""
    if wanted.by:
        series, kind = _grouped(wanted, answer, name_of), "bars"
        kind = "line" if wanted.cumulative or wanted.metric == "latency" else kind
    elif wanted.metric == "latency":
        series, kind = _bands(wanted, answer, words), "band"
    else:
        series, kind = _alone(wanted, answer, before, words), "line"
    tops = [*(one.values for one in series)]
    if kind == "bars":
        tops = [tuple(sum(column[: at + 1]) for column in _columns(series)) for at in range(len(series))]
    geometry = lines([(str(at), values, "") for at, values in enumerate(tops)], answer.starts_s)
    paths = [one.paths for one in geometry.lines]
    shapes = _bars(series, geometry.ticks[0]) if kind == "bars" else _lines(series, paths, kind)
    return Plot(
        kind,
        shown_as(wanted.metric),
        tuple(series),
        answer.starts_s,
        answer.until_s,
        geometry.ticks,
        geometry.times,
        tuple(shapes),
    )


def _alone(wanted: Wanted, answer: Answer, before: Answer | None, words: Mapping[str, str]) -> list[Series]:
    found = [Series(words["now"], _values(wanted, answer.series), "k1")]
    if before is not None and len(before.series) == len(answer.series):
        found.append(Series(words["before"], _values(wanted, before.series), "soft dash"))
    return found


def _grouped(wanted: Wanted, answer: Answer, name_of: Namer) -> list[Series]:
    own = [row for row in answer.rows if not is_rest(row)]
    found = [Series(name_of(row.values), _values(wanted, row.series), f"k{at % 8 + 1}") for at, row in enumerate(own)]
    rest = [row for row in answer.rows if is_rest(row) and wanted.metric != "latency"]
    return found + [Series(name_of(row.values), _values(wanted, row.series), "rest") for row in rest]


def _bands(wanted: Wanted, answer: Answer, words: Mapping[str, str]) -> list[Series]:
    found = [quantiles(spans, wanted.span) for spans in answer.span_series]
    return [
        Series(words["p95"], tuple(None if one is None else one.p95_ms for one in found), "k1"),
        Series(words["p50"], tuple(None if one is None else one.p50_ms for one in found), "k2"),
    ]


def is_rest(row: Row) -> bool:
    """Whether a row sums up what has none of its own."""
    return bool(row.values) and all(value == OTHER for value in row.values)


def _values(wanted: Wanted, series: Sequence[Figures]) -> Values:
    values = [value_of(one, wanted.metric) for one in series]
    if not wanted.cumulative or wanted.metric == "latency":
        return tuple(values)
    total, found = 0.0, []
    for value in values:
        total += value or 0
        found.append(total)
    return tuple(found)


def _columns(series: Sequence[Series]) -> list[list[float]]:
    """The values of each step, those of the first series first."""
    return [[value or 0 for value in column] for column in zip(*(one.values for one in series), strict=True)]


def _bars(series: Sequence[Series], top: float) -> list[tuple[str, str, str]]:
    columns = _columns(series)
    width = 1000 / max(1, len(columns))
    paths = ["" for _ in series]
    for place, column in enumerate(columns):
        below = 0.0
        for at, value in enumerate(column):
            if value > 0:
                tall = 100 * value / top
                below += tall
                wide = width * _BARS
                paths[at] += f"M{width * place:.1f} {100 - below:.2f}h{wide:.1f}v{tall:.2f}h-{wide:.1f}z"
    return [("bars", one.tone, path) for one, path in zip(series, paths, strict=True) if path]


def _lines(series: Sequence[Series], paths: Sequence[tuple[str, ...]], kind: str) -> list[tuple[str, str, str]]:
    drawn = [("line", one.tone, points) for one, some in zip(series, paths, strict=True) for points in some]
    if kind == "band":
        # The gaps of both are the same: a step has all of its quantiles or none.
        upper, lower = paths
        return [("area", "k1", _between(*both)) for both in zip(upper, lower, strict=True)] + drawn
    if series and all("dash" in one.tone for one in series[1:]):
        return [("area", series[0].tone, _below(points)) for points in paths[0]] + drawn[::-1]
    return drawn


def _between(upper: str, lower: str) -> str:
    return f"{upper} {' '.join(reversed(lower.split()))}"


def _below(points: str) -> str:
    some = points.split()
    return f"{some[0].partition(',')[0]},100 {points} {some[-1].partition(',')[0]},100"
