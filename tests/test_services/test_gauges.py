"""What is told of this moment, and what is left out because nobody knows it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import pytest

from app import __version__
from app.core.metrics import Family, labels_of
from app.models.key_facts import KeyFacts
from app.services.gauges import SharedGauges, WorkerGauges, credit_left
from app.services.health import Health
from app.services.vitals import Journals, RedisFacts

HEALTH = Health(
    0.5,
    {"total": 4, "ready": 2, "resting": 1, "unreadable": 0, "disabled": 1, "management": 0},
    7,
    draining=False,
    loaded=True,
)


@dataclass
class Shipper:
    waiting: int = 3


@dataclass
class Books:
    """As the gateway's own, with nothing in it."""

    open_calls: int = 5
    reserved_nano: int = 1_500_000_000
    unwritten: int = 1
    shipper: Shipper = field(default_factory=Shipper)


class Vitals:
    """What was felt, without a loop and Redis to feel."""

    memory_bytes = 1000
    began_s = 1_700_000_000.5

    def __init__(self) -> None:
        self.lag_ms: deque[float] = deque()
        self.redis_ms: deque[float | None] = deque()
        self.facts = RedisFacts(memory_bytes=10, memory_most=100, write_failed=True)

    async def journals(self) -> Journals:
        return Journals(1, 4096)

    async def redis_facts(self) -> RedisFacts:
        return self.facts


def told(families: list[Family]) -> dict[str, dict[tuple[str, ...], float]]:
    return {
        one.shape.name: {labels_of(row, one.shape): cells[0] for row, cells in one.rows.items()} for one in families
    }


def worker(vitals: Vitals) -> dict[str, dict[tuple[str, ...], float]]:
    return told(WorkerGauges(vitals, lambda: {"idle": 2, "busy": 4}, Books()).picture())  # type: ignore[arg-type]


def test_a_worker_tells_what_it_holds() -> None:
    """Calls, money, connections, memory."""
    found = worker(Vitals())

    assert found["gateway_workers"] == {(): 1}
    assert found["gateway_open_calls"] == {(): 5}
    assert found["gateway_reserved_dollars"] == {(): 1.5}
    assert found["gateway_unbooked_calls"] == {(): 3}
    assert found["gateway_unwritten_calls"] == {(): 1}
    assert found["gateway_upstream_connections"] == {("idle",): 2, ("busy",): 4}
    assert found["gateway_resident_memory_bytes"] == {(): 1000}
    assert found["gateway_newest_worker_start_time_seconds"] == {(): 1_700_000_000.5}


def test_what_was_not_measured_is_not_told() -> None:
    """No zero that looks like a good value."""
    vitals = Vitals()
    vitals.redis_ms.extend([None, None])

    assert worker(vitals)["gateway_loop_lag_seconds"] == {}
    assert worker(vitals)["gateway_redis_latency_seconds"] == {}


def test_no_peak_is_missed_between_two_scrapes() -> None:
    """The highest of half a minute, which is 15 looks; what is older does not count any more."""
    vitals = Vitals()
    vitals.lag_ms.extend([900.0, 250.0, *[1.0] * 14])
    vitals.redis_ms.extend([None, 900.0, *[2.0] * 14, None])

    assert worker(vitals)["gateway_loop_lag_seconds"] == {(): 0.25}
    assert worker(vitals)["gateway_redis_latency_seconds"] == {(): 0.002}


async def shared(health: Health, vitals: Vitals) -> dict[str, dict[tuple[str, ...], float]]:
    async def look() -> Health:
        return health

    return told(await SharedGauges(look, dict, vitals).picture())  # type: ignore[arg-type]


async def test_all_workers_tell_alike_of_keys_and_redis() -> None:
    """States add up to the keys there are; `total` is no state."""
    found = await shared(HEALTH, Vitals())

    assert found["gateway_info"] == {(__version__,): 1}
    assert sum(found["gateway_openrouter_keys"].values()) == 4
    assert ("total",) not in found["gateway_openrouter_keys"]
    assert found["gateway_client_keys"] == {(): 7}
    assert found["gateway_healthy"] == found["gateway_redis_up"] == {(): 1}
    assert found["gateway_upstream_incident"] == {(): 0}
    assert found["gateway_journal_bytes"] == {(): 4096}
    assert found["gateway_redis_memory_bytes"] == {(): 10}
    assert found["gateway_redis_memory_max_bytes"] == {(): 100}
    assert found["gateway_redis_write_failed"] == {(): 1}


async def test_without_redis_it_says_so() -> None:
    """And nothing of its memory."""
    vitals = Vitals()
    vitals.facts = RedisFacts()
    found = await shared(Health(None, HEALTH.openrouter_keys, 0, draining=False, loaded=True, incident=True), vitals)

    assert found["gateway_healthy"] == found["gateway_redis_up"] == {(): 0}
    assert found["gateway_upstream_incident"] == {(): 1}
    assert found["gateway_redis_memory_bytes"] == found["gateway_redis_memory_max_bytes"] == {}


@pytest.mark.parametrize(
    ("facts", "left"),
    [
        ([KeyFacts(id="k", account="a", balance_nano=2_500_000_000)], {("a", "balance"): 2.5}),
        (
            [
                KeyFacts(id="k", account="a", limit_remaining_nano=10**9),
                KeyFacts(id="k", account="a", limit_remaining_nano=10**9),
            ],
            {("a", "limits"): 2.0},
        ),
        ([KeyFacts(id="k", account="a")], {}),
        ([KeyFacts(id="k", balance_nano=0)], {("", "balance"): 0.0}),
    ],
)
def test_credit_is_told_by_account(facts: list[KeyFacts], left: dict[tuple[str, ...], float]) -> None:
    """The balance where a management key knows it, else what its keys have left; nothing where nobody knows."""
    assert told([credit_left(facts).picture()])["gateway_credit_left_dollars"] == left


def test_accounts_have_an_end() -> None:
    """A pool of a thousand accounts makes no thousand rows."""
    facts = [KeyFacts(id="k", account=f"user_{at}", balance_nano=1) for at in range(1000)]

    assert len(credit_left(facts).picture().rows) == 50
