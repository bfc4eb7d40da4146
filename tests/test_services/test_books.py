"""A call's account from its opening to its entry, on a real journal and a real Redis."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from app.core.clock import Clock, SystemClock
from app.core.commit_log import CommitLog, LogFull
from app.core.errors import GatewayError
from app.core.redis import RedisManager
from app.models.ledger import CostKind
from app.models.limits import Span
from app.models.usage import Usage
from app.services import books as books_module
from app.services import settlement
from app.services.account import Account
from app.services.books import Books
from app.services.limits import Limits
from app.services.settle_records import Closed, Named, Sent, Unpriced, open_calls, unpacked
from app.services.settler import Found
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager
from tests.test_services.settle_world import (
    PLAN,
    RESERVED,
    AheadClock,
    Booked,
    a_sent,
    an_entry,
    go_back,
    limits_on,
    snapshot,
)

PRICED = Usage(input_tokens=10, output_tokens=5, cost_nano=42)
SILENT = Usage(input_tokens=10, output_tokens=5)


@dataclass
class Asked:
    """In the settler's place: tests say when a price is found."""

    all: list[tuple[str, str, Found]] = field(default_factory=list)

    def ask(self, key_id: str, name: str, found: Found) -> None:
        self.all.append((key_id, name, found))


@dataclass
class Desk:
    """Books, and what they stand on."""

    books: Books
    journal: CommitLog
    limits: Limits
    asked: Asked
    booked: Booked
    folder: Path

    async def admitted(self) -> Account:
        account = self.books.open()
        account.held = True
        granted = await self.limits.admit(account.hold, PLAN, ("openai/gpt-4o",), "", RESERVED)
        account.nano, account.tokens = granted.nano, (RESERVED.input_tokens, RESERVED.output_tokens)
        return account

    def sent(self, account: Account, **changes: object) -> None:
        sent = a_sent(account.number, held=account.held, reserved_nano=account.nano, **changes)
        self.books.sending(account, sent)

    def settle(self, account: Account, usage: Usage | None, *, billable: bool = True, **changes: object) -> None:
        facts = {"reserved_nano": account.nano, "generation_id": account.generation_id, "key_id": "k1", **changes}
        self.books.settle(account, an_entry(self.journal.id, account.number, **facts), usage, billable=billable)

    def kinds(self) -> list[type]:
        found = [unpacked(text) for _, text in self.journal.read()]
        return [type(record) for record in found if record is not None]


@contextlib.asynccontextmanager
async def desk_on(
    redis: RedisManager, folder: Path, *, clock: Clock | None = None, sync: bool = False
) -> AsyncIterator[Desk]:
    clock = clock or SystemClock()
    journal = await Books.journal_in(folder, clock)
    async with limits_on(redis, journal.id) as limits:
        asked = Asked()
        books = Books(journal, limits, asked, clock, lambda _: True, sync=sync)  # type: ignore[arg-type]
        await books.start()
        try:
            yield Desk(books, journal, limits, asked, Booked(redis), folder / "journal")
        finally:
            await books.close()


def journals(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.is_dir()]


async def test_a_call_with_a_price_is_closed_at_once(redis_server: RedisServer, tmp_path: Path) -> None:
    """Three records, one booking; what was reserved is given back."""
    async with manager(redis_server) as redis, desk_on(redis, tmp_path) as desk:
        account = await desk.admitted()
        desk.sent(account)
        desk.books.named(account, "gen-1")
        assert desk.books.open_calls == 1
        desk.settle(account, PRICED)
        await desk.books.shipper.done()
        assert desk.kinds() == [Sent, Named, Closed]
        (entry,) = await desk.booked.entries()
        assert (entry.id, entry.cost_nano, entry.cost_kind) == (f"{desk.journal.id}-1", 42, CostKind.REPORTED)
        assert (entry.input_tokens, entry.output_tokens, entry.reserved_nano) == (10, 5, RESERVED.nano)
        assert await desk.booked.reserved() == {}
        assert desk.books.open_calls == 0


