"""A picture of this process' metrics in OpenTelemetry's terms. Imported only when it is sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from app.core.metrics import Family, Kind, labels_of

_CUMULATIVE: Final = AggregationTemporality.CUMULATIVE
_UNKNOWN: Final[Any] = None
"""The least and the highest value: in the protocol they need not be told."""


def metrics_data(
    families: Iterable[Family], resource: Resource, scope: tuple[str, str], began_ns: int, now_ns: int
) -> MetricsData:
    """`began_ns`: since when it has been counted."""
    metrics = [
        Metric(family.shape.name, family.shape.help, _unit(family.shape.name), _data(family, began_ns, now_ns))
        for family in families
        if family.rows
    ]
    return MetricsData([ResourceMetrics(resource, [ScopeMetrics(InstrumentationScope(*scope), metrics, "")], "")])


def _data(family: Family, began_ns: int, now_ns: int) -> Sum | Gauge | Histogram:
    shape = family.shape
    if shape.kind is Kind.HISTOGRAM:
        return Histogram(list(_distributions(family, began_ns, now_ns)), _CUMULATIVE)
    points = [
        NumberDataPoint(attributes, began_ns, now_ns, cells[0] / shape.parts) for attributes, cells in _rows(family)
    ]
    return Sum(points, _CUMULATIVE, True) if shape.kind is Kind.COUNTER else Gauge(points)


def _distributions(family: Family, began_ns: int, now_ns: int) -> Iterator[HistogramDataPoint]:
    """Each bound's own count, not what is below it."""
    shape = family.shape
    for attributes, cells in _rows(family):
        counts = [int(count) for count in cells[:-1]]
        total, told = cells[-1] / shape.parts, shape.bounds
        yield HistogramDataPoint(
            attributes,
            began_ns,
            now_ns,
            sum(counts),
            total,
            counts,
            told,
            _UNKNOWN,
            _UNKNOWN,
        )


def _rows(family: Family) -> Iterator[tuple[dict[str, str], list[float]]]:
    names = family.shape.labels
    for row, cells in family.rows.items():
        yield dict(zip(names, labels_of(row, family.shape), strict=True)), cells


def _unit(name: str) -> str:
    """By the name's end, in the codes of UCUM."""
    end = name.rpartition("_")[2]
    return {"seconds": "s", "bytes": "By", "dollars": "{USD}"}.get(end, "1")
