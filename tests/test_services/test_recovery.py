"""What the dead leave behind is booked once: workers are killed at every step, and their heirs too."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from app.core.commit_log import CommitLog, LogFull
from app.models.ledger import CostKind
from app.models.limits import Span
from app.services import recovery as recovery_module
from app.services import settlement, settler
from app.services.settle_records import OPENED, Named, packed
from app.services.signs_of_life import SignsOfLife
from simulator.settings import SimSettings
from tests.fork_server import forks
from tests.redis_server import RedisServer
from tests.simulator_thread import SimulatorThread, running_simulator
from tests.test_services.conftest import manager
from tests.test_services.settle_child import Heirs, heirs_on
from tests.test_services.settle_world import (
    PLAN,
    RESERVED,
    AheadClock,
    Booked,
    a_sent,
    go_back,
    journalled,
    limits_on,
    snapshot,
    sweep_dead,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def upstream() -> Iterator[SimulatorThread]:
    with running_simulator(SimSettings(first_token_ms=0, tokens_per_s=0, generation_delay_ms=50)) as one:
        yield one


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settler, "_PAUSES_S", (0.02,) * 20)
    monkeypatch.setattr(settlement, "_KEPT_S", 0.0)
    monkeypatch.setattr(recovery_module, "_CONFIRM_EVERY_S", 0.02)
    monkeypatch.setattr(recovery_module, "_RETRY_S", 0.05)


@pytest.fixture
def key(upstream: SimulatorThread) -> str:
    """An OpenRouter key of one test, so that its bill is its own."""
    upstream.control("reset", {})
    return upstream.new_keys(1)[0]


SETTLE_CHILD = "tests.test_services.settle_child"


async def child(kind: str, redis_server: RedisServer, folder: Path, upstream: str, key: str, step: str) -> int:
    """Lives until it dies; its exit code."""
    words = [kind, redis_server.url, str(folder), upstream, key, step]
    run = partial(forks.run, SETTLE_CHILD, words, cwd=ROOT, env=os.environ, stdin=b"", timeout=40)
    done = await asyncio.to_thread(run)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
    return done.returncode


def left(folder: Path) -> list[str]:
    """Journals that are still there."""
    return sorted(path.name for path in (folder / "journal").iterdir() if path.is_dir())


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.01)


async def all_done(heirs: Heirs, folder: Path) -> None:
    await until(lambda: not left(folder))
    await until(lambda: heirs.recovery.waiting == 0)


DEATHS = {
    "sent": (CostKind.UNKNOWN, "failed"),
    "answered": (CostKind.UNKNOWN, "failed"),
    "named": (CostKind.LOOKED_UP, "failed"),
    "unpriced": (CostKind.LOOKED_UP, "served"),
    "closed": (CostKind.REPORTED, "served"),
    "booked": (CostKind.REPORTED, "served"),
}


async def check(booked: Booked, step: str, billed: int) -> None:
    """Two calls, each once, at their true cost or at what was reserved; nothing is held any more."""
    first, second = await booked.entries()
    kind, outcome = DEATHS[step]
    assert (first.cost_kind, first.outcome) == (CostKind.REPORTED, "served")
    assert (second.cost_kind, second.outcome) == (kind, outcome)
    assert second.id.endswith("-2")
    assert await booked.spent() == await booked.spent("c:ck_1") == first.cost_nano + second.cost_nano
    if kind is CostKind.UNKNOWN:
        assert second.cost_nano == RESERVED.nano
        assert second.flags == ("unproven",)
    else:
        assert first.cost_nano + second.cost_nano == billed
    assert await booked.reserved() == {}


@pytest.mark.parametrize("step", DEATHS)
async def test_a_worker_dies_at_each_step(
    redis_server: RedisServer, tmp_path: Path, upstream: SimulatorThread, key: str, step: str
) -> None:
    """Its heir books what is left, with the true cost wherever that can be known."""
    assert await child("live", redis_server, tmp_path, upstream.base_url, key, step) == -signal.SIGKILL
    (journal,) = left(tmp_path)
    async with manager(redis_server) as redis, heirs_on(redis, tmp_path, upstream.base_url, key) as heirs:
        await all_done(heirs, tmp_path)
        await check(Booked(redis), step, upstream.control("bill")["total_nano"])
        assert journal not in await Booked(redis).marks()


@pytest.mark.parametrize("heir_step", ["taken", "closing", "booked", "removing", "removed"])
@pytest.mark.parametrize("step", ["sent", "named", "closed"])
async def test_an_heir_dies_as_well(
    redis_server: RedisServer, tmp_path: Path, upstream: SimulatorThread, key: str, step: str, heir_step: str
) -> None:
    """The next one goes on where it stopped, and books nothing a second time."""
    assert await child("live", redis_server, tmp_path, upstream.base_url, key, step) == -signal.SIGKILL
    if (step, heir_step) != ("closed", "closing"):  # there nothing is left to be closed
        assert await child("heir", redis_server, tmp_path, upstream.base_url, key, heir_step) == -signal.SIGKILL
    async with manager(redis_server) as redis, heirs_on(redis, tmp_path, upstream.base_url, key) as heirs:
        await all_done(heirs, tmp_path)
        await check(Booked(redis), step, upstream.control("bill")["total_nano"])


async def test_what_was_admitted_and_never_sent_is_given_back(
    redis_server: RedisServer, tmp_path: Path, upstream: SimulatorThread, key: str
) -> None:
    """Nobody knows of it but Redis: its lease ends with its worker's."""
    assert await child("live", redis_server, tmp_path, upstream.base_url, key, "admitted") == -signal.SIGKILL
    async with manager(redis_server) as redis, heirs_on(redis, tmp_path, upstream.base_url, key) as heirs:
        await all_done(heirs, tmp_path)
        booked = Booked(redis)
        assert await booked.numbers() == [1]
        assert await booked.running() == 1
        await sweep_dead(redis, heirs.signs)
        assert await booked.reserved("held", "running") == {}


