"""Public lists over a real Redis: one fetch for all workers, stale rather than nothing."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from app.core.clock import Clock
from app.core.errors import Fault, GatewayError
from app.core.redis import RedisManager, RedisOptions
from app.core.tasks import TaskSet
from app.services import catalogue as module
from app.services.catalogue import Catalogue
from tests.redis_server import RedisServer, running_redis

MODELS = b"/v1/models"
GZIP = (b"accept-encoding", b"gzip")


@dataclass
class Turned(Clock):
    """A clock that is turned by hand."""

    now_s: float = 1_000_000.0

    def wall_s(self) -> float:
        return self.now_s

    def monotonic_s(self) -> float:
        return self.now_s


@dataclass
class Reply:
    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


@dataclass
class Upstream:
    """Answers with a count, so that a test sees which fetch it got; fails when it is told to."""

    status: int = 200
    down: bool = False
    pause_s: float = 0.0
    body: bytes = b"x" * 500
    asked: list[tuple[bytes, list[tuple[bytes, bytes]]]] = field(default_factory=list)

    async def get(self, target: bytes, headers: list[tuple[bytes, bytes]]) -> Reply:
        self.asked.append((target, headers))
        number = len(self.asked)
        await asyncio.sleep(self.pause_s)
        if self.down:
            raise GatewayError(502, "upstream_connect", "Not there.", fault=Fault.UPSTREAM)
        return Reply(self.status, ((b"content-type", b"application/json"),), b"%d " % number + self.body)


@dataclass
class House:
    """Workers around one Redis, one upstream and one clock."""

    server: RedisServer
    clock: Turned = field(default_factory=Turned)
    upstream: Upstream = field(default_factory=Upstream)
    tasks: TaskSet = field(default_factory=TaskSet)
    redis: list[RedisManager] = field(default_factory=list)

    def worker(self, ttl_s: float = 300) -> Catalogue:
        redis = RedisManager(RedisOptions(self.server.url), self.clock)
        self.redis.append(redis)
        return Catalogue(redis, self.upstream.get, self.clock, self.tasks, ttl_s)

    async def settled(self) -> None:
        """Until nothing runs in the background."""
        while len(self.tasks):
            await asyncio.sleep(0.005)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
async def house(server: RedisServer) -> AsyncIterator[House]:
    server.call("FLUSHALL")
    built = House(server)
    yield built
    await built.tasks.close()
    for redis in built.redis:
        await redis.close()


async def test_one_fetch_for_all(house: House) -> None:
    """Fifty callers in two workers at once cost one call to OpenRouter."""
    house.upstream.pause_s = 0.1
    workers = (house.worker(), house.worker())
    answers = await asyncio.gather(*(workers[n % 2].answer(MODELS, []) for n in range(50)))
    assert {answer.body[:2] for answer in answers} == {b"1 "}
    assert len(house.upstream.asked) == 1


async def test_a_fresh_copy_in_memory_needs_no_redis(house: House) -> None:
    """Within the freshness a hit is answered by the worker alone."""
    worker = house.worker()
    await worker.answer(MODELS, [])
    await house.redis[0].close()
    house.clock.now_s += 299
    house.server.pause()
    try:
        answer = await worker.answer(MODELS, [])
    finally:
        house.server.resume()
    assert dict(answer.headers)[b"age"] == b"299"
    assert len(house.upstream.asked) == 1


async def test_a_new_worker_finds_what_others_fetched(house: House) -> None:
    """A restart costs no fetch."""
    await house.worker().answer(MODELS, [])
    answer = await house.worker().answer(MODELS, [GZIP])
    assert gzip.decompress(answer.body).startswith(b"1 ")
    assert len(house.upstream.asked) == 1


async def test_stale_is_served_while_one_worker_renews(house: House) -> None:
    """Nobody waits for the new list, and it is fetched once."""
    workers = (house.worker(), house.worker())
    for worker in workers:
        await worker.answer(MODELS, [])
    house.clock.now_s += 301
    await _forget_locks(house)
    old = [await worker.answer(MODELS, []) for worker in workers]
    assert {answer.body[:2] for answer in old} == {b"1 "}
    await house.settled()
    assert len(house.upstream.asked) == 2
    house.clock.now_s += 6
    for worker in workers:
        await worker.answer(MODELS, [])
    await house.settled()
    assert {(await worker.answer(MODELS, [])).body[:2] for worker in workers} == {b"2 "}
    assert len(house.upstream.asked) == 2


@pytest.mark.parametrize("failure", ["down", "status"])
async def test_a_failing_upstream_leaves_the_old_list(house: House, failure: str) -> None:
    """Old is served for a day, with pauses between the tries; after it the failure shows."""
    worker = house.worker()
    await worker.answer(MODELS, [])
    await _forget_locks(house)
    house.upstream.down, house.upstream.status = failure == "down", 200 if failure == "down" else 503
    house.clock.now_s += 3600
    for _ in range(5):
        assert (await worker.answer(MODELS, [])).body.startswith(b"1 ")
        await house.settled()
    assert len(house.upstream.asked) == 2
    house.clock.now_s += 86_400
    await _forget_locks(house)
    if failure == "down":
        with pytest.raises(GatewayError):
            await worker.answer(MODELS, [])
    else:
        assert (await worker.answer(MODELS, [])).status == 503


async def test_failures_are_neither_stored_nor_in_the_way(house: House) -> None:
    """Every caller hears the error of its own try; the first success is kept."""
    worker, other = house.worker(), house.worker()
    house.upstream.status = 404
    assert (await worker.answer(MODELS, [])).status == 404
    house.upstream.down = True
    with pytest.raises(GatewayError):
        await other.answer(MODELS, [])
    house.upstream.down, house.upstream.status = False, 200
    assert (await worker.answer(MODELS, [])).status == 200
    assert (await other.answer(MODELS, [])).body.startswith(b"3 ")


async def test_what_changes_the_answer_keeps_it_apart(house: House) -> None:
    """Target to the byte, form, version, and the kind of client; nothing else."""
    worker = house.worker()
    apart = [
        (MODELS, []),
        (b"/v1/models?a=1", []),
        (b"/v1/models?a=%31", []),
        (b"/v1/providers", []),
        (MODELS, [(b"accept", b"application/rss+xml")]),
        (MODELS, [(b"anthropic-version", b"2023-06-01")]),
        (MODELS, [(b"user-agent", b"claude-cli/2.0")]),
        (MODELS, [(b"user-agent", b"codex_cli_rs/1")]),
    ]
    together = [
        (MODELS, [(b"user-agent", b"curl/8")]),
        (MODELS, [(b"x-title", b"mine"), (b"authorization", b"Bearer x")]),
    ]
    for target, headers in apart + together:
        await worker.answer(target, headers)
    assert len(house.upstream.asked) == len(apart)
    assert house.upstream.asked[2][0] == b"/v1/models?a=%31"
    for _, sent in house.upstream.asked:
        assert (b"accept-encoding", b"identity") in sent
        assert not {name for name, _ in sent} - {b"accept-encoding", b"accept", b"anthropic-version", b"user-agent"}


async def test_without_redis_it_goes_straight(house: House) -> None:
    """The list is fetched and kept in memory; stale is served here, too."""
    redis = RedisManager(RedisOptions("unix:///nowhere/at-all.sock"), house.clock)
    worker = Catalogue(redis, house.upstream.get, house.clock, house.tasks, 300)
    assert (await worker.answer(MODELS, [])).body.startswith(b"1 ")
    assert (await worker.answer(MODELS, [])).body.startswith(b"1 ")
    house.clock.now_s += 301
    assert (await worker.answer(MODELS, [])).body.startswith(b"1 ")
    await house.settled()
    assert (await worker.answer(MODELS, [])).body.startswith(b"2 ")
    await redis.close()


async def test_a_caller_that_leaves_does_not_end_the_fetch(house: House) -> None:
    """Others wait for the same one."""
    house.upstream.pause_s = 0.1
    worker = house.worker()
    first = asyncio.get_running_loop().create_task(worker.answer(MODELS, []))
    second = asyncio.get_running_loop().create_task(worker.answer(MODELS, []))
    await asyncio.sleep(0.03)
    first.cancel()
    assert (await second).status == 200
    assert len(house.upstream.asked) == 1


async def test_a_worker_that_died_with_the_lock_is_waited_for_briefly(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is a courtesy: after a while the list is fetched without it."""
    monkeypatch.setattr(module, "_POLLS", 3)
    await house.worker().answer(MODELS, [])
    for name in await _names(house, "catalogue:"):
        house.server.call("DEL", name)
    assert (await house.worker().answer(MODELS, [])).body.startswith(b"2 ")


