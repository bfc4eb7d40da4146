"""How the cells of tables become the answer to a question about usage. Pure.

The sums of a cell are one long number (`cells.sums_in`): adding up a hundred thousand cells is as many additions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from app.services.cells import BINS, FIELDS, OTHER, SEPARATOR, bin_ms, bins_in, figures_in, lane_of, starts_at, sums_in
from app.services.insight_plan import Answer, Order, Plan, Quantiles, Query, Row, Spans

Group = tuple[str, ...]
Bins = dict[int, int]
_UNSEEN: Final = ("", "unseen")
_OUTCOMES: Final = ("served", "rescued", "failed", "refused", "left")
_WEIGHTS: Final[Mapping[Order, tuple[tuple[int, int], ...]]] = {
    order: ((FIELDS.index(order), 1),) for order in (Order.INPUT, Order.OUTPUT, Order.FAILED)
} | {
    Order.COST: ((FIELDS.index("cost_usd"), 10**9), (FIELDS.index("cost_rest"), 1)),
    Order.REQUESTS: tuple((FIELDS.index(name), 1) for name in _OUTCOMES),
}


@dataclass(slots=True)
class Sheet:
    """First the sums of each group over the whole period, then details of the few that are told bucket by bucket."""

    plan: Plan
    lumped: bool = False
    """Whether a cell of `other` may hold what a filter looks for."""
    sums: dict[Group, int] = field(default_factory=dict)
    series: dict[int, int] = field(default_factory=dict)
    """Of all that count, by bucket."""
    bins: dict[int, Bins] = field(default_factory=dict)
    _groups: dict[bytes, Group | None] = field(default_factory=dict)
    _detail: dict[Group, dict[int, int]] = field(default_factory=dict)
    _detail_bins: dict[Group, Bins] = field(default_factory=dict)
    _first: list[Group] | None = None

    def put_sums(self, cells: Mapping[bytes, int]) -> None:
        """The cells of one bucket of the cover."""
        groups, sums = self._groups, self.sums
        for name, amount in cells.items():
            group = groups.get(name, _UNSEEN)
            if group is _UNSEEN:
                group = groups[name] = self._group(name)
            if group is not None:
                sums[group] = sums.get(group, 0) + amount

    def go_on_from(self, other: Sheet) -> None:
        """Takes over the sums of another sheet for the same question."""
        self.sums, self._groups, self.lumped = dict(other.sums), other._groups, other.lumped

    def put_all(self, cells: Mapping[bytes, bytes], *, spans: bool) -> None:
        """A hash of the table `all`, which holds many buckets."""
        for name, cell in cells.items():
            bucket = int(name)
            if bucket in self.plan.buckets:
                self.series[bucket] = sums_in(cell)
                if spans:
                    self.bins[bucket] = bins_in(cell)

    def put_detail(self, bucket: int, cells: Iterable[tuple[bytes, bytes | None]], *, spans: bool) -> None:
        """Cells of groups that are told bucket by bucket."""
        for name, cell in cells:
            group = self._groups.get(name)
            if cell is None or group is None:
                continue
            amount = sums_in(cell)
            series = self._detail.setdefault(group, {})
            series[bucket] = series.get(bucket, 0) + amount
            if self.plan.where:
                self.series[bucket] = self.series.get(bucket, 0) + amount
            if spans:
                bins = bins_in(cell)
                _count(self._detail_bins.setdefault(group, {}), bins)
                if self.plan.where:
                    _count(self.bins.setdefault(bucket, {}), bins)

    def _group(self, name: bytes) -> Group | None:
        """The values by which the cell is grouped; None where a filter keeps it out."""
        values = name.decode("utf-8", "replace").split(SEPARATOR)
        for place, wanted in self.plan.where:
            if values[place] not in wanted:
                self.lumped |= values[place] == OTHER
                return None
        return tuple(values[place] for place in self.plan.by)

    def ranked(self, order: Order) -> list[Group]:
        """The groups, the one with the most first."""
        weights = _WEIGHTS[order]
        most = {group: sum(lane_of(sums, place) * by for place, by in weights) for group, sums in self.sums.items()}
        return sorted(most, key=lambda group: (-most[group], group))

    def first(self, query: Query) -> list[Group]:
        """Those that have a row of their own."""
        if self._first is None:
            lumped = (OTHER,) * len(query.by)
            self._first = [group for group in self.ranked(query.order) if group != lumped][: query.top]
        return self._first

    def detailed(self, query: Query) -> list[bytes]:
        """The cells that must be read bucket by bucket: of the first rows, or with a filter all that fit."""
        if self.plan.where:
            return [name for name, group in self._groups.items() if group is not None]
        first = set(self.first(query))
        return [name for name, group in self._groups.items() if group in first]

    def series_of(self, group: Group) -> list[int]:
        series = self._detail.get(group, {})
        return [series.get(bucket, 0) for bucket in self.plan.buckets]

    def spans_of(self, group: Group) -> Spans:
        return spans_in(self._detail_bins.get(group, {}))


def answer(query: Query, sheet: Sheet, before: Sheet | None = None) -> Answer:
    """The sheet as rows: the first `top` of the order, and the rest as one."""
    buckets = sheet.plan.buckets
    series = [sheet.series.get(bucket, 0) for bucket in buckets]
    starts = [starts_at(sheet.plan.step, bucket) for bucket in (*buckets, buckets.stop)]
    total_before = None if before is None else _total(before)
    lumped = sheet.lumped or (before is not None and before.lumped)
    return Answer(
        since_s=starts[0],
        until_s=starts[-1],
        step=sheet.plan.step,
        by=query.by,
        starts_s=tuple(starts[:-1]),
        total=figures_in(_total(sheet)),
        rows=tuple(_rows(query, sheet, series, before)) if query.by else (),
        series=tuple(map(figures_in, series)),
        before=None if total_before is None else figures_in(total_before),
        spans=spans_in(_merged(sheet.bins.values())),
        span_series=tuple(spans_in(sheet.bins.get(bucket, {})) for bucket in buckets) if query.spans else (),
        spans_before=Spans() if before is None else spans_in(_merged(before.bins.values())),
        complete=not (sheet.plan.outlived or lumped),
    )


def _total(sheet: Sheet) -> int:
    """By groups where there are any: they are what the rows add up to."""
    return sum(sheet.sums.values()) if sheet.plan.by or sheet.plan.where else sum(sheet.series.values())


def _rows(query: Query, sheet: Sheet, series: list[int], before: Sheet | None) -> Iterable[Row]:
    first = sheet.first(query)
    rest, rest_before, rest_series = _total(sheet), 0 if before is None else _total(before), series
    for group in first:
        sums, own = sheet.sums[group], sheet.series_of(group)
        sums_before = 0 if before is None else before.sums.get(group, 0)
        rest, rest_before = rest - sums, rest_before - sums_before
        rest_series = [left - part for left, part in zip(rest_series, own, strict=True)]
        yield Row(
            values=group,
            figures=figures_in(sums),
            before=None if before is None else figures_in(sums_before),
            series=tuple(map(figures_in, own)),
            spans=sheet.spans_of(group),
        )
    if len(sheet.sums) > len(first):
        yield Row(
            values=(OTHER,) * len(query.by),
            figures=figures_in(rest),
            before=None if before is None else figures_in(rest_before),
            series=tuple(map(figures_in, rest_series)),
        )


def spans_in(bins: Bins) -> Spans:
    """From counts by bin."""
    if not bins:
        return Spans()
    counts: tuple[list[tuple[int, int]], ...] = ([], [], [])
    for bin_ in sorted(bins):
        counts[bin_ // BINS].append((bin_, bins[bin_]))
    return Spans(*map(_quantiles, counts))


def _quantiles(counts: list[tuple[int, int]]) -> Quantiles | None:
    total = sum(count for _, count in counts)
    if total <= 0:
        return None
    found: list[float] = []
    seen = 0
    for bin_, count in counts:
        seen += count
        while len(found) < 3 and seen >= (0.5, 0.95, 0.99)[len(found)] * total:
            found.append(bin_ms(bin_))
    return Quantiles(*found)


def _count(sums: Bins, more: Bins) -> None:
    for bin_, count in more.items():
        sums[bin_] = sums.get(bin_, 0) + count


def _merged(some: Iterable[Bins]) -> Bins:
    sums: Bins = {}
    for bins in some:
        _count(sums, bins)
    return sums