async def test_a_worker_that_stops_leaves_only_what_is_open(
    redis_server: RedisServer, tmp_path: Path, upstream: SimulatorThread, key: str
) -> None:
    """Everything else is booked before it goes, and the journal is kept for that one call."""
    assert await child("live", redis_server, tmp_path, upstream.base_url, key, "stopped") == 0
    assert len(left(tmp_path)) == 1
    async with manager(redis_server) as redis:
        booked = Booked(redis)
        assert await booked.numbers() == [1, 2]
        async with heirs_on(redis, tmp_path, upstream.base_url, key) as heirs:
            await all_done(heirs, tmp_path)
            assert await booked.numbers() == [1, 2, 3]


async def test_a_worker_that_has_ended_all_leaves_nothing(
    redis_server: RedisServer, tmp_path: Path, upstream: SimulatorThread, key: str
) -> None:
    """Neither a journal nor a mark."""
    assert await child("live", redis_server, tmp_path, upstream.base_url, key, "") == 0
    assert left(tmp_path) == []
    async with manager(redis_server) as redis:
        assert await Booked(redis).numbers() == [1, 2]
        assert await Booked(redis).marks() == {}


@pytest.mark.parametrize("with_redis", [False, True])
async def test_killed_again_and_again_in_the_middle_of_calls(
    redis_server: RedisServer, tmp_path: Path, upstream: SimulatorThread, key: str, *, with_redis: bool
) -> None:
    """Workers, and Redis with them: each call has one entry, at the cost that upstream has billed or, unproven, at what
    it had reserved.
    """
    words = ["storm", redis_server.url, str(tmp_path), upstream.base_url, key, ""]
    dice = random.Random(7)

    def storm(lines: int) -> None:
        """Until it has told of so many calls; then Redis dies too."""
        reading, writing = os.pipe()
        with open(reading, "rb") as told, open(os.devnull, "r+b", buffering=0) as nothing:
            streams = (nothing, writing, nothing)
            process = forks.start(SETTLE_CHILD, words, cwd=ROOT, env=os.environ, streams=streams)
            os.close(writing)
            for _ in range(lines):
                assert told.readline()
            process.kill()
            if with_redis:
                redis_server.kill()
                redis_server.start()
            process.wait(10)

    for _ in range(3):
        await asyncio.to_thread(storm, dice.randrange(30, 150))
    async with manager(redis_server) as redis, heirs_on(redis, tmp_path, upstream.base_url, key) as heirs:
        await all_done(heirs, tmp_path)
        booked = Booked(redis)
        entries = await booked.entries()
        assert len({entry.id for entry in entries}) == len(entries) >= 90
        assert await booked.spent() == await booked.spent("c:ck_1") == sum(entry.cost_nano for entry in entries)
        bill = {row["id"]: row["cost_nano"] for row in upstream.control("bill")["rows"]}
        proven = {entry.generation_id: entry.cost_nano for entry in entries if entry.cost_kind is not CostKind.UNKNOWN}
        assert proven == {name: bill[name] for name in proven}
        unproven = [entry for entry in entries if entry.cost_kind is CostKind.UNKNOWN]
        assert all(entry.cost_nano == RESERVED.nano and not entry.generation_id for entry in unproven)
        assert len(bill) <= len(entries)
        await sweep_dead(redis, heirs.signs)
        assert await booked.reserved("held", "running") == {}