async def test_purses_go_with_every_record(redis_server: RedisServer, tmp_path: Path) -> None:
    """Whatever Redis forgets of the reservation, and however late the price is known."""
    purses = (("c:ck_1~a~u", Span.TOTAL),)
    async with manager(redis_server) as redis, desk_on(redis, tmp_path) as desk:
        account = await desk.admitted()
        account.purses = purses
        desk.sent(account, purses=purses)
        desk.books.named(account, "gen-1")
        desk.settle(account, SILENT)
        await redis.command("DEL", redis.keys.books("holds", desk.journal.id))
        desk.asked.all[0][2](PRICED)
        await desk.books.shipper.done()
        found = [unpacked(text) for _, text in desk.journal.read()]
        assert [one.purses for one in found if isinstance(one, Sent | Unpriced | Closed)] == [purses] * 3
        assert await desk.booked.spent("c:ck_1~a~u") == 42


async def test_opening_writes_nothing(redis_server: RedisServer, tmp_path: Path) -> None:
    """A call that comes to nothing costs a number."""
    async with manager(redis_server) as redis, desk_on(redis, tmp_path) as desk:
        before = desk.journal.last
        first, second = desk.books.open(), desk.books.open()
        assert (first.number, second.number, desk.journal.last) == (1, 2, before)
        assert (first.id, first.hold) == (f"{desk.journal.id}-1", "1")


async def test_settling_twice_books_once(redis_server: RedisServer, tmp_path: Path) -> None:
    """Whoever comes second changes nothing."""
    async with manager(redis_server) as redis, desk_on(redis, tmp_path) as desk:
        account = await desk.admitted()
        desk.sent(account)
        desk.settle(account, PRICED)
        desk.settle(account, Usage(cost_nano=99))
        await desk.books.shipper.done()
        assert await desk.booked.spent() == 42
        assert await desk.booked.numbers() == [1]


async def test_what_was_refused_has_an_entry_all_the_same(redis_server: RedisServer, tmp_path: Path) -> None:
    """It was never sent, and costs nothing."""
    async with manager(redis_server) as redis, desk_on(redis, tmp_path) as desk:
        account = desk.books.open()
        desk.settle(account, None, billable=True, outcome="refused", status=402)
        await desk.books.shipper.done()
        (entry,) = await desk.booked.entries()
        assert (entry.outcome, entry.cost_nano, entry.cost_kind) == ("refused", 0, CostKind.NONE)
        assert desk.kinds() == [Closed]
        assert desk.asked.all == []


async def test_a_call_that_failed_costs_nothing(redis_server: RedisServer, tmp_path: Path) -> None:
    """Upstream does not charge for it, so its reservation is released and not charged."""
    async with manager(redis_server) as redis, desk_on(redis, tmp_path) as desk:
        account = await desk.admitted()
        desk.sent(account)
        desk.settle(account, SILENT, billable=False, outcome="failed")
        await desk.books.shipper.done()
        (entry,) = await desk.booked.entries()
        assert (entry.cost_nano, entry.cost_kind, entry.input_tokens) == (0, CostKind.NONE, 10)
        assert await desk.booked.reserved() == {}


async def test_a_price_that_is_not_told_is_asked_for(redis_server: RedisServer, tmp_path: Path) -> None:
    """With the last key asked; the call counts no more as running, and its money stays reserved until then."""
    async with manager(redis_server) as redis, desk_on(redis, tmp_path) as desk:
        account = await desk.admitted()
        desk.sent(account)
        desk.sent(account, key_id="k2")
        desk.books.named(account, "gen-7")
        desk.settle(account, SILENT, outcome="left")
        ((key_id, name, found),) = desk.asked.all
        assert (key_id, name) == ("k2", "gen-7")
        async with asyncio.timeout(10):
            while await desk.booked.running():
                await asyncio.sleep(0.01)
        assert any("held" in one for one in await desk.booked.reserved())
        assert await desk.booked.numbers() == []
        found(Usage(input_tokens=11, output_tokens=6, cost_nano=77))
        await desk.books.shipper.done()
        (entry,) = await desk.booked.entries()
        assert (entry.cost_nano, entry.cost_kind, entry.outcome) == (77, CostKind.LOOKED_UP, "left")
        assert (entry.input_tokens, entry.key_id) == (11, "k2")
        assert await desk.booked.reserved() == {}
        assert desk.kinds() == [Sent, Sent, Named, Unpriced, Closed]


