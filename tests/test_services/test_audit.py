"""The audit in a real Redis: links by many workers at once, entries in passing, listing, checking."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import msgspec
import pytest

from app.core.clock import SystemClock
from app.core.redis import RedisManager, RedisOptions
from app.models.keys import ClientKey
from app.models.limits import Group
from app.models.marks import Mark, MarkKind, Scope
from app.models.renewal import Entry, Kind, Step
from app.services import audit
from app.services.audit import NO_LINK, Audit, MovedError, Words
from app.services.audit_chain import Break, Deed, Flaw
from app.services.journal import Journal
from app.services.key_store import ConflictError, KeyStore
from app.services.marks import FOREVER_S, Marks, clear_mark
from app.services.switches import Switch, Switches
from tests.redis_server import RedisServer
from tests.test_core.test_redis import cluster
from tests.test_services.conftest import manager

__all__ = ["cluster"]

DEED = Deed(at=1.0, by="test", deed="create", kind="client", id="ck", name="n")


def client(number: int) -> ClientKey:
    return ClientKey(id=f"ck_{number}", name=f"n{number}", digest="ab", masked="m")


async def loose(redis: RedisManager, text: str = "in passing") -> None:
    """As scripts do that note deeds beside their work."""
    entry = msgspec.json.encode(msgspec.structs.replace(DEED, deed=text))
    await redis.command("XADD", redis.keys.audit, "*", "entry", entry)


@contextlib.asynccontextmanager
async def chained(server: RedisServer) -> AsyncIterator[tuple[RedisManager, Audit, list[str]]]:
    """Five links, with two loose entries behind the second; their ids."""
    async with manager(server) as redis:
        store = KeyStore(redis)
        for number in range(5):
            await store.clients.put(client(number), DEED)
            if number == 1:
                await loose(redis)
                await loose(redis)
        ids = [noted.id async for noted in store.audit.entries()][::-1]
        yield redis, store.audit, ids


def disabled(subject: str) -> Mark:
    return Mark(scope=Scope.KEY, subject=subject, kind=MarkKind.DISABLED, until_s=FOREVER_S, reason="unknown", at_s=1.0)


async def test_every_deed_is_a_link(redis_server: RedisServer) -> None:
    """Changes of records, switches, marks that disable or are cleared, and the steps of renewals: none is loose."""
    async with manager(redis_server) as redis:
        store, marks, journal = KeyStore(redis), Marks(redis, SystemClock()), Journal(redis)
        await store.clients.put(client(1), DEED)
        await Switches(redis, SystemClock()).set(Switch.STRATEGY, "tiers", by="ann")
        cool = msgspec.structs.replace(disabled("cool"), kind=MarkKind.COOL)
        marks.put([cool, disabled("a"), disabled("b")])
        marks.clear(Scope.KEY, "cool", "probe")
        await marks.flush()
        await clear_mark(redis, SystemClock(), Scope.KEY, "a", "ann")
        await clear_mark(redis, SystemClock(), Scope.KEY, "unknown", "ann")
        entry = await journal.entries.put(Entry(kind=Kind.RENEW, step=Step.CREATE, key="old"), DEED)
        await journal.entries.put(msgspec.structs.replace(entry, step=Step.GUARD))
        with pytest.raises(ConflictError):
            await journal.entries.put(entry, DEED)
        await store.clients.put(client(2), DEED)
        await marks.close()

        check = await store.audit.verify()

        assert check.intact
        assert (check.links, check.sealed, check.open) == (7, 0, 0)
        deeds = [noted.deed.deed async for noted in store.audit.entries() if noted.deed]
        assert deeds[::-1] == ["create", "switch", "mark", "mark", "clear", "create", "create"]


async def test_a_mark_that_others_knew_better_is_noted_all_the_same(redis_server: RedisServer) -> None:
    """This worker takes it for a cool one and sends no link along; the next one seals the entry."""
    async with manager(redis_server) as redis:
        one, other, store = Marks(redis, SystemClock()), Marks(redis, SystemClock()), KeyStore(redis)
        one.put([msgspec.structs.replace(disabled("a"), kind=MarkKind.COOL)])
        await one.flush()
        other.put([disabled("a")])
        await other.flush()
        one.clear(Scope.KEY, "a", "ann")
        await one.flush()
        check = await store.audit.verify()
        assert (check.intact, check.links, check.open) == (True, 1, 1)
        await store.clients.put(client(1), DEED)
        check = await store.audit.verify()
        assert (check.intact, check.links, check.sealed) == (True, 2, 1)
        await one.close()
        await other.close()


async def test_a_busy_audit_holds_nothing_up(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """Where somebody is faster every time, the deed is done and noted without a link."""
    async with manager(redis_server) as redis:
        store = KeyStore(redis)
        await store.clients.put(client(1), DEED)
        tried: list[Words] = []

        async def run(link: Words) -> tuple[bytes, str]:
            tried.append(link)
            if link != NO_LINK:
                raise MovedError
            await loose(redis)
            return b"", "done"

        assert await store.audit.append(b"{}", run, tries=3) == "done"
        assert len(tried) == 4
        assert "audit is busy" in caplog.text
        await store.clients.put(client(2), DEED)
        check = await store.audit.verify()
        assert (check.intact, check.links, check.sealed) == (True, 2, 1)


async def test_links_and_entries_in_passing_are_one_chain(redis_server: RedisServer) -> None:
    """What stands between two links without being one is sealed by the second."""
    async with manager(redis_server) as redis:
        await loose(redis, "before the chain")
        store = KeyStore(redis)
        switches = Switches(redis, SystemClock())
        stored, _ = await store.clients.put(client(1), DEED)
        await switches.set(Switch.STRATEGY, "tiers", by="ann")
        await loose(redis)
        await store.clients.drop(stored, DEED)
        await loose(redis)

        check = await store.audit.verify()

        assert check.intact
        assert (check.before, check.links, check.sealed, check.open) == (1, 3, 1, 1)
        listed = [noted async for noted in store.audit.entries()]
        assert [noted.linked for noted in listed] == [False, True, False, True, True, False]
        assert [noted.deed.by for noted in listed if noted.deed] == ["test", "test", "test", "ann", "test", "test"]


async def test_many_workers_make_one_chain(redis_server: RedisServer) -> None:
    """At the same time, with entries in passing between them: nothing is lost, and the chain holds."""
    async with contextlib.AsyncExitStack() as stack:
        managers = [await stack.enter_async_context(manager(redis_server)) for _ in range(4)]
        stores = [KeyStore(redis) for redis in managers]

        async def work(place: int) -> None:
            for number in range(15):
                await stores[place].clients.put(client(100 * place + number), DEED)
                if number % 5 == 0:
                    await loose(managers[place])

        await asyncio.gather(*(work(place) for place in range(4)))
        check = await stores[0].audit.verify()
        assert check.intact
        assert check.links == 60
        assert check.sealed + check.open == 12
        assert len(await stores[0].clients.load({})) == 60


async def test_a_refused_change_is_no_link(redis_server: RedisServer) -> None:
    """And the next one follows all the same."""
    async with manager(redis_server) as redis:
        store = KeyStore(redis)
        await store.clients.put(client(1), DEED)
        with pytest.raises(ConflictError):
            await store.clients.put(client(1), DEED)
        await store.clients.put(client(2), DEED)
        check = await store.audit.verify()
        assert check.intact
        assert check.links == 2


async def test_a_removed_entry_is_found(redis_server: RedisServer) -> None:
    """A link in the middle, a loose one, and the newest."""
    async with chained(redis_server) as (redis, book, ids):
        assert len(ids) == 7
        intact = await book.verify()
        assert (await book.verify(known=intact.last.hash)).intact
        await redis.command("XDEL", redis.keys.audit, ids[2])
        assert (await book.verify()).breaks == [Break(ids[4], Flaw.CHANGED)]
        await redis.command("XDEL", redis.keys.audit, ids[4])
        assert (await book.verify()).breaks == [Break(ids[5], Flaw.GAP)]
        await redis.command("XDEL", redis.keys.audit, ids[6])
        assert (await book.verify()).breaks == [Break(ids[5], Flaw.GAP), Break(ids[6], Flaw.SHORTENED)]
        await KeyStore(redis).clients.put(client(9), DEED)
        assert [one.flaw for one in (await book.verify()).breaks] == [Flaw.GAP, Flaw.GAP]


async def test_a_chain_that_was_replaced_is_found(redis_server: RedisServer) -> None:
    """The whole list and its head are gone: only who knows an old hash can tell."""
    async with chained(redis_server) as (redis, book, _):
        known = (await book.verify()).last.hash
        await redis.command("DEL", redis.keys.audit, book.head_name)
        await KeyStore(redis).clients.put(client(9), DEED)
        assert (await book.verify()).intact
        assert not (await book.verify(known)).intact


@pytest.mark.parametrize("damage", ["DEL", "SET"])
async def test_changes_go_on_with_a_damaged_head(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    """A new chain begins, and a check says so."""
    async with chained(redis_server) as (redis, book, _):
        await redis.command(damage, book.head_name, *(["nonsense"] if damage == "SET" else []))
        with caplog.at_level(logging.ERROR):
            store = KeyStore(redis)
            await store.clients.put(client(8), DEED)
            await store.clients.put(client(9), DEED)
        assert ("audit head unreadable" in caplog.text) == (damage == "SET")
        assert [one.flaw for one in (await store.audit.verify()).breaks] == [Flaw.BEGUN_ANEW]


async def test_long_audits_are_read_in_pages(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways, from anywhere, with a word on how far it is."""
    monkeypatch.setattr(audit, "_PAGE", 2)
    async with chained(redis_server) as (_, book, ids):
        told: list[int] = []
        assert (await book.verify(progress=told.append)).intact
        assert told == [2, 4, 6]
        assert [noted.id async for noted in book.entries()] == ids[::-1]
        assert [noted.id async for noted in book.entries(before=ids[4])] == ids[3::-1]
        assert [noted.id async for noted in book.entries(before=ids[0])] == []