def orphan(folder: Path) -> CommitLog:
    """A journal whose owner is about to go."""
    log = CommitLog.create(folder / "journal")
    log.append(OPENED)
    return log


async def test_redis_comes_back_later_than_the_worker(
    redis_server: RedisServer, tmp_path: Path, upstream: SimulatorThread, key: str
) -> None:
    """The heir waits for it."""
    log = orphan(tmp_path)
    journalled(log, 1, cost_nano=7)
    log.append(packed(a_sent(2)))
    log.close()
    async with manager(redis_server) as redis:
        redis_server.kill()
        async with heirs_on(redis, tmp_path, upstream.base_url, key) as heirs:
            await until(lambda: heirs.recovery.waiting == 1)
            await asyncio.sleep(0.2)
            await asyncio.to_thread(redis_server.start)
            await all_done(heirs, tmp_path)
            assert await Booked(redis).spent() == 7 + RESERVED.nano


async def test_several_orphans_at_once(
    redis_server: RedisServer, tmp_path: Path, upstream: SimulatorThread, key: str
) -> None:
    """Numbers and holds of one are not those of another."""
    async with manager(redis_server) as redis:
        for _ in range(3):
            log = orphan(tmp_path)
            async with limits_on(redis, log.id) as limits:
                for number in (1, 2):
                    await limits.admit(str(number), PLAN, ("openai/gpt-4o",), "", RESERVED)
            journalled(log, 1, cost_nano=5, held=True)
            log.append(packed(a_sent(2)))
            log.close()
        async with heirs_on(redis, tmp_path, upstream.base_url, key) as heirs:
            await all_done(heirs, tmp_path)
            booked = Booked(redis)
            assert len(await booked.entries()) == 6
            assert await booked.spent() == 3 * (5 + RESERVED.nano)
            assert await booked.reserved() == {}


async def test_holds_that_redis_has_lost(
    redis_server: RedisServer, tmp_path: Path, upstream: SimulatorThread, key: str
) -> None:
    """Budgets of certain models hear of the cost all the same: the journal says which."""
    async with manager(redis_server) as redis:
        log = orphan(tmp_path)
        log.append(packed(a_sent(1, purses=(("c:ck_1~a", Span.TOTAL),))))
        log.close()
        async with heirs_on(redis, tmp_path, upstream.base_url, key) as heirs:
            await all_done(heirs, tmp_path)
            assert await Booked(redis).spent("c:ck_1~a") == RESERVED.nano
            workers = await redis.command("SMEMBERS", redis.keys.books("workers"))
            assert log.id.encode() not in workers


