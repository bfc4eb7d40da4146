"""Figures into ratios, verdicts and a table. Pure: it reads nothing and runs nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

Figures = Sequence[float]


@dataclass(frozen=True, slots=True)
class WrkRun:
    """What wrk printed."""

    requests: int
    per_s: float
    failed: int
    """Answers that were not 2xx or 3xx, and connections that broke or timed out."""


@dataclass(frozen=True, slots=True)
class Aim:
    limit: float
    at_most: bool
    text: str

    def met_by(self, value: float) -> bool:
        return value <= self.limit if self.at_most else value >= self.limit


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `judged` is what the aim speaks of, `judged_text` how people read it."""

    what: str
    nginx: str
    gateway: str
    ratio: float | None
    judged: float | None
    judged_text: str
    aim: Aim

    @property
    def verdict(self) -> str:
        if self.judged is None:
            return "not measured"
        return "met" if self.aim.met_by(self.judged) else "**not met**"


def parse_wrk(output: str) -> WrkRun:
    total = re.search(r"(\d+) requests in ", output)
    per_s = re.search(r"Requests/sec:\s+([\d.]+)", output)
    if total is None or per_s is None:
        raise ValueError("this is not wrk's report")
    bad_status = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    failed = int(bad_status[1]) if bad_status else 0
    failed += sum(map(int, broken.groups())) if broken else 0
    return WrkRun(requests=int(total[1]), per_s=float(per_s[1]), failed=failed)


def ratio(over: Figures, under: Figures) -> float:
    """The median of the rounds' own ratios: what slowed a whole round is in both and drops out."""
    return median(a / b for a, b in zip(over, under, strict=True))


def added(with_it: Figures, without: Figures) -> list[float]:
    return [a - b for a, b in zip(with_it, without, strict=True)]


def spread(figures: Figures, digits: int = 0) -> str:
    """`median (lowest - highest)`."""
    middle = f"{median(figures):,.{digits}f}"
    if len(figures) == 1:
        return middle
    return f"{middle} ({min(figures):,.{digits}f} - {max(figures):,.{digits}f})"


def compared(what: str, nginx: Figures, gateway: Figures, aim: Aim, digits: int = 0) -> Row:
    """A row whose aim speaks of the ratio to nginx."""
    value = ratio(gateway, nginx)
    return Row(what, spread(nginx, digits), spread(gateway, digits), value, value, f"{value:.2f} x", aim)


def absolute(what: str, nginx: Figures, gateway: Figures, aim: Aim, unit: str, digits: int) -> Row:
    """A row whose aim speaks of the gateway's own figure. nginx need not be there."""
    value = median(gateway)
    beside = value / median(nginx) if nginx and median(nginx) > 0 else None
    return Row(
        what,
        spread(nginx, digits) if nginx else "-",
        spread(gateway, digits),
        beside,
        value,
        f"{value:.{digits}f} {unit}",
        aim,
    )


def changed(what: str, before: Figures, after: Figures, nginx: Figures, aim: Aim) -> Row:
    """A row whose aim speaks of the gateway's change from `before` to `after`, in percent. nginx need not be there."""
    percent = (ratio(after, before) - 1) * 100
    beside = ratio(after, nginx) if nginx else None
    return Row(what, spread(nginx) if nginx else "-", spread(after), beside, percent, f"{percent:+.1f} %", aim)


def missing(what: str, aim: Aim) -> Row:
    return Row(what, "-", "-", None, None, "-", aim)


HEADINGS = ("what", "nginx", "gateway", "ratio to nginx", "judged", "aim", "result")


def cells(row: Row) -> tuple[str, ...]:
    beside = "-" if row.ratio is None else f"{row.ratio:.2f}"
    return (row.what, row.nginx, row.gateway, beside, row.judged_text, row.aim.text, row.verdict)


def table(rows: Sequence[Row]) -> str:
    """A Markdown table that is also readable as it stands."""
    lines = [HEADINGS, *(cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    text = [f"| {' | '.join(line)} |" for line in padded]
    text.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(text)


def document(rows: Sequence[Row], machine: Mapping[str, str], how: Sequence[str]) -> str:
    """bench/results.md."""
    parts = [
        "# Results of `make bench`",
        "Written by the run itself; how it measures and how to read it: [README](README.md).",
        table(rows),
        "\n".join(f"- {line}" for line in how),
        "## The machine",
        "\n".join(f"- {name}: {value}" for name, value in machine.items()),
    ]
    return "\n\n".join(parts) + "\n"