async def test_an_unreadable_entry_hides_no_other(redis_server: RedisServer) -> None:
    """It is listed as what it is, and sealed like any other."""
    async with manager(redis_server) as redis:
        store = KeyStore(redis)
        await store.clients.put(client(1), DEED)
        await redis.command("XADD", redis.keys.audit, "*", "entry", b"\xff")
        await redis.command("XADD", redis.keys.audit, "*", "other", "x")
        await store.clients.put(client(2), DEED)
        assert [noted.deed is None for noted in [one async for one in store.audit.entries()]] == [
            False, True, True, False,
        ]  # fmt: skip
        check = await store.audit.verify()
        assert check.intact
        assert check.sealed == 2


async def test_an_emptied_audit_is_intact(redis_server: RedisServer) -> None:
    """There is nothing yet."""
    async with manager(redis_server) as redis:
        check = await Audit(redis).verify()
        assert check.intact
        assert not check.links


async def test_a_cluster_keeps_one_chain(cluster: list[RedisServer]) -> None:
    """All that one change touches lies in one slot."""
    options = RedisOptions(url=f"redis+cluster://127.0.0.1:{cluster[1].options['port']}")
    redis = RedisManager(options, SystemClock())
    await redis.connect()
    try:
        store = KeyStore(redis)
        await store.groups.put(Group(id="grp_1", name="team"), DEED)
        await loose(redis)
        await store.clients.put(client(1), DEED, group="grp_1")
        check = await store.audit.verify()
        assert check.intact
        assert (check.links, check.sealed) == (2, 1)
        assert [noted.linked async for noted in store.audit.entries()] == [True, False, True]
    finally:
        await redis.close()
