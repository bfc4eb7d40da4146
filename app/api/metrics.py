"""`/metrics` for Prometheus, for whoever has its token: figures as text, in the old form or as OpenMetrics."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry

from app.api.render import render
from app.core.errors import GatewayError
from app.core.metrics import Family, Kind, labels_of
from app.models.exchange import Skin

PATH: Final = "/metrics"
_BEARER: Final = "bearer "

Told = Callable[[], Awaitable[list[Family]]]


def metrics_router(token: str, told: Told) -> APIRouter:
    """The page."""
    router = APIRouter()

    @router.get(PATH, include_in_schema=False)
    async def metrics(request: Request) -> Response:
        if (refusal := _refusal(token, request.headers.get("authorization", ""))) is not None:
            status, headers, body = render(refusal, Skin.OPENROUTER, "")
            return Response(body, status, headers={name.decode(): value.decode() for name, value in headers})
        write, media_type = choose_encoder(request.headers.get("accept", ""))
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Picture(await told()))
        text = await asyncio.to_thread(write, registry)  # thousands of lines: calls go on meanwhile
        return Response(text, media_type=media_type, headers={"cache-control": "no-store"})

    return router


def _refusal(token: str, header: str) -> GatewayError | None:
    if not token:
        return GatewayError(
            404, "not_found", "There are no metrics.", "Set METRICS_TOKEN, and scrape with it as a bearer."
        )
    scheme, sent = header[: len(_BEARER)].lower(), header[len(_BEARER) :].strip()
    if scheme != _BEARER or not secrets.compare_digest(sent.encode(), token.encode()):
        return GatewayError(
            401,
            "authentication",
            "Metrics need their token.",
            "Send METRICS_TOKEN as `Authorization: Bearer …`.",
            headers=((b"www-authenticate", b"Bearer"),),
        )
    return None


class _Picture(Collector):
    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return map(_metric, self._families)


def _metric(family: Family) -> Metric:
    shape = family.shape
    name, words, labels = shape.name, shape.help, shape.labels
    if shape.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(name, words, labels=labels)
        for row, cells in family.rows.items():
            histogram.add_metric(
                labels_of(row, shape), _buckets(shape.bounds, cells), sum_value=cells[-1] / shape.parts
            )
        return histogram
    made = CounterMetricFamily if shape.kind is Kind.COUNTER else GaugeMetricFamily
    metric = made(name, words, labels=labels)
    for row, cells in family.rows.items():
        metric.add_metric(labels_of(row, shape), cells[0] / shape.parts)
    return metric


def _buckets(bounds: tuple[float, ...], cells: list[float]) -> list[tuple[str, float]]:
    """Each holds all that are below it, as Prometheus wants them."""
    found, below = [], 0.0
    for bound, count in zip((*map(_bound, bounds), "+Inf"), cells[:-1], strict=True):
        below += count
        found.append((bound, below))
    return found


def _bound(value: float) -> str:
    return f"{float(value)!r}"
