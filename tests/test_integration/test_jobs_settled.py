"""Videos and batches are paid for when they are done: once, to the nano-dollar, whether anybody polls them or not."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from simulator.settings import SimSettings
from tests.gateway_process import GatewayProcess, MadeClient, running_gateway, wait_until
from tests.simulator_thread import SimulatorThread, running_simulator

VIDEO = {"prompt": "a sea", "duration": 3}
ASK = {"messages": [{"role": "user", "content": "Hi"}]}
BATCH = {
    "endpoint": "/v1/chat/completions",
    "model": "openai/gpt-4o-mini",
    "requests": [{"custom_id": str(number), "body": ASK} for number in range(3)],
}
JOB_MS = 300


@pytest.fixture(scope="module")
def upstream() -> Iterator[SimulatorThread]:
    """A simulated OpenRouter whose jobs take a moment."""
    settings = SimSettings.instant()
    settings.job_ms = JOB_MS
    with running_simulator(settings) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(upstream: SimulatorThread) -> Iterator[GatewayProcess]:
    """With two OpenRouter keys of two accounts: a job's record answers only to the one that made it."""
    keys = [upstream.new_keys(1, account=f"user_jobs{number}")[0] for number in range(2)]
    with running_gateway(upstream.base_url, keys=keys) as running:
        yield running


@dataclass
class Desk:
    """A client with a limit of money, and what the books say of it."""

    gateway: GatewayProcess
    upstream: SimulatorThread
    client: MadeClient

    def call(self, path: str, body: object = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"authorization": f"Bearer {self.client.key}", "content-type": "application/json"}
        request = urllib.request.Request(self.gateway.base_url + path, data, headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return dict(json.load(answer, parse_float=Decimal))

    def started(self) -> list[str]:
        """The paths of a new video's and a new batch's records."""
        models = self.upstream.control("")["models"]
        video = next(model for model in models if "veo" in model or "sora" in model or "video" in model)
        made = self.call("/videos", {"model": video, **VIDEO}), self.call("/batches", BATCH)
        return [f"/{kind}/{job['id']}" for kind, job in zip(("videos", "batches"), made, strict=True)]

    def polled(self, job: str) -> list[dict[str, Any]]:
        """What the record said each time, until the job was done."""
        said: list[dict[str, Any]] = []

        def done() -> bool:
            said.append(self.call(job))
            return said[-1]["status"] == "completed"

        wait_until(done, what="the end of the job")
        return said

    def entries(self) -> list[dict[str, Any]]:
        """The client's calls that made something."""
        listed = self.gateway.cli("requests", "list", "--client", self.client.name, "--limit", "100", "--json").stdout
        return [entry for entry in json.loads(listed)["requests"] if entry["route"] in ("videos", "batches")]

    def settled(self, count: int) -> list[dict[str, Any]]:
        wait_until(lambda: len(self.entries()) >= count, within_s=20, what="an entry for each job")
        return self.entries()

    def spent(self) -> int:
        return nano(self.call("/key")["data"]["usage"])

    def used_up(self) -> int:
        """Spent and reserved."""
        data = self.call("/key")["data"]
        return nano(data["limit"]) - nano(data["limit_remaining"])


@pytest.fixture
def desk(gateway: GatewayProcess, upstream: SimulatorThread, request: pytest.FixtureRequest) -> Desk:
    name = request.node.name.replace("[", "-").replace("]", "").replace("_", "-")
    return Desk(gateway, upstream, gateway.create_client(name[:60], "--limit", "usd/day=100"))


def nano(usd: Decimal | float | str) -> int:
    return int(Decimal(str(usd)).scaleb(9))


def billed(upstream: SimulatorThread) -> int:
    return int(upstream.control("bill")["total_nano"])


@pytest.mark.parametrize("polled", [True, False], ids=["polled", "left-alone"])
def test_what_a_job_cost_is_booked_when_it_is_done(desk: Desk, upstream: SimulatorThread, polled: bool) -> None:
    """A caller's own poll settles it at once; without one the gateway asks. Either way once, and nothing stays held."""
    before = billed(upstream)
    jobs = desk.started()
    said = {job: desk.polled(job) for job in jobs} if polled else {}
    found = desk.settled(len(jobs))
    for job in jobs:
        asked = upstream.requests(path=f"/api/v1{job}")
        assert len(asked) == len(said[job]) if polled else asked, "who has asked upstream"
        assert desk.call(job)["status"] == "completed"  # asked for again, it is not paid for again
    assert {entry["cost_kind"] for entry in found} == {"looked_up"}
    total = billed(upstream) - before
    assert sum(nano(entry["cost_usd"]) for entry in found) == total > 0
    wait_until(lambda: desk.used_up() == total, what="an end of the reservation")
    assert desk.spent() == total
    assert len(desk.entries()) == len(jobs)
