"""What calls cost that did not say it, asked of a simulated OpenRouter."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from app.core.clock import SystemClock
from app.core.config import Settings
from app.core.security import Secret
from app.models.usage import Usage
from app.services import settler as settler_module
from app.services.settler import Settler, Word, job_pauses, job_word
from app.services.upstream_api import UpstreamClient
from simulator.settings import SimSettings
from tests.simulator_thread import SimulatorThread, running_simulator

MODEL = "openai/gpt-4o-mini"


@pytest.fixture
def upstream() -> Iterator[SimulatorThread]:
    with running_simulator(SimSettings(first_token_ms=0, tokens_per_s=0, generation_delay_ms=60, job_ms=120)) as one:
        yield one


class Desk:
    """A settler in a hurry, with one key."""

    def __init__(self, upstream: SimulatorThread) -> None:
        self.upstream = upstream
        self.secret: Secret | None = Secret(upstream.new_keys(1)[0])
        self.client = UpstreamClient(Settings(_env_file=None, openrouter_base_url=upstream.base_url))
        self.settler = Settler(self.client, SystemClock(), lambda _: self.secret)

    async def call(self, path: str = "/chat/completions", **body: Any) -> tuple[dict[str, str], dict[str, Any]]:
        """The head and the body of the answer to a request that the key makes."""
        assert self.secret is not None
        asked = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], **body}
        answer = await self.client.request("POST", path, self.secret, asked)
        return answer.headers, json.loads(answer.body)

    async def price(self, name: str) -> Usage | None:
        found: asyncio.Future[Usage | None] = asyncio.get_running_loop().create_future()
        self.settler.ask("k1", name, found.set_result)
        async with asyncio.timeout(20):
            return await found

    def billed(self) -> int:
        return int(self.upstream.control("bill")["total_nano"])


@pytest.fixture
async def desk(upstream: SimulatorThread, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.setattr(settler_module, "_PAUSES_S", (0.02,) * 12)
    monkeypatch.setattr(settler_module, "_JOB_FIRST_S", 0.02)
    one = Desk(upstream)
    yield one
    await one.settler.close()
    await one.client.close()


async def test_a_price_is_found_when_its_record_is_there(desk: Desk, upstream: SimulatorThread) -> None:
    """The first answers are 404; the cost is exact, and the counts are those that are billed."""
    headers, body = await desk.call()
    name = headers["x-generation-id"]
    found = await desk.price(name)
    assert found is not None
    assert found.cost_nano == desk.billed() > 0
    assert found.output_tokens == body["usage"]["completion_tokens"]
    asked = [one["target"] for one in upstream.requests(path="/api/v1/generation")]
    assert len(asked) > 1
    assert all(target.endswith(f"?id={name}") for target in asked)


async def test_a_generation_that_nobody_knows_stays_unknown(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """After the last try; neither its id nor a key stands in the log."""
    assert await desk.price("gen-nobody&x=1") is None
    assert "cost stays unknown" in caplog.text
    assert "gen-nobody" not in caplog.text
    asked = [one["target"] for one in desk.upstream.requests(path="/api/v1/generation")]
    assert len(asked) == 12
    assert asked[0].endswith("?id=gen-nobody%26x%3D1")


@pytest.mark.parametrize(
    "step",
    [
        {"status": 500},
        {"status": 429},
        {"status": 401},
        {"status": 200, "body": "no json"},
        {"status": 200, "body": {"data": {"id": "gen-x"}}},
        {"status": 200, "body": {"data": {"total_cost": -1}}},
    ],
)
async def test_what_is_no_price_is_asked_again(desk: Desk, step: dict[str, Any]) -> None:
    """Whatever upstream says instead."""
    headers, _ = await desk.call()
    assert desk.secret is not None
    desk.upstream.script(desk.secret.reveal(), {**step, "path": "/generation", "times": 5})
    found = await desk.price(headers["x-generation-id"])
    assert found is not None
    assert found.cost_nano == desk.billed()


async def test_a_key_that_is_gone_for_a_while(desk: Desk) -> None:
    """Nobody is asked without it; with it back, or its heir there, the price is found."""
    headers, _ = await desk.call()
    secret, desk.secret = desk.secret, None
    asking = asyncio.ensure_future(desk.price(headers["x-generation-id"]))
    await asyncio.sleep(0.05)
    assert desk.upstream.requests(path="/api/v1/generation") == []
    desk.secret = secret
    found = await asking
    assert found is not None
    assert found.cost_nano == desk.billed()


async def test_an_upstream_that_is_away() -> None:
    """Nothing is known, and nothing breaks."""
    client = UpstreamClient(Settings(_env_file=None, openrouter_base_url="http://127.0.0.1:9/api/v1"))
    settler = Settler(client, SystemClock(), lambda _: Secret("sk-or-v1-x"))
    found: list[Usage | None] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settler_module, "_PAUSES_S", (0.0, 0.01))
        settler.ask("k1", "gen-1", found.append)
        assert settler.waiting == 1
        while not found:
            await asyncio.sleep(0.01)
    assert found == [None]
    await settler.close()
    await client.close()


async def test_many_wait_their_turn(desk: Desk) -> None:
    """A few are asked at once, and none is forgotten."""
    names = [(await desk.call())[0]["x-generation-id"] for _ in range(40)]
    found = await asyncio.gather(*(desk.price(name) for name in names))
    assert sum(one.cost_nano or 0 for one in found if one is not None) == desk.billed()
    assert len([one for one in found if one is not None]) == 40
    assert desk.settler.waiting == 0


async def test_more_than_can_be_remembered_stay_unknown(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is one too many is told at once."""
    monkeypatch.setattr(settler_module, "_MOST_WAITING", 1)
    found: list[Usage | None] = []
    desk.settler.ask("k1", "gen-1", found.append)
    assert found == []
    desk.settler.ask("k1", "gen-2", found.append)
    assert found == [None]


