"""A question about usage, which tables answer it, and how their cells become the answer. Pure."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import msgspec

from app.services.cells import (
    FIELDS,
    KEPT,
    OTHER,
    SEPARATOR,
    Figures,
    Step,
    Table,
    bucket_of,
    starts_at,
    table_name,
    wait_ms,
)

_MOST: Final = {Step.MINUTE: 120, Step.HOUR: 744, Step.DAY: 1097, Step.MONTH: 1200}
_COMFORTABLE: Final = {Step.MINUTE: 120, Step.HOUR: 96, Step.DAY: 400, Step.MONTH: 1200}
_COST: Final = (FIELDS.index("cost_usd"), FIELDS.index("upstream_usd"))
_DOLLAR: Final = 10**9
_MOST_BY: Final = 3
_ZEROS: Final = [0] * len(FIELDS)
_Series = list[list[int]]
_decode: Final = msgspec.msgpack.Decoder(list[int]).decode


class QueryError(ValueError):
    """The question cannot be answered. The text is a sentence for people."""


class Dimension(StrEnum):
    """What usage is told apart by."""

    CLIENT = "client"
    GROUP = "group"
    KEY = "key"
    ACCOUNT = "account"
    MODEL = "model"
    PROVIDER = "provider"


_HOLDS: Final[Mapping[Table, tuple[Dimension, ...]]] = {
    Table.ALL: (),
    Table.CLIENTS: (Dimension.CLIENT, Dimension.GROUP),
    Table.KEYS: (Dimension.KEY, Dimension.ACCOUNT),
    Table.MODELS: (Dimension.MODEL, Dimension.PROVIDER),
    Table.CUBE: tuple(Dimension),
}


class Order(StrEnum):
    """What makes a row one of the first."""

    COST = "cost_nano"
    REQUESTS = "requests"
    INPUT = "input_tokens"
    OUTPUT = "output_tokens"
    FAILED = "failed"


_OUTCOMES: Final = ("served", "rescued", "failed", "refused", "left")
_WEIGHTS: Final[Mapping[Order, tuple[tuple[int, int], ...]]] = {
    order: ((FIELDS.index(order), 1),) for order in (Order.INPUT, Order.OUTPUT, Order.FAILED)
} | {
    Order.COST: ((FIELDS.index("cost_usd"), _DOLLAR), (FIELDS.index("cost_rest"), 1)),
    Order.REQUESTS: tuple((FIELDS.index(name), 1) for name in _OUTCOMES),
}


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """`where` holds the values that count, for each dimension that is filtered; keys by `cells.short_key`."""

    since_s: float
    until_s: float
    step: Step | None = None
    """None: as fine as suits the period."""
    by: tuple[Dimension, ...] = ()
    where: Mapping[Dimension, tuple[str, ...]] = {}
    top: int = 10
    order: Order = Order.COST
    compare: bool = False
    """Whether the period of the same length before is told too."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """`values` are one for each dimension of the grouping; all `other` where the rest is summed up."""

    values: tuple[str, ...]
    figures: Figures
    before: Figures | None = None
    series: tuple[Figures, ...] = ()


class Waits(msgspec.Struct, frozen=True):
    """Times to the first token that half, nineteen of twenty and all but one of a hundred calls keep."""

    p50_ms: float
    p95_ms: float
    p99_ms: float


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """`starts_s` dates the buckets of each series. Rows come in the order asked for, `other` last."""

    since_s: int
    until_s: int
    step: Step
    by: tuple[Dimension, ...]
    starts_s: tuple[int, ...]
    total: Figures
    rows: tuple[Row, ...]
    series: tuple[Figures, ...]
    before: Figures | None = None
    waits: Waits | None = None
    """None where calls are filtered or grouped: waits are only counted for all of them together."""
    complete: bool = True
    """False: the period begins before what is kept, or some calls were summed up as `other` when they came and may
    fit the filters.
    """


@dataclass(frozen=True, slots=True)
class Plan:
    """The buckets and the table that answer a query."""

    step: Step
    table: Table
    buckets: range
    by: tuple[int, ...]
    where: tuple[tuple[int, frozenset[str]], ...]
    outlived: bool = False
    """Whether the period begins before what is kept."""

    def names(self) -> dict[tuple[str, ...], int]:
        """Parts of the hashes' names, each with its bucket; a hash of the table `all` with its first one."""
        names: dict[tuple[str, ...], int] = {}
        for bucket in self.buckets:
            names.setdefault(table_name(self.step, self.table, bucket), bucket)
        return names

    def before(self) -> Plan:
        first = self.buckets.start - len(self.buckets)
        return dataclasses.replace(self, buckets=range(first, self.buckets.start))


def plan(query: Query, now_s: float) -> Plan:
    """Raises QueryError."""
    if not 0 <= query.since_s < query.until_s:
        raise QueryError("A period must begin before it ends.")
    if len(set(query.by)) != len(query.by) or len(query.by) > _MOST_BY:
        raise QueryError(f"Usage is grouped by up to {_MOST_BY} different dimensions.")
    needed = {*query.by, *query.where}
    table = next(table for table, held in _HOLDS.items() if needed <= set(held))
    step = query.step or _fitting(query, table, now_s)
    kept_s = _kept_s(step, table)
    if not kept_s:
        raise QueryError("Dimensions that have nothing to do with each other are told by the hour or the day.")
    until_s = min(query.until_s, now_s + 60)
    buckets = range(bucket_of(step, query.since_s), bucket_of(step, max(until_s, query.since_s + 1) - 0.001) + 1)
    if len(buckets) > _MOST[step]:
        raise QueryError(f"The period is too long to be told by the {step}.")
    place = {dimension: place for place, dimension in enumerate(_HOLDS[table])}
    by = tuple(place[dimension] for dimension in query.by)
    where = tuple((place[dimension], frozenset(values)) for dimension, values in query.where.items())
    return Plan(step, table, buckets, by, where, outlived=query.since_s < now_s - kept_s)


