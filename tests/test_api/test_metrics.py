"""The page for Prometheus: who may see it, and that its parsers can read it."""

from __future__ import annotations

from collections.abc import Iterable

import httpx2
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as text

from app.api.metrics import _metric, metrics_router
from app.core.metrics import Counter, Family, Gauge, Histogram

TOKEN = "scrape-canary-token"
OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


def pictures() -> list[Family]:
    calls, cost = Counter("calls", "Calls.", "of"), Counter("cost_dollars", "Money.", parts=10**9)
    held, spans = Gauge("held", "Held\nnow."), Histogram("spans_seconds", "Spans.", "of", bounds=(0.1, 1), parts=1000)
    calls.add(("plain",), 3)
    calls.add(('odd "name" \\ of\n two lines é',), 1)
    cost.add((), 1_500_000_000)
    held.set(2.5)
    for ms in (50, 100, 500, 5000):
        spans.observe(ms, ("x",))
    return [one.picture() for one in (calls, cost, held, spans)]


async def ask(token: str = TOKEN, *, method: str = "GET", **headers: str) -> httpx2.Response:
    async def told() -> list[Family]:
        return pictures()

    app = FastAPI()
    app.include_router(metrics_router(token, told))

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://gw") as client:
        return await client.request(method, "/metrics", headers=headers)


def samples(families: Iterable[Metric]) -> dict[tuple[str, str], float]:
    """By name and the one label that is no bound, or the bound."""
    return {
        (one.name, one.labels.get("le", one.labels.get("of", ""))): one.value
        for family in families
        for one in family.samples
    }


async def test_without_a_token_there_is_no_page() -> None:
    """Nobody reads figures of a gateway by mistake; the answer says how to have them."""
    for sent in ({}, {"authorization": "Bearer "}, {"authorization": f"Bearer {TOKEN}"}):
        answer = await ask("", **sent)
        assert answer.status_code == 404
        assert "METRICS_TOKEN" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "sent", ["", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer ë"]
)
async def test_the_token_is_needed(sent: str) -> None:
    """Word for word, as a bearer; nothing of it is in the refusal."""
    answer = await ask(authorization=sent.encode("latin-1"))  # type: ignore[arg-type]

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert TOKEN not in answer.text
    assert "calls" not in answer.text


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_token_opens_it(scheme: str) -> None:
    """Schemes have no case (RFC 9110)."""
    answer = await ask(authorization=f"{scheme} {TOKEN}")

    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert TOKEN not in answer.text


@pytest.mark.parametrize(
    ("accept", "media_type", "parse"),
    [
        ("", "text/plain; version=0.0.4", text),
        ("*/*", "text/plain; version=0.0.4", text),
        (OPENMETRICS, "application/openmetrics-text; version=1.0.0", openmetrics),
        ("nonsense;q=x", "text/plain; version=0.0.4", text),
    ],
)
async def test_both_forms_can_be_read(accept: str, media_type: str, parse: type) -> None:
    """By the field's own parsers, with every figure as it was counted."""
    answer = await ask(authorization=f"Bearer {TOKEN}", accept=accept)
    found = samples(parse(answer.text))  # type: ignore[arg-type]

    assert answer.headers["content-type"].startswith(media_type)
    assert found == {
        ("calls_total", "plain"): 3,
        ("calls_total", 'odd "name" \\ of\n two lines é'): 1,
        ("cost_dollars_total", ""): 1.5,
        ("held", ""): 2.5,
        ("spans_seconds_bucket", "0.1"): 2,
        ("spans_seconds_bucket", "1.0"): 3,
        ("spans_seconds_bucket", "+Inf"): 4,
        ("spans_seconds_count", "x"): 4,
        ("spans_seconds_sum", "x"): 5.65,
    }


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_it_can_only_be_read(method: str) -> None:
    """Nothing can be sent there."""
    assert (await ask(method=method, authorization=f"Bearer {TOKEN}")).status_code == 405


@given(st.lists(st.floats(0, 1e9), max_size=20))
def test_buckets_hold_all_below_them(values: list[float]) -> None:
    """Each at least as much as the one before, the last one everything."""
    histogram = Histogram("h", "Words.", bounds=(0.5, 10, 100), parts=1000)
    for value in values:
        histogram.observe(value)
    found = {one.labels["le"]: one.value for one in _metric(histogram.picture()).samples if "le" in one.labels}

    expected = {str(bound): sum(v <= bound * 1000 for v in values) for bound in (0.5, 10.0, 100.0)}
    assert found == ({**expected, "+Inf": len(values)} if values else {})
