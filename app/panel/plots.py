"""Where the marks of a plot stand: numbers in, places out. Pure; it writes no word and no SVG: the macros do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil, log10
from typing import Final

from app.models.ledger import Entry
from app.services.insight_plan import Answer

Outcomes = tuple[int, int, int]
"""How many calls were served, rescued, failed."""

_STRIP_HEIGHT: Final = 18
_TALL: Final = {"ok": 14, "warn": 16, "bad": 18, "idle": 4}
"""Trouble sticks out, so that nobody needs the colour."""
_BAD_SHARE: Final = 0.1
_LEVELS: Final = 4
_DAY_S: Final = 86_400
_WEEK: Final = 7


def tone_of(served: int, rescued: int, failed: int) -> str:
    """One word for some calls together: idle, ok, warn, or bad from a tenth of failures on."""
    if not served + rescued + failed:
        return "idle"
    if failed >= _BAD_SHARE * (served + rescued + failed):
        return "bad"
    return "warn" if failed or rescued else "ok"


def ceiling(most: float) -> float:
    """A round number that is not below it, of which a half and a quarter read well."""
    if most <= 0:
        return 1
    size: float = 10 ** int(log10(most)) if most >= 1 else 10.0 ** -ceil(-log10(most))
    return next(size * step for step in (1, 2, 3, 4, 5, 6, 8, 10, 20) if size * step >= most * 0.9999)


# ---- minutes of a key


@dataclass(frozen=True, slots=True)
class StripCell:
    """A minute in which something went wrong."""

    x: int
    y: float
    height: int
    tone: str
    ago: int
    """How many cells ago; 0 is now."""
    outcomes: Outcomes


@dataclass(frozen=True, slots=True)
class Strip:
    """Calm minutes are one path for each tone, so that a page of many strips stays light."""

    width: int
    height: int
    paths: tuple[tuple[str, str], ...]
    cells: tuple[StripCell, ...]
    total: Outcomes


def strip(cells: Sequence[Outcomes]) -> Strip:
    """The oldest first."""
    troubles, calm = [], {"ok": "", "idle": ""}
    for place, outcomes in enumerate(cells):
        tone = tone_of(*outcomes)
        tall = _TALL[tone]
        top = (_STRIP_HEIGHT - tall) / 2
        if tone in calm:
            calm[tone] += f"M{4 * place} {top:g}h3v{tall}h-3z"
        else:
            troubles.append(StripCell(4 * place, top, tall, tone, len(cells) - 1 - place, outcomes))
    total = (sum(one[0] for one in cells), sum(one[1] for one in cells), sum(one[2] for one in cells))
    paths = tuple((tone, path) for tone, path in calm.items() if path)
    return Strip(max(4, 4 * len(cells)) - 1, _STRIP_HEIGHT, paths, tuple(troubles), total)


# ---- lines


@dataclass(frozen=True, slots=True)
class Spark:
    points: str
    area: str
    last: tuple[float, float] | None


def spark(values: Sequence[float], width: int = 72, height: int = 18) -> Spark:
    """A line from the oldest to the newest value; on the ground where all are nothing."""
    if not values:
        return Spark("", "", None)
    top = max(*values, 0) or 1
    step = (width - 4) / max(1, len(values) - 1)
    places = [
        (round(2 + step * place, 1), round(height - 2 - (height - 4) * max(0, value) / top, 1))
        for place, value in enumerate(values)
    ]
    points = " ".join(f"{x},{y}" for x, y in places)
    return Spark(points, f"2,{height} {points} {places[-1][0]},{height}", places[-1])


@dataclass(frozen=True, slots=True)
class Line:
    """`paths` are the pieces between gaps, on a ground of 1000 by 100."""

    name: str
    style: str
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lines:
    lines: tuple[Line, ...]
    ticks: tuple[float, ...]
    """From the top down to nothing."""
    times: tuple[float, ...]
    bound: float | None
    """How far from the top the bound lies."""


def lines(
    series: Iterable[tuple[str, Sequence[float | None], str]],
    starts_s: Sequence[float] = (),
    bound: float | None = None,
) -> Lines:
    """`series`: name, values (None: a gap), style."""
    kept = list(series)
    known = [value for _, values, _ in kept for value in values if value is not None]
    top = ceiling(max([*known, bound or 0, 0]))
    drawn = tuple(Line(name, style, tuple(_paths(values, top))) for name, values, style in kept)
    return Lines(drawn, _ticks(top), _marks(starts_s), None if bound is None else round(100 - 100 * bound / top, 1))


def _paths(values: Sequence[float | None], top: float) -> Iterable[str]:
    step = 1000 / max(1, len(values) - 1)
    piece: list[str] = []
    for place, value in enumerate([*values, None]):
        if value is not None:
            piece.append(f"{step * place:.1f},{100 - 100 * max(0.0, value) / top:.1f}")
        elif piece:
            if len(piece) == 1:  # without a length of its own it would be invisible
                piece.append(f"{step * (place - 1) + 2:.1f},{piece[0].partition(',')[2]}")
            yield " ".join(piece)
            piece = []


def _ticks(top: float) -> tuple[float, ...]:
    return (top, top / 2, 0) if top > 1 else (top, 0)


def _marks(starts_s: Sequence[float]) -> tuple[float, ...]:
    """Up to seven times at even distances, the first and the end included."""
    if not starts_s:
        return ()
    if len(starts_s) == 1:
        return (starts_s[0],)
    step = starts_s[1] - starts_s[0]
    end = starts_s[-1] + step
    count = next((count for count in (6, 5, 4, 3, 7) if len(starts_s) % count == 0), min(4, len(starts_s)))
    return tuple(starts_s[0] + (end - starts_s[0]) * place / count for place in range(count + 1))


# ---- calls over time


@dataclass(frozen=True, slots=True)
class Moment:
    """The calls of one step of time. `refused` are those that ended for a reason of the caller's."""

    at_s: float
    served: int
    rescued: int
    failed: int
    refused: int

    @property
    def requests(self) -> int:
        return self.served + self.rescued + self.failed + self.refused