def _fitting(query: Query, table: Table, now_s: float) -> Step:
    """The finest step that is still kept and does not make too many buckets."""
    until_s = min(query.until_s, now_s)
    steps = [step for step in Step if _kept_s(step, table)]
    for step in steps:
        kept = query.since_s >= now_s - _kept_s(step, table)
        if kept and bucket_of(step, until_s) - bucket_of(step, query.since_s) <= _COMFORTABLE[step]:
            return step
    return steps[-1]


def _kept_s(step: Step, table: Table) -> int:
    return KEPT[step].cube_kept_s if table is Table.CUBE else KEPT[step].kept_s


@dataclass(slots=True)
class Sheet:
    """Cells are put on it bucket by bucket, in any order; then it tells the sums."""

    plan: Plan
    lumped: bool = False
    _sums: dict[tuple[str, ...], dict[int, list[int]]] = field(default_factory=dict)
    _groups: dict[bytes, tuple[str, ...] | None] = field(default_factory=dict)

    def put(self, bucket: int, cells: Mapping[bytes, bytes]) -> None:
        """The hash of a bucket, or of the table `all` the one that begins with it."""
        if self.plan.table is Table.ALL:
            self._put_all(cells)
            return
        for name, packed in cells.items():
            if name in self._groups:
                group = self._groups[name]
            else:
                group = self._groups[name] = self._group(name)
            if group is not None:
                self._take(group, bucket, packed)

    def _put_all(self, cells: Mapping[bytes, bytes]) -> None:
        for name, packed in cells.items():
            if int(name) in self.plan.buckets:
                self._take((), int(name), packed)

    def _take(self, group: tuple[str, ...], bucket: int, packed: bytes) -> None:
        amounts = _decode(packed)
        amounts += _ZEROS[len(amounts) :]
        series = self._sums.setdefault(group, {})
        if bucket in series:
            series[bucket] = _total([series[bucket], amounts])
        else:
            series[bucket] = amounts

    def _group(self, name: bytes) -> tuple[str, ...] | None:
        """The values by which the cell is grouped; None where a filter keeps it out."""
        values = name.decode("utf-8", "replace").split(SEPARATOR)
        for place, wanted in self.plan.where:
            if values[place] not in wanted:
                self.lumped |= values[place] == OTHER
                return None
        return tuple(values[place] for place in self.plan.by)

    def ranked(self, order: Order) -> list[tuple[str, ...]]:
        """The groups, the one with the most first."""
        weights = _WEIGHTS[order]
        most = {
            group: sum(amounts[place] * weight for amounts in series.values() for place, weight in weights)
            for group, series in self._sums.items()
        }
        return sorted(most, key=lambda group: (-most[group], group))

    def series(self, groups: Iterable[tuple[str, ...]]) -> _Series:
        """The groups together, bucket by bucket."""
        held = [self._sums[group] for group in groups if group in self._sums]
        return [_total([series[bucket] for series in held if bucket in series]) for bucket in self.plan.buckets]


def answer(query: Query, sheet: Sheet, before: Sheet | None = None, waits: Waits | None = None) -> Answer:
    """The sheet as rows: the first `top` of the order, and the rest as one."""
    ranked = sheet.ranked(query.order)
    lumped = (OTHER,) * len(query.by)
    first = [group for group in ranked if group != lumped][: query.top]
    parts = {group: [group] for group in first}
    if rest := [group for group in ranked if group not in parts]:
        parts[lumped] = rest
    series = {group: sheet.series(members) for group, members in parts.items()}
    if before is not None:
        parts[lumped] = [group for group in before.ranked(query.order) if group not in first]
    then = {} if before is None else {group: _total(before.series(members)) for group, members in parts.items()}
    total = [_total([part[place] for part in series.values()]) for place in range(len(sheet.plan.buckets))]
    starts = [starts_at(sheet.plan.step, bucket) for bucket in (*sheet.plan.buckets, sheet.plan.buckets.stop)]
    rows = [
        Row(
            values=group,
            figures=_figures(_total(part)),
            before=_figures(then[group]) if group in then else None,
            series=tuple(map(_figures, part)),
        )
        for group, part in series.items()
    ]
    return Answer(
        since_s=starts[0],
        until_s=starts[-1],
        step=sheet.plan.step,
        by=query.by,
        starts_s=tuple(starts[:-1]),
        total=_figures(_total(total)),
        rows=tuple(rows) if query.by else (),
        series=tuple(map(_figures, total)),
        before=None if before is None else _figures(_total(list(then.values()))),
        waits=waits,
        complete=not (sheet.plan.outlived or sheet.lumped or (before is not None and before.lumped)),
    )


def waits_of(counts: Mapping[int, int]) -> Waits | None:
    """From counts by bin."""
    total = sum(counts.values())
    if total <= 0:
        return None

    def within(share: float) -> float:
        seen = 0
        for bin_ in sorted(counts):
            seen += counts[bin_]
            if seen >= share * total:
                break
        return wait_ms(bin_)

    return Waits(within(0.5), within(0.95), within(0.99))


def _total(rows: Sequence[list[int]]) -> list[int]:
    if len(rows) == 1:
        return rows[0]
    total = [0] * len(FIELDS)
    for row in rows:
        total[:] = map(operator.add, total, row)
    return total


def _figures(amounts: list[int]) -> Figures:
    amounts = list(amounts)
    for place in _COST:
        over, amounts[place + 1] = divmod(amounts[place + 1], _DOLLAR)
        amounts[place] += over
    return Figures(*amounts)
