"""A question about usage, its answer, and which tables tell it. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

from app.services.cells import KEPT, Figures, Step, Table, bucket_of, starts_at, table_name

_MOST: Final = {Step.MINUTE: 120, Step.HOUR: 744, Step.DAY: 1097, Step.MONTH: 1200}
_COMFORTABLE: Final = {Step.MINUTE: 120, Step.HOUR: 96, Step.DAY: 400, Step.MONTH: 1200}
_COARSER: Final = {Step.HOUR: Step.DAY, Step.DAY: Step.MONTH}
_MOST_BY: Final = 3


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
    spans: bool = False
    """Whether it is told how long calls took: of all that count, of each row, and of each bucket."""


class Quantiles(msgspec.Struct, frozen=True):
    """What half, nineteen of twenty and all but one of a hundred calls keep, to an eighth."""

    p50_ms: float
    p95_ms: float
    p99_ms: float


class Spans(msgspec.Struct, frozen=True):
    """How long calls took. None where nothing was measured."""

    first_token: Quantiles | None = None
    duration: Quantiles | None = None
    overhead: Quantiles | None = None
    """What the gateway itself adds."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """`values` are one for each dimension of the grouping; all `other` where the rest is summed up."""

    values: tuple[str, ...]
    figures: Figures
    before: Figures | None = None
    series: tuple[Figures, ...] = ()
    spans: Spans = Spans()
    """Empty unless the query asks for them, and of `other`."""


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
    spans: Spans = Spans()
    span_series: tuple[Spans, ...] = ()
    """One for each bucket. Empty unless the query asks for them; `spans` is told in any case where nothing is filtered
    or grouped.
    """
    spans_before: Spans = Spans()
    """Where nothing is filtered or grouped."""
    complete: bool = True
    """False: the period begins before what is kept, or some calls were summed up as `other` when they came and may
    fit the filters.
    """

    @property
    def waits(self) -> Quantiles | None:
        """Times to the first token."""
        return self.spans.first_token


Place = tuple[Step, int]
"""A bucket of some step."""


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
    to_now: bool = False
    """Whether the last bucket is the present one."""

    def names(self, table: Table | None = None) -> dict[tuple[str, ...], int]:
        """Parts of the hashes' names, each with its bucket; a hash of the table `all` with its first one."""
        names: dict[tuple[str, ...], int] = {}
        for bucket in self.buckets:
            names.setdefault(table_name(self.step, table or self.table, bucket), bucket)
        return names

    def before(self) -> Plan:
        first = self.buckets.start - len(self.buckets)
        return dataclasses.replace(self, buckets=range(first, self.buckets.start), to_now=False)

    def cover(self) -> list[Place]:
        """The fewest buckets that hold the same calls: whole ones of the next step, and this step's at both ends."""
        coarse = _COARSER.get(self.step)
        if coarse is None:
            return [(self.step, bucket) for bucket in self.buckets]
        found: list[Place] = []
        at = self.buckets.start
        while at < self.buckets.stop:
            outer = bucket_of(coarse, starts_at(self.step, at))
            begin = bucket_of(self.step, starts_at(coarse, outer))
            end = bucket_of(self.step, starts_at(coarse, outer + 1))
            whole = begin >= self.buckets.start and (end <= self.buckets.stop or self.to_now)
            found += (
                [(coarse, outer)] if whole else [(self.step, one) for one in range(at, min(end, self.buckets.stop))]
            )
            at = end
        return found


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
    outlived, to_now = query.since_s < now_s - kept_s, buckets[-1] == bucket_of(step, now_s)
    return Plan(step, table, buckets, by, where, outlived, to_now)


def _fitting(query: Query, table: Table, now_s: float) -> Step:
    """The finest step that is still kept and does not make too many buckets."""
    until_s = min(query.until_s, now_s)
    steps = [step for step in Step if _kept_s(step, table)]
    for step in steps:
        kept = query.since_s >= now_s - _kept_s(step, table)
        if kept and bucket_of(step, until_s) - bucket_of(step, query.since_s) < _COMFORTABLE[step]:
            return step
    return steps[-1]


def _kept_s(step: Step, table: Table) -> int:
    return KEPT[step].cube_kept_s if table is Table.CUBE else KEPT[step].kept_s