@dataclass(frozen=True, slots=True)
class Bar:
    moment: Moment
    until_s: float
    x: float
    width: float
    parts: tuple[tuple[str, float, float], ...]
    """Tone, place from the top, height, on a ground of 1000 by 100."""


@dataclass(frozen=True, slots=True)
class Ribbon:
    bars: tuple[Bar, ...]
    ticks: tuple[float, ...]
    times: tuple[float, ...]
    step_s: float
    total: Moment


def moments(answer: Answer) -> tuple[Moment, ...]:
    """An answer's series as a ribbon shows it."""
    return tuple(
        Moment(at_s, one.served, one.rescued, one.failed, one.refused + one.left)
        for at_s, one in zip(answer.starts_s, answer.series, strict=True)
    )


def ribbon(steps: Iterable[Moment | tuple[float, int, int, int, int]]) -> Ribbon:
    """The oldest first, at even distances."""
    found = [one if isinstance(one, Moment) else Moment(*one) for one in steps]
    top = ceiling(max((one.requests for one in found), default=0))
    step_s = found[1].at_s - found[0].at_s if len(found) > 1 else 60.0
    width = 1000 / max(1, len(found))
    bars = tuple(
        Bar(one, one.at_s + step_s, round(width * place, 2), round(width * 0.88, 2), tuple(_parts(one, top)))
        for place, one in enumerate(found)
    )
    total = Moment(
        found[0].at_s if found else 0.0,
        sum(one.served for one in found),
        sum(one.rescued for one in found),
        sum(one.failed for one in found),
        sum(one.refused for one in found),
    )
    return Ribbon(bars, _ticks(top), _marks([one.at_s for one in found]), step_s, total)


def _parts(one: Moment, top: float) -> Iterable[tuple[str, float, float]]:
    below = 0.0
    for tone, number in (("ac", one.served), ("warn", one.rescued), ("bad", one.failed), ("idle", one.refused)):
        if number:
            tall = 100 * number / top
            below += tall
            yield tone, round(100 - below, 2), round(tall, 2)


# ---- one call


@dataclass(frozen=True, slots=True)
class Stage:
    """What a call did for a while. `kind`: admit, try, or stream; places are shares of 1000."""

    kind: str
    key_id: str
    result: str
    tone: str
    ms: float
    x: float
    width: float
    streamed_x: float | None = None
    """Where the answer begins to flow, on the try that has got one."""
    streamed_width: float = 0.0
    moved: bool = False
    """Whether another try follows."""