@pytest.mark.parametrize("named", [True, False])
async def test_what_cannot_be_found_out_is_charged_as_reserved(
    redis_server: RedisServer, tmp_path: Path, *, named: bool
) -> None:
    """And says so, so that reconciliation can correct it."""
    async with manager(redis_server) as redis, desk_on(redis, tmp_path) as desk:
        account = await desk.admitted()
        desk.sent(account)
        if named:
            desk.books.named(account, "gen-7")
        desk.settle(account, None, outcome="left")
        for _, _, found in desk.asked.all:
            found(None)
        await desk.books.shipper.done()
        (entry,) = await desk.booked.entries()
        assert (entry.cost_nano, entry.cost_kind, entry.flags) == (RESERVED.nano, CostKind.UNKNOWN, ("unproven",))
        assert (entry.input_tokens, entry.output_tokens) == (100, 50)
        assert await desk.booked.reserved() == {}


async def test_figures_that_cannot_be_true_count_as_reserved(redis_server: RedisServer, tmp_path: Path) -> None:
    """Against limits of tokens; the ledger shows what was said, and the flag."""
    async with manager(redis_server) as redis, desk_on(redis, tmp_path) as desk:
        account = await desk.admitted()
        desk.sent(account)
        desk.settle(account, Usage(output_tokens=60, cost_nano=1, flags=("negative:input_tokens",)))
        await desk.books.shipper.done()
        (entry,) = await desk.booked.entries()
        assert (entry.input_tokens, entry.output_tokens, entry.flags) == (0, 60, ("negative:input_tokens",))
        closed = next(one for _, text in desk.journal.read() if isinstance(one := unpacked(text), Closed))
        assert (closed.input_tokens, closed.output_tokens) == (100, 60)


async def test_shutting_down_ships_what_there_is(redis_server: RedisServer, tmp_path: Path) -> None:
    """With all of it booked neither journal nor mark is left."""
    async with manager(redis_server) as redis:
        async with desk_on(redis, tmp_path) as desk:
            for _ in range(100):
                desk.settle(desk.books.open(), None, billable=False)
        assert len(await desk.booked.entries()) == 100
        assert journals(desk.folder) == []
        assert await desk.booked.marks() == {}