async def test_nobody_is_told_after_the_end(desk: Desk) -> None:
    """The next process asks again."""
    found: list[Usage | None] = []
    for name in ("gen-1", "/videos/1"):
        desk.settler.ask("k1", name, found.append)
    await desk.settler.close()
    assert (found, desk.settler.waiting) == ([], 0)


async def test_a_video_has_its_price_when_it_is_done(desk: Desk, upstream: SimulatorThread) -> None:
    """Its record is asked for until then."""
    model = next(one for one in upstream.control("")["models"] if "veo" in one or "video" in one or "sora" in one)
    _, made = await desk.call("/videos", model=model, prompt="a sea", duration=4)
    found = await desk.price(f"/videos/{made['id']}")
    assert found is not None
    assert found.cost_nano == desk.billed() > 0
    assert len(upstream.requests(path="/api/v1/videos/")) > 1


async def test_a_batch_has_its_price_when_it_is_done(desk: Desk) -> None:
    """Of all its requests together."""
    ask = {"messages": [{"role": "user", "content": "Hi"}]}
    batch = {"endpoint": "/v1/chat/completions", "model": MODEL, "requests": [{"custom_id": "1", "body": ask}] * 3}
    answer = await desk.client.request("POST", "/batches", desk.secret or Secret("x"), batch)
    found = await desk.price(f"/batches/{json.loads(answer.body)['id']}")
    assert found is not None
    assert found.cost_nano == desk.billed() > 0


async def test_a_job_that_passes_by_done_need_not_be_asked_for(
    desk: Desk, upstream: SimulatorThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its caller polls it anyway."""
    monkeypatch.setattr(settler_module, "_JOB_FIRST_S", 300.0)
    asking = asyncio.ensure_future(desk.price("/videos/v1"))
    await asyncio.sleep(0)
    desk.settler.job_seen("/videos/other", 200, b'{"status":"completed","usage":{"cost":1}}')
    desk.settler.job_seen("/videos/v1", 404, b"")
    desk.settler.job_seen("/videos/v1", 200, b'{"status":"in_progress"}')
    await asyncio.sleep(0.01)
    assert not asking.done()
    for _ in range(2):
        desk.settler.job_seen("/videos/v1", 200, b'{"status":"completed","usage":{"cost":0.25}}')
    assert await asking == Usage(cost_nano=250_000_000)
    assert upstream.requests(path="/api/v1/videos/") == []


async def test_a_job_that_is_gone_is_not_asked_for_ever(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its maker may have deleted it: for a while it may still come."""
    monkeypatch.setattr(settler_module, "_JOB_MISSING_S", 0.1)
    assert await desk.price("/videos/nobody") is None


async def test_a_job_that_never_ends_stays_unknown(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Days later nobody is held to its reservation any more."""
    monkeypatch.setattr(settler_module, "_JOB_S", 0.1)
    desk.upstream.script("*", {"status": 200, "body": {"status": "pending"}, "times": 0, "path": "/videos/v2"})
    assert await desk.price("/videos/v2") is None


def test_jobs_are_asked_for_ever_more_seldom() -> None:
    """A few hundred times in three days."""
    pauses = list(job_pauses())
    assert pauses[0] == 5
    assert pauses == sorted(pauses)
    assert max(pauses) == 600
    assert 3 * 86_400 <= sum(pauses) < 3 * 86_400 + 600


@pytest.mark.parametrize(
    ("status", "body", "word"),
    [
        (200, {"status": "completed", "usage": {"cost": 0.5}}, Usage(cost_nano=500_000_000)),
        (200, {"status": "completed", "usage": {"cost": 2000}}, Usage(cost_nano=2000 * 10**9)),
        (200, {"status": "completed"}, Word.NEVER),
        (200, {"status": "completed", "usage": {"cost": -1}}, Word.NEVER),
        (200, {"status": "failed"}, Usage(cost_nano=0)),
        (200, {"status": "expired", "usage": None}, Usage(cost_nano=0)),
        (200, {"status": "cancelled", "usage": {"cost": 0.25}}, Usage(cost_nano=250_000_000)),
        (200, {"status": "in_progress"}, Word.LATER),
        (200, {"status": "validating"}, Word.LATER),
        (200, {"status": 5}, Word.LATER),
        (200, [], Word.LATER),
        (404, {"error": {"code": 404}}, Word.MISSING),
        (410, {}, Word.MISSING),
        (401, {}, Word.LATER),
        (502, {}, Word.LATER),
        (0, {}, Word.LATER),
    ],
)
def test_what_a_jobs_record_says(status: int, body: object, word: Usage | Word) -> None:
    """A job that came to nothing costs nothing, unless it says so."""
    assert job_word(status, json.dumps(body).encode()) == word


def test_a_record_that_is_no_text() -> None:
    """Asked again."""
    assert job_word(200, b"\xff") is Word.LATER
