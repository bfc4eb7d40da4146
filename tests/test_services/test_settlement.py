"""What is closed reaches Redis in order, and once, whatever Redis does meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from app.core.clock import SystemClock
from app.core.redis import RedisUnavailable
from app.models.limits import Span
from app.services import settlement
from app.services.limit_script import Batch, Settled
from app.services.limits import Limits
from app.services.settle_records import OPENED, Closed, entry_packed, packed
from app.services.settlement import Shipper
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager
from tests.test_services.settle_world import (
    PLAN,
    RESERVED,
    AheadClock,
    Booked,
    a_journal,
    a_sent,
    an_entry,
    go_back,
    journalled,
    limits_on,
    snapshot,
)


def shipper_of(log: object, limits: object, clock: SystemClock | None = None, booked: int = 0) -> Shipper:
    return Shipper(log, limits, clock or SystemClock(), lambda _: True, booked=booked)  # type: ignore[arg-type]


class Tapped:
    """The real limits; batches can be counted, and their answers lost on the way."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.batches: list[Batch] = []
        self.lose_answers = 0
        self.refuse = False

    def settle(self, batch: Batch) -> asyncio.Future[int]:
        self.batches.append(batch)
        return asyncio.ensure_future(self._settle(batch))

    async def _settle(self, batch: Batch) -> int:
        if self.refuse:
            raise RedisUnavailable("away")
        mark = await self._limits.settle(batch)
        if self.lose_answers:
            self.lose_answers -= 1
            raise RedisUnavailable("timeout")
        return mark

    async def mark_of(self, journal: str) -> int:
        return await self._limits.mark_of(journal)


async def until(true: object, within_s: float = 20.0) -> None:
    """Asks again until it is so."""
    async with asyncio.timeout(within_s):
        while not true():  # type: ignore[operator]
            await asyncio.sleep(0.005)


async def test_entries_are_booked_in_order_and_once(redis_server: RedisServer, tmp_path: Path) -> None:
    """A batch carries what is there; records between entries leave gaps in the numbers."""
    async with manager(redis_server) as redis, limits_on(redis, "j") as limits:
        with a_journal(tmp_path) as log:
            log.append(OPENED)
            shipper = shipper_of(log, limits)
            assert shipper.idle
            for number in range(1, 8):
                log.append(packed(a_sent(number)))
                shipper.ship(journalled(log, number, cost_nano=10), soon=number == 7)
            assert shipper.waiting == 7
            await shipper.done()
            booked = Booked(redis)
            assert await booked.numbers() == list(range(1, 8))
            assert await booked.spent() == await booked.spent("c:ck_1") == 70
            assert await booked.marks() == {log.id: log.last} == {log.id: shipper.booked}
            await shipper.close()


async def test_the_first_mark_is_no_calls(redis_server: RedisServer, tmp_path: Path) -> None:
    """So that a batch which comes late finds no mark to move on from when the journal and its mark are gone."""
    async with manager(redis_server) as redis, limits_on(redis, "j") as limits:
        with a_journal(tmp_path) as log:
            log.append(OPENED)
            tapped = Tapped(limits)
            shipper = shipper_of(log, tapped)
            shipper.ship(journalled(log, 1, cost_nano=10), soon=True)
            await shipper.done()
            await shipper.close()
            opening, first = tapped.batches
            assert (opening.after, opening.upto, opening.entries) == (0, 1, ())
            assert (first.after, first.upto) == (1, 2)
            await limits.forget_journal(log.id)
            assert await limits.settle(first) == 0
            assert await Booked(redis).spent() == 10


