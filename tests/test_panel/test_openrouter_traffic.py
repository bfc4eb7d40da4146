"""What went over keys: from entries of the ledger and sums of usage."""

from __future__ import annotations

import asyncio

import pytest

from app.models.ledger import Entry, TryMade
from app.panel.openrouter_traffic import (
    heat,
    is_served,
    latency,
    quantile,
    results,
    traffic,
    troubles_of,
    with_traffic,
)
from app.services.cells import Figures, Step
from app.services.insight_plan import Answer, Dimension, Row
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
    """The newest first; how many 429s there were; keys without trouble are not named."""
    newest_first = [
        entry(NOW_S - 1, (A, "429 plain"), (B, "200"), outcome="rescued"),
        entry(NOW_S - 5, (A, "502 bad_gateway"), (A, "429 plain"), outcome="failed"),
        entry(NOW_S - 9, (B, "200")),
    ]
    found = troubles_of(newest_first)
    assert found.keys() == {A}
    trouble, limited = found[A]
    assert trouble is not None
    assert (trouble.result, trouble.at_s, trouble.request_id, limited) == (
        "429 plain", NOW_S - 1, f"r{NOW_S - 1:.0f}", 2,
    )  # fmt: skip


def test_minutes_of_a_day() -> None:
    """Each try stands in its minute; what is older than a day is left out."""
    rows = heat(
        [
            entry(NOW_S, (A, "200")),
            entry(NOW_S, (B, "429 plain"), (A, "200"), outcome="rescued"),
            entry(NOW_S - 3600, (A, "500 x"), (B, "200"), outcome="rescued"),
            entry(NOW_S - 3600 * 25, (A, "200")),
        ],
        A,
        NOW_S,
    )
    assert (len(rows), {len(row) for row in rows}) == (24, {60})
    assert rows[23][30] == (1, 1, 0)
    assert rows[22][30] == (0, 0, 1)
    assert sum(cell is not None for row in rows for cell in row) == 2


def test_latency_by_the_hour() -> None:
    """Of the calls that the key served; the first token where there is one."""
    calls = [entry(NOW_S, (A, "200"), ms=float(ms)) for ms in range(1, 101)]
    calls += [entry(NOW_S - 3600, (A, "200"), ms=900.0, first_token_ms=70.0)]
    calls += [entry(NOW_S - 7200, (A, "500"), outcome="failed"), entry(NOW_S - 7200, (B, "200"))]
    found = latency(calls, A, NOW_S)
    assert found.known
    assert (found.p50_ms[23], found.p95_ms[23]) == (51.0, 96.0)
    assert found.p50_ms[22] == 70.0
    assert found.p50_ms[:22] == (None,) * 22
    assert found.starts_s[23] == NOW_S - 1800
    assert not latency([], A, NOW_S).known


def test_quantiles() -> None:
    """Of few values too."""
    assert quantile([], 0.5) is None
    assert quantile([7.0], 0.95) == 7.0
    assert quantile([1.0, 2.0], 0.5) == 2.0


def test_results_of_tries() -> None:
    """Those on this key, the most frequent first."""
    calls = [entry(1, (A, "429 plain"), (B, "200")), entry(2, (A, "200")), entry(3, (A, "200"))]
    assert results(calls, A) == [("200", 2), ("429 plain", 1)]


def test_sums_as_cells() -> None:
    """One for each minute."""
    told = Answer(
        since_s=0, until_s=120, step=Step.MINUTE, by=(Dimension.KEY,), starts_s=(0, 60), total=Figures(served=3),
        rows=(Row(values=("aa",), figures=Figures(served=2, failed=1), series=(Figures(served=2), Figures(failed=1))),),
        series=(),
    )  # fmt: skip
    found = traffic(told, 30)
    assert found.keys() == {"aa"}
    assert (found["aa"].cells, found["aa"].requests, found["aa"].of_all) == ([(2, 0, 0), (0, 0, 1)], 3, 30)


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
    assert asyncio.run(with_traffic(None, [])) == []  # type: ignore[arg-type]
