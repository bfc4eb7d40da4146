"""What went over keys: from entries of the ledger and sums of usage."""

from __future__ import annotations

import pytest

from app.models.ledger import Entry, TryMade
from app.panel.openrouter_rows import Trouble
from app.panel.openrouter_traffic import is_served, latency, results, traffic, troubles_of, with_traffic
from app.services.cells import Figures, Step
from app.services.insight_plan import Answer, Quantiles, Spans
from app.services.strips import Minute
from tests.test_panel.apart import apart
from tests.test_panel.keys_world import KeysWorld, keys_world, wait_until

__all__ = ["keys_world"]

NOW_S = 1_800_000_000.0 - 1_800_000_000 % 3600 + 1800
A, B = "a" * 64, "b" * 64


def entry(at_s: float, *tries: tuple[str, str], outcome: str = "served", ms: float = 100.0, **more: object) -> Entry:
    """A call that tried these keys, the last one in the end."""
    made = tuple(TryMade(key, result, ms) for key, result in tries)
    usual = {"id": "x", "request_id": f"r{at_s:.0f}", "client_id": "c", "key_id": tries[-1][0] if tries else ""}
    return Entry(**{**usual, "at_s": at_s, "tries": made, "outcome": outcome, "duration_ms": ms, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("result", "served"),
    [("200", True), ("202", True), ("200 error_finish", True), ("429 key_limit", False), ("2", False), ("", False),
     ("timeout", False), ("500", False)],
)  # fmt: skip
def test_what_counts_as_served(result: str, served: bool) -> None:
    """A plain 2xx; anything else is trouble."""
    assert is_served(result) is served


def test_the_last_trouble_of_each_key() -> None:
    """The newest first; keys without trouble are not named."""
    newest_first = [
        entry(NOW_S - 1, (A, "429 plain"), (B, "200"), outcome="rescued"),
        entry(NOW_S - 5, (A, "502 bad_gateway"), outcome="failed"),
        entry(NOW_S - 9, (B, "200")),
    ]
    assert troubles_of(newest_first) == {A: Trouble("429 plain", NOW_S - 1, f"r{NOW_S - 1:.0f}")}


def test_minutes_become_cells() -> None:
    """What failed here and was rescued elsewhere is told apart from what failed."""
    minutes = [Minute(), Minute(served=3, rescued=1, failed=2, moved=4)]
    found = traffic(minutes, {"429": 5, "429x": 1, "500": 7, "timeout": 9}, 60)
    assert found.cells == [(0, 0, 0), (4, 4, 2)]
    assert (found.requests, found.of_all, found.limited_today, found.trouble) == (6, 60, 6, None)


def quantiles(ms: float) -> Quantiles:
    return Quantiles(ms, 2 * ms, 3 * ms)


def told(*series: Spans, spans: Spans) -> Answer:
    """An answer by the hour."""
    return Answer(
        since_s=0, until_s=7200, step=Step.HOUR, by=(), starts_s=(0, 3600), total=Figures(), rows=(), series=(),
        spans=spans, span_series=series,
    )  # fmt: skip


def test_latency_by_the_hour() -> None:
    """Of the first token; a gap where nothing was measured."""
    day = Spans(first_token=quantiles(50), duration=quantiles(900))
    found = latency(told(Spans(), Spans(first_token=quantiles(40)), spans=day))
    assert (found.p50_ms, found.p95_ms) == ((None, 40), (None, 80))
    assert (found.of_day, found.whole, found.known, found.starts_s) == (quantiles(50), False, True, (0, 3600))


def test_latency_without_a_stream() -> None:
    """Then it is told how long answers took."""
    day = Spans(duration=quantiles(900))
    found = latency(told(Spans(duration=quantiles(800)), Spans(), spans=day))
    assert (found.p50_ms, found.of_day, found.whole) == ((800, None), quantiles(900), True)
    assert not latency(told(Spans(), Spans(), spans=Spans())).known


def test_results_of_tries() -> None:
    """What went well first, then the most frequent trouble."""
    assert results(Figures(served=4, rescued=1, left=1, failed=9), {"500": 1, "429": 3}) == (
        ("2xx", 6), ("429", 3), ("500", 1),
    )  # fmt: skip
    assert results(Figures(), {}) == ()


def test_real_calls_are_found(keys_world: KeysWorld) -> None:
    """A key that was refused and one that served after it, as the table and the key's page show them."""
    world = keys_world
    world.clients["traffic"] = world.gateway.create_client("traffic", "--tag", "traffic").key
    key = world.add("traffic one", fields={"tags": "traffic"})
    world.simulator.script(key.secret, {"fault": "429-plain"})
    world.used("traffic")
    other = world.add("traffic two", fields={"tags": "traffic"}, account="user_sim_traffic")
    world.post(f"{key.path}/disable", back="")
    wait_until(lambda: world.serves("traffic"), what="the other key")
    wait_until(lambda: "429 rate_limited" in world.get(key.path), what="the trouble")
    wait_until(lambda: "No request used it" not in world.get(other.path), what="the calls")
    page = world.get("/admin/openrouter-keys?tag=traffic")
    row = page.partition(f'id="key-{key.id[:16]}"')[2].partition("</tr>")[0]
    assert "429 rate_limited" in row
    assert "/admin/requests?id=" in row
    served = page.partition(f'id="key-{other.id[:16]}"')[2].partition("</tr>")[0]
    assert "healthy" in served
    assert "f-ok" in served


def test_no_rows_ask_nothing() -> None:
    """An empty page costs no question."""
    assert apart(lambda: with_traffic(None, [])) == []  # type: ignore[arg-type]