@pytest.mark.parametrize("lost", [1, 3])
async def test_an_answer_that_is_lost_books_nothing_twice(
    redis_server: RedisServer, tmp_path: Path, lost: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch was booked and nobody heard of it: the next one, with more in it, goes on behind it."""
    monkeypatch.setattr(settlement, "_RETRY_S", 0.01)
    async with manager(redis_server) as redis, limits_on(redis, "j") as limits:
        with a_journal(tmp_path) as log:
            log.append(OPENED)
            tapped = Tapped(limits)
            shipper = shipper_of(log, tapped)
            shipper.ship(journalled(log, 1), soon=True)
            await shipper.done()
            tapped.lose_answers = lost
            shipper.ship(journalled(log, 2), soon=True)
            await until(lambda: tapped.lose_answers < lost)
            for number in range(3, 6):
                shipper.ship(journalled(log, number), soon=True)
            await shipper.done()
            assert await Booked(redis).numbers() == [1, 2, 3, 4, 5]
            assert await Booked(redis).spent() == 5
            await shipper.close()


async def test_holds_are_given_back_with_the_booking(redis_server: RedisServer, tmp_path: Path) -> None:
    """What a call has reserved is replaced by what it has cost, and its tokens by those it has used."""
    async with manager(redis_server) as redis:
        with a_journal(tmp_path) as log:
            async with limits_on(redis, log.id) as limits:
                log.append(OPENED)
                shipper = shipper_of(log, limits)
                for number in (1, 2):
                    await limits.admit(str(number), PLAN, ("openai/gpt-4o-mini",), "", RESERVED)
                booked = Booked(redis)
                assert await booked.running() == 2
                shipper.ship(journalled(log, 1, cost_nano=77, held=True), soon=True)
                await shipper.done()
                assert await booked.running() == 1
                shipper.ship(journalled(log, 2, cost_nano=1, held=True), soon=True)
                await shipper.done()
                assert await booked.reserved() == {}
                assert await booked.spent() == 78
                await shipper.close()


async def test_many_are_sent_in_bounded_batches(redis_server: RedisServer, tmp_path: Path) -> None:
    """What is more than a batch waits its turn, and what is more than the memory is read from the journal."""
    async with manager(redis_server) as redis, limits_on(redis, "j") as limits:
        with a_journal(tmp_path) as log, pytest.MonkeyPatch.context() as patch:
            patch.setattr(settlement, "_MOST_AT_ONCE", 50)
            patch.setattr(settlement, "_MOST_IN_MEMORY", 120)
            log.append(OPENED)
            tapped = Tapped(limits)
            tapped.refuse = True
            shipper = shipper_of(log, tapped)
            for number in range(1, 1001):
                log.append(packed(a_sent(number)))
                shipper.ship(journalled(log, number), soon=False)
            assert shipper.waiting == 120
            assert not shipper.idle
            tapped.refuse = False
            await shipper.done()
            for number in range(1001, 1011):
                shipper.ship(journalled(log, number), soon=False)
            await shipper.done()
            assert await Booked(redis).numbers() == list(range(1, 1011))
            assert max(len(batch.entries) for batch in tapped.batches) == 50
            await shipper.close()


async def test_redis_away_for_a_while(redis_server: RedisServer, tmp_path: Path) -> None:
    """Nothing is lost and nothing is booked twice; with Redis back it goes on by itself."""
    async with manager(redis_server) as redis, limits_on(redis, "j") as limits:
        with a_journal(tmp_path) as log:
            log.append(OPENED)
            shipper = shipper_of(log, limits)
            shipper.ship(journalled(log, 1), soon=True)
            await shipper.done()
            redis_server.kill()
            for number in range(2, 50):
                shipper.ship(journalled(log, number), soon=True)
            assert not await shipper.drain(0.3)
            assert shipper.waiting == 48
            await asyncio.to_thread(redis_server.start)
            assert await shipper.drain(20)
            assert await Booked(redis).numbers() == list(range(1, 50))
            assert await Booked(redis).spent() == 49
            await shipper.close()


async def test_a_redis_that_hangs_books_once(redis_server: RedisServer, tmp_path: Path) -> None:
    """What was sent before it hung is carried out when it wakes, and so is what was sent again."""
    async with manager(redis_server) as redis, limits_on(redis, "j") as limits:
        with a_journal(tmp_path) as log:
            log.append(OPENED)
            shipper = shipper_of(log, limits)
            redis_server.pause()
            try:
                for number in range(1, 10):
                    shipper.ship(journalled(log, number), soon=True)
                assert not await shipper.drain(3)
            finally:
                redis_server.resume()
            assert await shipper.drain(20)
            assert await Booked(redis).numbers() == list(range(1, 10))
            assert await Booked(redis).spent() == 9
            await shipper.close()


@pytest.mark.parametrize("traffic", [True, False])
async def test_bookings_that_a_failover_lost_are_sent_again(
    redis_server: RedisServer, tmp_path: Path, *, traffic: bool
) -> None:
    """Redis is back at an older state: its mark tells from where on, with the next batch or the next look."""
    async with manager(redis_server) as redis:
        with a_journal(tmp_path) as log:
            async with limits_on(redis, log.id) as limits:
                log.append(OPENED)
                shipper = shipper_of(log, limits)
                await limits.admit("7", PLAN, ("openai/gpt-4o-mini",), "", RESERVED)
                for number in range(1, 6):
                    shipper.ship(journalled(log, number), soon=True)
                await shipper.done()
                older = await snapshot(redis)
                for number in range(6, 9):
                    shipper.ship(journalled(log, number, held=number == 7), soon=True)
                await shipper.done()
                booked = Booked(redis)
                assert await booked.reserved() == {}
                await go_back(redis, older)
                assert await booked.numbers() == [1, 2, 3, 4, 5]
                assert await booked.running() == 1
                if traffic:
                    shipper.ship(journalled(log, 9), soon=True)
                else:
                    assert await shipper.confirm() == 0
                await shipper.done()
                assert await booked.numbers() == [1, 2, 3, 4, 5, 6, 7, 8] + [9] * traffic
                assert await booked.spent() == 8 + traffic
                assert await booked.reserved() == {}
                await shipper.close()


async def test_a_redis_that_lost_everything_gets_what_there_is(redis_server: RedisServer, tmp_path: Path) -> None:
    """Back to nothing, it is sent all that the journal still holds."""
    async with manager(redis_server) as redis, limits_on(redis, "j") as limits:
        with a_journal(tmp_path) as log:
            log.append(OPENED)
            shipper = shipper_of(log, limits)
            for number in range(1, 6):
                shipper.ship(journalled(log, number), soon=True)
            await shipper.done()
            await go_back(redis, {})
            await shipper.confirm()
            await shipper.done()
            assert await Booked(redis).numbers() == [1, 2, 3, 4, 5]
            await shipper.close()


async def test_what_was_booked_is_kept_for_a_minute(redis_server: RedisServer, tmp_path: Path) -> None:
    """Only then may the journal be forgotten, and only as far as Redis says."""
    clock = AheadClock()
    async with manager(redis_server) as redis, limits_on(redis, "j") as limits:
        with a_journal(tmp_path) as log:
            log.append(OPENED)
            shipper = shipper_of(log, limits, clock)
            shipper.ship(journalled(log, 1), soon=True)
            await shipper.done()
            clock.ahead_s = 30
            shipper.ship(journalled(log, 2), soon=True)
            await shipper.done()
            assert await shipper.confirm() == 0
            clock.ahead_s = 61
            assert await shipper.confirm() == 2
            assert await shipper.confirm() == 2
            clock.ahead_s = 91
            assert await shipper.confirm() == 3 == shipper.booked
            await redis.command("HSET", redis.keys.books("applied"), log.id, 2)
            assert await shipper.confirm() == 2
            await shipper.done()
            await shipper.close()


async def test_what_was_booked_by_an_earlier_owner_counts_from_now(redis_server: RedisServer, tmp_path: Path) -> None:
    """Nobody knows when that was."""
    clock = AheadClock()
    async with manager(redis_server) as redis, limits_on(redis, "j") as limits:
        with a_journal(tmp_path) as log:
            log.append(OPENED)
            journalled(log, 1)
            await limits.settle(Batch(log.id, 0, 2))
            shipper = shipper_of(log, limits, clock, booked=2)
            shipper.catch_up()
            await shipper.done()
            assert await Booked(redis).numbers() == []
            assert await shipper.confirm() == 0
            clock.ahead_s = 61
            assert await shipper.confirm() == 2
            await shipper.close()


async def test_what_the_disk_had_no_room_for_is_sent_from_memory(redis_server: RedisServer, tmp_path: Path) -> None:
    """In its place among the others, and again if Redis has lost it."""
    async with manager(redis_server) as redis, limits_on(redis, "j") as limits:
        with a_journal(tmp_path) as log:
            log.append(OPENED)
            shipper = shipper_of(log, limits)
            shipper.ship(journalled(log, 1), soon=True)
            await shipper.done()
            older = await snapshot(redis)
            with a_journal(tmp_path / "other") as other:
                parcel = journalled(other, 2)
            parcel.sequence = log.last + 1
            log.advance(parcel.sequence)
            shipper.ship(parcel, soon=False, written=False)
            shipper.ship(journalled(log, 3), soon=True)
            await shipper.done()
            await go_back(redis, older)
            shipper.ship(journalled(log, 4), soon=True)
            await shipper.done()
            assert await Booked(redis).numbers() == [1, 2, 3, 4]
            await shipper.close()


async def test_what_cannot_be_read_holds_nothing_up(
    redis_server: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An entry of another release is told of and passed over."""
    async with manager(redis_server) as redis, limits_on(redis, "j") as limits:
        with a_journal(tmp_path) as log:
            log.append(OPENED)
            journalled(log, 1)
            log.append(packed(Closed(2, msgspec.Raw(b"\x91\x01"))))
            journalled(log, 3)
            shipper = shipper_of(log, limits)
            shipper.catch_up()
            await shipper.done()
            assert await Booked(redis).numbers() == [1, 3]
            assert "journalled entry unreadable" in caplog.text
            await shipper.close()


async def test_purses_are_booked_without_a_hold(redis_server: RedisServer, tmp_path: Path) -> None:
    """What a call has cost reaches budgets of its models and users though Redis never heard of its reservation."""
    async with manager(redis_server) as redis, limits_on(redis, "j") as limits:
        with a_journal(tmp_path) as log:
            shipper = shipper_of(log, limits)
            log.append(OPENED)
            for number, held in enumerate((True, False), 1):
                entry = an_entry(log.id, number, cost_nano=21)
                closed = Closed(number, msgspec.Raw(entry_packed(entry)), held, (), 0, 0, (("c:ck_1~a", Span.TOTAL),))
                log.append(packed(closed))
            shipper.catch_up()
            await shipper.done()
            assert await Booked(redis).spent("c:ck_1~a") == 42
            assert await Booked(redis).reserved() == {}
            await shipper.close()


async def test_doubtful_tokens_count_as_reserved(redis_server: RedisServer, tmp_path: Path) -> None:
    """The ledger shows what was said; limits count at least what was reserved."""
    async with manager(redis_server) as redis, limits_on(redis, "j") as limits:
        with a_journal(tmp_path) as log:
            parcel = journalled(log, 1, held=True, input_tokens=3, output_tokens=60)
            parcel.closed = Closed(1, parcel.closed.entry, True, (), 100, 50)
            tapped = Tapped(limits)
            shipper = shipper_of(log, tapped)
            shipper.ship(parcel, soon=True)
            await shipper.done()
            (batch,) = tapped.batches
            assert batch.items == [Settled("1", 100, 60, 1)]
            assert (await Booked(redis).entries())[0].input_tokens == 3
            await shipper.close()