@dataclass(frozen=True, slots=True)
class Waterfall:
    stages: tuple[Stage, ...]
    first_token_ms: float
    duration_ms: float


def waterfall(entry: Entry) -> Waterfall:
    """The life of a call across the keys that it was tried on."""
    spent = entry.overhead_ms + sum(one.ms for one in entry.tries)
    whole = max(entry.duration_ms, spent, 0.001)
    scale = 1000 / whole
    answered = entry.outcome in ("served", "rescued", "left") and entry.first_token_ms > 0
    stages = [Stage("admit", "", "", "ink", entry.overhead_ms, 0, max(2, entry.overhead_ms * scale))]
    at_ms = entry.overhead_ms
    for place, one in enumerate(entry.tries):
        last = place == len(entry.tries) - 1
        begun = last and answered
        tone = "idle" if begun else "bad" if last else "warn"
        begin = at_ms + one.ms
        stages.append(
            Stage(
                "try",
                one.key_id,
                one.result,
                tone,
                one.ms,
                round(at_ms * scale, 1),
                round(max(2, one.ms * scale), 1),
                round(begin * scale, 1) if begun else None,
                round(max(2, (whole - begin) * scale), 1) if begun else 0.0,
                moved=not last,
            )
        )
        at_ms = begin
    return Waterfall(tuple(stages), entry.first_token_ms, entry.duration_ms)


# ---- fields of cells


def level(value: float, most: float) -> int:
    """0 for nothing, else 1 to 4."""
    return 0 if value <= 0 or most <= 0 else min(_LEVELS, ceil(_LEVELS * value / most))


@dataclass(frozen=True, slots=True)
class HeatCell:
    """Of an amount, or of outcomes; `tone` is the class of its colour."""

    x: int
    y: int
    tone: str
    value: float | None
    outcomes: Outcomes | None = None


@dataclass(frozen=True, slots=True)
class HeatMap:
    cells: tuple[HeatCell, ...]
    columns: int
    rows: int


def heatmap(rows: Sequence[Sequence[float | Outcomes | None]]) -> HeatMap:
    """A cell for each value; None stays empty."""
    amounts = [value for row in rows for value in row if isinstance(value, int | float)]
    most = max(amounts, default=0)
    cells = []
    for y, row in enumerate(rows):
        for x, value in enumerate(row):
            if isinstance(value, tuple):
                cells.append(HeatCell(x, y, f"f-{tone_of(*value)}", None, value))
            elif value is not None:
                cells.append(HeatCell(x, y, f"h-{level(value, most)}", value))
    return HeatMap(tuple(cells), max((len(row) for row in rows), default=0), len(rows))


@dataclass(frozen=True, slots=True)
class Day:
    at_s: float
    x: int
    y: int
    tone: str
    value: float


@dataclass(frozen=True, slots=True)
class Calendar:
    days: tuple[Day, ...]
    weeks: int
    months: tuple[tuple[int, float], ...]
    """The column in which a month begins, and its first day that is shown."""


def calendar(days: Iterable[tuple[float, float]]) -> Calendar:
    """Days (first second in UTC, value) as weeks from Monday to Sunday, the oldest first."""
    found = sorted(days)
    if not found:
        return Calendar((), 0, ())
    most = max(value for _, value in found)
    monday = found[0][0] - _weekday(found[0][0]) * _DAY_S
    placed, months = [], []
    seen = -1
    for at_s, value in found:
        week = int((at_s - monday) // (_WEEK * _DAY_S))
        placed.append(Day(at_s, week, _weekday(at_s), f"h-{level(value, most)}", value))
        month = datetime.fromtimestamp(at_s, UTC).month
        if month != seen:
            seen = month
            months.append((week, at_s))
    return Calendar(tuple(placed), placed[-1].x + 1, tuple(months))


def _weekday(at_s: float) -> int:
    return datetime.fromtimestamp(at_s, UTC).weekday()


def axis_time(at_s: float) -> str:
    """`14:00`, in UTC."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%H:%M")


def month_and_day(at_s: float) -> tuple[int, int]:
    """Numbers of both, in UTC."""
    found = datetime.fromtimestamp(at_s, UTC)
    return found.month, found.day


def percent(part: float, whole: float) -> float:
    """A share of 100, within it."""
    return round(min(100.0, max(0.0, 100 * part / whole)), 1) if whole > 0 else 0.0