async def test_invented_queries_fill_no_store(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that any caller can multiply are kept in bounded number, in Redis and in memory."""
    monkeypatch.setattr(module, "_RARE_PER_HOUR", 5)
    monkeypatch.setattr(module, "_MEMORY_ENTRIES", 4)
    worker = house.worker()
    for n in range(12):
        await worker.answer(b"/v1/models?invented=%d" % n, [])
    assert len(await _names(house, ":catalogue:")) == 5
    await worker.answer(b"/v1/models?invented=0", [])
    assert len(house.upstream.asked) == 12, "the dropped one is found in Redis"
    await worker.answer(b"/v1/models?invented=11", [])
    assert len(house.upstream.asked) == 12, "the newest one is found in memory"


async def test_giants_are_passed_on_and_not_kept(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound an answer goes to its caller only."""
    monkeypatch.setattr(module, "_LARGEST", 100)
    worker = house.worker()
    assert (await worker.answer(MODELS, [])).body.endswith(b"x" * 500)
    assert not await _names(house, ":catalogue:")
    await worker.answer(MODELS, [])
    assert len(house.upstream.asked) == 2


async def test_a_large_list_is_packed_once(house: House, tmp_path: Path) -> None:
    """A megabyte is stored and sent compressed, and comes out as it went in."""
    house.upstream.body = b'{"id":"some/model","price":"0.1"},' * 30_000
    await house.worker().answer(MODELS, [])
    answer = await house.worker().answer(MODELS, [GZIP])
    assert len(answer.body) < 20_000
    assert gzip.decompress(answer.body) == b"1 " + house.upstream.body


async def _names(house: House, part: str) -> list[str]:
    found = await house.redis[0].command("KEYS", f"*{part}*")
    return [name.decode() for name in found if b":lock:" not in name]


async def _forget_locks(house: House) -> None:
    for name in await house.redis[0].command("KEYS", "*:lock:*"):
        await house.redis[0].command("DEL", name)