async def test_shutting_down_without_redis_keeps_the_journal(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits a moment, and the next start books the rest."""
    monkeypatch.setattr(books_module, "_DRAIN_S", 0.2)
    async with manager(redis_server) as redis:
        async with desk_on(redis, tmp_path) as desk:
            redis_server.kill()
            desk.settle(desk.books.open(), None, billable=False)
        assert journals(desk.folder) == [desk.journal.id]


async def test_shutting_down_with_a_price_unknown(redis_server: RedisServer, tmp_path: Path) -> None:
    """The journal is kept with what is known of the call; an answer that comes late is not taken."""
    async with manager(redis_server) as redis:
        async with desk_on(redis, tmp_path) as desk:
            account = await desk.admitted()
            desk.sent(account)
            desk.books.named(account, "/videos/v1")
            desk.settle(account, None, outcome="served", generation_id="gen-v")
        ((_, _, found),) = desk.asked.all
        found(PRICED)
        (orphan,) = CommitLog.orphans(desk.folder)
        (call,) = open_calls(orphan.id, (text for _, text in orphan.read()))
        assert (call.generation_id, call.entry.outcome, call.entry.generation_id) == ("/videos/v1", "served", "gen-v")
        orphan.close()


async def test_the_journal_is_forgotten_behind_what_is_booked(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that runs on holds it back, until it is written down once more."""
    monkeypatch.setattr(books_module, "_CARRY_AFTER", 300)
    monkeypatch.setattr(settlement, "_KEPT_S", 0.0)
    clock = AheadClock()
    async with manager(redis_server) as redis, desk_on(redis, tmp_path, clock=clock) as desk:
        early, unpriced = await desk.admitted(), await desk.admitted()
        for account in (early, unpriced):
            desk.sent(account)
            desk.books.named(account, f"gen-{account.number}")
        desk.settle(unpriced, None)
        forgotten: list[int] = []
        monkeypatch.setattr(desk.journal, "forget", forgotten.append)
        for _ in range(100):
            account = await desk.admitted()
            desk.sent(account)
            desk.settle(account, PRICED)
        await desk.books.shipper.done()
        desk.books._carry()
        await desk.books._forget()
        assert forgotten == [early.first_sequence - 1]
        for _ in range(400):
            desk.settle(desk.books.open(), None, billable=False)
        await desk.books.shipper.done()
        booked = desk.books.shipper.booked
        desk.books._carry()
        await desk.books._forget()
        assert forgotten[1:] == [booked]
        assert early.first_sequence > booked
        behind = open_calls(desk.journal.id, (text for _, text in desk.journal.read(booked)))
        assert [(call.number, call.generation_id, call.entry.outcome) for call in behind] == [
            (1, "gen-1", "failed"),
            (2, "gen-2", "served"),
        ]
        desk.books._carry()
        assert desk.journal.last == booked + 5


async def test_the_journal_is_tidied_in_the_background(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bookings that Redis has lost are found out by the way, with no call under way, and while Redis is away nothing
    is forgotten.
    """
    monkeypatch.setattr(books_module, "_TIDY_EVERY_S", 0.02)
    async with manager(redis_server) as redis, desk_on(redis, tmp_path) as desk:
        older = await snapshot(redis)
        for _ in range(5):
            desk.settle(desk.books.open(), None, billable=False)
        await desk.books.shipper.done()
        await go_back(redis, older)
        async with asyncio.timeout(10):
            while len(await desk.booked.entries()) < 5:
                await asyncio.sleep(0.01)
        redis_server.kill()
        await asyncio.sleep(0.1)
        await asyncio.to_thread(redis_server.start)


class NoRoom:
    """A disk without room, from a test's word on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.warned = False
        self.refuses = False
        append = CommitLog.append

        def limited(log: CommitLog, record: bytes) -> int:
            if self.refuses:
                raise LogFull(28, "full")
            return append(log, record)

        monkeypatch.setattr(CommitLog, "append", limited)
        monkeypatch.setattr(CommitLog, "full", property(lambda _: self.warned))


@pytest.mark.parametrize("how", ["warned", "refuses"])
async def test_a_full_disk_lets_no_budget_go_uncounted(
    redis_server: RedisServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    how: str,
) -> None:
    """Calls that have reserved something are refused, and not charged; the others go on, counted and warned about once.
    What runs already is closed as ever.
    """
    caplog.set_level(logging.INFO)
    room = NoRoom(monkeypatch)
    async with manager(redis_server) as redis, desk_on(redis, tmp_path) as desk:
        running = await desk.admitted()
        desk.sent(running)
        setattr(room, how, True)
        refused = await desk.admitted()
        with pytest.raises(GatewayError) as caught:
            desk.sent(refused)
        assert (caught.value.status, caught.value.error_type) == (503, "journal_full")
        desk.settle(refused, None, billable=True, outcome="failed")
        for _ in range(3):
            free = desk.books.open()
            desk.sent(free)
            desk.books.named(free, "gen-f")
            desk.settle(free, PRICED)
        assert desk.books.unwritten == 3
        desk.settle(running, PRICED)
        await desk.books.shipper.done()
        by_number = {entry.id.rpartition("-")[2]: entry.cost_nano for entry in await desk.booked.entries()}
        assert by_number == {"1": 42, "2": 0, "3": 42, "4": 42, "5": 42}
        assert await desk.booked.reserved() == {}
        assert caplog.text.count("journal is full") == 1
        setattr(room, how, False)
        account = await desk.admitted()
        desk.sent(account)
        desk.settle(account, PRICED)
        assert caplog.text.count("journal writes again") == 1


@pytest.mark.parametrize("sync", [True, False])
async def test_proof_on_disk_is_waited_for_where_asked(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, sync: bool
) -> None:
    """A sync that fails lets no answer out."""
    async with manager(redis_server) as redis, desk_on(redis, tmp_path, sync=sync) as desk:
        account = desk.books.open()
        desk.sent(account)
        await desk.books.proven()
        assert not sync or desk.journal.durable == desk.journal.last

        async def broken(_: CommitLog) -> None:
            raise OSError(5, "disk")

        with monkeypatch.context() as patch:
            patch.setattr(CommitLog, "synced", broken)
            if sync:
                with pytest.raises(GatewayError):
                    await desk.books.proven()
            else:
                await desk.books.proven()
        desk.settle(account, None, billable=False)