async def test_concurrency_is_free_at_once(
    redis_server: RedisServer, tmp_path: Path, upstream: SimulatorThread, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The money stays reserved until the cost is known."""
    monkeypatch.setattr(settler, "_PAUSES_S", (300.0,))
    async with manager(redis_server) as redis:
        log = orphan(tmp_path)
        async with limits_on(redis, log.id) as limits:
            await limits.admit("1", PLAN, ("openai/gpt-4o",), "", RESERVED)
        log.append(packed(a_sent(1)))
        log.append(packed(Named(1, "gen-1")))
        log.close()
        async with heirs_on(redis, tmp_path, upstream.base_url, key):
            booked = Booked(redis)
            async with asyncio.timeout(10):
                while await booked.running():
                    await asyncio.sleep(0.01)
            assert any("held" in name for name in await booked.reserved())
        # What was not done stays for the next start.
        assert left(tmp_path) == [log.id]
        assert await booked.numbers() == []


async def test_what_was_booked_and_lost_from_the_journal_is_not_booked_again(
    redis_server: RedisServer, tmp_path: Path, upstream: SimulatorThread, key: str
) -> None:
    """A power cut took the journal's tail, whose entries Redis has: the ledger proves them."""
    async with manager(redis_server) as redis:
        log = orphan(tmp_path)
        async with limits_on(redis, log.id) as limits:
            for number in (1, 2, 3):
                log.append(packed(a_sent(number)))
            cut = (tmp_path / "journal" / log.id / "0000000001.segment").read_bytes()
            shipper = settlement.Shipper(log, limits, AheadClock(), lambda _: True)
            for number in (1, 2):
                shipper.ship(journalled(log, number, cost_nano=9), soon=True)
            await shipper.done()
            await shipper.close()
        log.close()
        (tmp_path / "journal" / log.id / "0000000001.segment").write_bytes(cut)
        async with heirs_on(redis, tmp_path, upstream.base_url, key) as heirs:
            await all_done(heirs, tmp_path)
            assert await Booked(redis).numbers() == [1, 2, 3]
            assert await Booked(redis).spent() == 18 + RESERVED.nano


async def test_an_orphan_is_kept_until_redis_is_sure(
    redis_server: RedisServer, tmp_path: Path, upstream: SimulatorThread, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failover within a minute of the booking loses nothing."""
    monkeypatch.setattr(settlement, "_KEPT_S", 60.0)
    clock = AheadClock()
    log = orphan(tmp_path)
    journalled(log, 1, cost_nano=7)
    log.close()
    async with manager(redis_server) as redis:
        booked = Booked(redis)
        older = await snapshot(redis)
        async with heirs_on(redis, tmp_path, upstream.base_url, key, clock=clock):
            for _ in range(2):
                async with asyncio.timeout(10):
                    while await booked.spent() != 7:
                        await asyncio.sleep(0.01)
                await go_back(redis, older)
            async with asyncio.timeout(10):
                while await booked.spent() != 7:
                    await asyncio.sleep(0.01)
            assert left(tmp_path) == [log.id]
            await asyncio.sleep(0.2)
            assert left(tmp_path) == [log.id]
            async with asyncio.timeout(20):
                while left(tmp_path):
                    clock.ahead_s += 61  # more than once: Redis may have booked it before the heir has heard of that
                    await asyncio.sleep(0.1)
        assert await booked.numbers() == [1]


async def test_a_full_disk_holds_an_heir_up_and_loses_nothing(
    redis_server: RedisServer, tmp_path: Path, upstream: SimulatorThread, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It tries again until there is room for what closes a call."""
    log = orphan(tmp_path)
    for number in (1, 2, 3):
        log.append(packed(a_sent(number)))
    log.close()
    append, refused = CommitLog.append, 3

    def full(log: CommitLog, record: bytes) -> int:
        nonlocal refused
        if refused:
            refused -= 1
            raise LogFull(28, "full")
        return append(log, record)

    monkeypatch.setattr(CommitLog, "append", full)
    async with manager(redis_server) as redis, heirs_on(redis, tmp_path, upstream.base_url, key) as heirs:
        await all_done(heirs, tmp_path)
        assert refused == 0
        assert await Booked(redis).numbers() == [1, 2, 3]
        assert await Booked(redis).reserved() == {}


async def test_a_worker_beside_us_dies_later(
    redis_server: RedisServer,
    tmp_path: Path,
    upstream: SimulatorThread,
    key: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The folder is looked at again and again, whatever stands in the way meanwhile; a living owner's journal is left
    alone.
    """
    monkeypatch.setattr(recovery_module, "_LOOK_EVERY_S", 0.02)
    log = orphan(tmp_path)
    journalled(log, 1, cost_nano=3)
    orphans = CommitLog.orphans
    failures = [OSError(5, "disk")]

    def sometimes(*words: object, **more: object) -> list[CommitLog]:
        if failures:
            raise failures.pop()
        return orphans(*words, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(CommitLog, "orphans", sometimes)
    async with manager(redis_server) as redis, heirs_on(redis, tmp_path, upstream.base_url, key) as heirs:
        await until(lambda: "journals cannot be read" in caplog.text)
        await asyncio.sleep(0.1)
        assert left(tmp_path) == [log.id]
        log.close()
        await all_done(heirs, tmp_path)
        assert await Booked(redis).spent() == 3


async def test_closing_in_the_middle_of_a_look_gives_the_orphans_back(
    redis_server: RedisServer, tmp_path: Path, upstream: SimulatorThread, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that looks cannot be stopped; what it finds is closed again."""
    log = orphan(tmp_path)
    log.close()
    orphans = CommitLog.orphans

    def slow(*words: object, **more: object) -> list[CommitLog]:
        found = orphans(*words, **more)  # type: ignore[arg-type]
        signal_sent.set()
        go_on.wait(5)
        return found

    signal_sent, go_on = threading.Event(), threading.Event()
    monkeypatch.setattr(CommitLog, "orphans", slow)
    async with manager(redis_server) as redis:
        async with heirs_on(redis, tmp_path, upstream.base_url, key):
            await asyncio.to_thread(signal_sent.wait, 5)
            asyncio.get_running_loop().call_later(0.1, go_on.set)
        (again,) = orphans(tmp_path / "journal")
        assert again.id == log.id
        again.close()


async def test_a_dead_workers_holds_live_on_with_its_heir(
    redis_server: RedisServer, tmp_path: Path, upstream: SimulatorThread, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until its cost is known, no sweep gives back what the call has reserved."""
    monkeypatch.setattr(settler, "_PAUSES_S", (300.0,))
    async with manager(redis_server) as redis:
        log = orphan(tmp_path)
        dead = SignsOfLife(redis, log.id, lambda _: None)
        await dead.start()
        async with limits_on(redis, log.id) as limits:
            await limits.admit("1", PLAN, ("openai/gpt-4o",), "", RESERVED)
        await dead.close()
        log.append(packed(a_sent(1)))
        log.append(packed(Named(1, "gen-1")))
        log.close()
        async with heirs_on(redis, tmp_path, upstream.base_url, key) as heirs:
            booked = Booked(redis)
            async with asyncio.timeout(10):
                while await booked.running():
                    await asyncio.sleep(0.01)
            for _ in range(10):
                await heirs.signs.sweep()
            assert any("held" in name for name in await booked.reserved())
