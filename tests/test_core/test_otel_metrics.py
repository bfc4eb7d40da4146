"""Our figures in OpenTelemetry's terms, number for number."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.metrics.export import AggregationTemporality, Gauge, Histogram, Sum
from opentelemetry.sdk.resources import Resource

from app.core import metrics
from app.core.metrics import Family, Kind
from app.core.otel_metrics import metrics_data

RESOURCE = Resource({"service.name": "x"})


def sent(*families: Family) -> list[Any]:
    (resource,) = metrics_data(families, RESOURCE, ("scope", "1"), 5, 9).resource_metrics
    assert resource.resource is RESOURCE
    (scope,) = resource.scope_metrics
    return list(scope.metrics)


def test_counts_are_sums_that_only_grow() -> None:
    """From the start on, in the unit that is told."""
    counter = metrics.Counter("cost_dollars", "Money.", "group", parts=10**9)
    counter.add(("a",), 1_500_000_000)
    (metric,) = sent(counter.picture())

    assert (metric.name, metric.description, metric.unit) == ("cost_dollars", "Money.", "{USD}")
    assert isinstance(metric.data, Sum)
    assert metric.data.is_monotonic
    assert metric.data.aggregation_temporality is AggregationTemporality.CUMULATIVE
    (point,) = metric.data.data_points
    assert (point.attributes, point.value) == ({"group": "a"}, 1.5)
    assert (point.start_time_unix_nano, point.time_unix_nano) == (5, 9)


@pytest.mark.parametrize("kind", [Kind.GAUGE, Kind.MAX])
def test_what_is_held_is_a_gauge(kind: Kind) -> None:
    """Whatever is done with it over several workers."""
    gauge = metrics.Gauge("memory_bytes", "Words.", kind=kind)
    gauge.set(7)
    (metric,) = sent(gauge.picture())

    assert isinstance(metric.data, Gauge)
    assert metric.unit == "By"
    assert [(point.attributes, point.value) for point in metric.data.data_points] == [({}, 7)]


def test_distributions_keep_their_bounds() -> None:
    """Each bound with its own count, not with what is below."""
    histogram = metrics.Histogram("span_seconds", "Words.", "of", bounds=(0.1, 1), parts=1000)
    for ms in (50, 60, 500, 5000):
        histogram.observe(ms, ("x",))
    (metric,) = sent(histogram.picture())

    assert isinstance(metric.data, Histogram)
    assert metric.unit == "s"
    (point,) = metric.data.data_points
    assert (list(point.explicit_bounds), list(point.bucket_counts)) == ([0.1, 1], [2, 1, 1])
    assert (point.count, point.sum, point.min, point.max) == (4, 5.61, None, None)


def test_what_has_no_row_is_not_sent() -> None:
    """An empty metric says nothing."""
    assert sent(metrics.Gauge("g", "Words.").picture()) == []
