"""A restore makes the store what it was, here or elsewhere; what goes wrong before its last step changes nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from app.core.redis import RedisManager, RedisOptions, RedisUnavailable
from app.core.store_mark import StoreMark, StoreReset
from app.services import restore
from app.services.key_manager import KeyManager
from app.services.restore import GatewaysRunError
from app.services.restore_diff import Sign
from app.services.sealed_file import FileRefused, SealedReader
from app.services.store_pages import StorePages
from tests.redis_server import RedisServer, running_redis
from tests.test_services.backup_world import (
    CLOCK,
    OTHER_PEPPER,
    OTHER_RING,
    PEPPER,
    PHRASE,
    RING,
    everything,
    fill,
    loaded,
    put_back,
    renewal_of,
    restoring,
    totp_of,
    write,
)
from tests.test_services.conftest import manager
from tests.test_services.key_workers import openrouter_key


async def test_an_emptied_store_is_what_it_was(redis_server: RedisServer, tmp_path: Path) -> None:
    """Values, ends and the audit; the restore itself stands in it."""
    async with manager(redis_server) as redis:
        client_key = await fill(redis)
        before = await everything(redis)
        await write(redis, tmp_path / "f")
        await redis.command("FLUSHALL")
        assert await put_back(redis, tmp_path / "f") == 0
        after = await everything(redis)
        for name in (redis.keys.client_keys, redis.keys.groups, redis.keys.books("spent", "g", "total")):
            assert after[name.encode()] == before[name.encode()]
        keys = await loaded(redis)
        found = keys.authenticate(client_key.encode())
        assert found is not None
        assert found.name == "ann"
        assert {keys.secret_of(one).reveal() for one in keys.openrouter_keys} == {openrouter_key(1), openrouter_key(2)}
        assert await redis.command("XRANGE", redis.keys.books("ledger"), "-", "+") == [
            (b"5-1", {b"entry": b"\x00call"})
        ]
        assert 500_000 < await redis.command("PTTL", redis.keys.books("rate", "c", "l")) <= 600_000
        assert await redis.command("GET", redis.keys.client_pepper) is None
        deeds = [noted.deed.deed async for noted in keys.audit.entries() if noted.deed]
        assert deeds[0] == "restore"
        assert (await keys.audit.verify()).intact


async def test_on_another_machine_its_own_secrets_seal(redis_server: RedisServer, tmp_path: Path) -> None:
    """Another ring, another pepper, another prefix: keys, second factors and renewals open, clients are known; also
    after a further backup from there.
    """
    (tmp_path / "other").mkdir()
    async with manager(redis_server) as redis:
        client_key = await fill(redis)
        await write(redis, tmp_path / "f")
    with running_redis(tmp_path / "other") as server:
        redis = RedisManager(RedisOptions(url=server.url, prefix="their"), CLOCK)
        with SealedReader(tmp_path / "f", PHRASE) as sealed:
            one = restoring(redis, ring=OTHER_RING, pepper=OTHER_PEPPER, prefix="their")
            assert (await one.compare(sealed, lambda: None)).brings_pepper
            assert await one.replace(sealed, lambda: None, by="t") == 0
        keys = await loaded(redis, OTHER_RING, OTHER_PEPPER)
        assert keys.authenticate(client_key.encode()) is not None
        assert {keys.secret_of(one).reveal() for one in keys.openrouter_keys} == {openrouter_key(1), openrouter_key(2)}
        assert (await totp_of(redis, OTHER_RING), await renewal_of(redis, OTHER_RING)) == ("JBSWY3DP", "sk-or-v1-next")
        assert PEPPER not in (await redis.command("GET", redis.keys.client_pepper))
        await write(redis, tmp_path / "g", ring=OTHER_RING, pepper=PEPPER, prefix="their")
        await redis.close()
    async with manager(redis_server) as redis:
        await put_back(redis, tmp_path / "g")
        assert (await loaded(redis)).authenticate(client_key.encode()) is not None
        assert await redis.command("GET", redis.keys.client_pepper) is None


async def test_what_would_change_is_told(redis_server: RedisServer, tmp_path: Path) -> None:
    """Records by name, the rest by number; and looking changes nothing."""
    async with manager(redis_server) as redis:
        await fill(redis)
        await write(redis, tmp_path / "f")
        keys = await loaded(redis)
        await keys.update_client_key("ann", {"note": "new", "owner": "x"}, by="t")
        await keys.create_client_key("bob", by="t")
        await keys.delete_openrouter_key(next(iter(keys.openrouter_keys)), by="t")
        before = await everything(redis)
        with SealedReader(tmp_path / "f", PHRASE) as sealed:
            found = (await restoring(redis).compare(sealed, lambda: None)).difference
        assert await everything(redis) == before
        assert [(one.sign, one.kind, one.fields) for one in found.changes] == [
            (Sign.COMES, "OpenRouter key", ()),
            (Sign.CHANGES, "client key", ("note", "owner")),
            (Sign.GOES, "client key", ()),
        ]
        counted = {label: (now, then) for label, now, then in found.others()}
        assert counted["calls"] == (1, 1)
        assert counted["audit entries"][0] == counted["audit entries"][1] + 3
        await put_back(redis, tmp_path / "f")
        with SealedReader(tmp_path / "f", PHRASE) as sealed:
            assert (await restoring(redis).compare(sealed, lambda: None)).difference.changes == []


async def test_what_passes_is_gone_and_what_stays_stays(redis_server: RedisServer, tmp_path: Path) -> None:
    """Sessions and reservations end; fences do not go back, and sign-ins that failed are not forgotten."""
    async with manager(redis_server) as redis:
        await fill(redis)
        await write(redis, tmp_path / "f")
        tries = redis.keys.people("tries", "name", "x")
        await redis.pipeline([("SET", redis.keys.fence("probes"), "12"), ("SET", tries, "5")])
        await redis.command("SET", "ormw-neighbour", "1")
        await put_back(redis, tmp_path / "f")
        names = set(await redis.command("KEYS", "*"))
        gone = ("sessions", "held", "catalogue", "body", "restoring")
        assert not [one for one in names if any(word.encode() in one for word in gone)]
        assert await redis.command("MGET", redis.keys.fence("probes"), tries, "ormw-neighbour") == [b"12", b"5", b"1"]


async def test_what_has_ended_meanwhile_does_not_come_back(redis_server: RedisServer, tmp_path: Path) -> None:
    """Its end is an instant, not a span."""
    async with manager(redis_server) as redis:
        await fill(redis)
        await redis.command("PEXPIRE", redis.keys.books("rate", "c", "l"), 300)
        await write(redis, tmp_path / "f")

        class Later:
            def wall_s(self) -> float:
                return CLOCK.wall_s() + 1

            def monotonic_s(self) -> float:
                return CLOCK.monotonic_s()

        with SealedReader(tmp_path / "f", PHRASE) as sealed:
            await restore.Restore(redis, "ormw", RING, PEPPER, Later()).replace(sealed, lambda: None, by="t")
        assert not await redis.command("EXISTS", redis.keys.books("rate", "c", "l"))


async def test_every_machine_takes_it_for_its_store(redis_server: RedisServer, tmp_path: Path) -> None:
    """Also one that remembers a later version than the backup's, which else would be an old copy."""
    async with manager(redis_server) as redis:
        await fill(redis)
        await write(redis, tmp_path / "f")
        options = RedisOptions(url=redis_server.url)
        mark = StoreMark(tmp_path / "data", options, CLOCK)
        keys = await loaded(redis)
        for number in range(5):
            await keys.create_client_key(f"later {number}", by="t")
        version = int(await redis.command("GET", redis.keys.version))
        mark.file.parent.mkdir()
        mark.file.write_text(f'{{"mark":"{"m" * 32}","version":{version}}}')
        await redis.command("FLUSHALL")
        await put_back(redis, tmp_path / "f")
        known = KeyManager(redis, RING, keys_of(PEPPER), CLOCK, None, StoreMark(tmp_path / "data", options, CLOCK))
        await known.start(follow=False)
        assert len(known.client_keys) == 1


def keys_of(pepper: bytes) -> object:
    from app.core.security import ClientKeyring

    return ClientKeyring(pepper)


async def test_under_running_gateways_nothing_is_changed(redis_server: RedisServer, tmp_path: Path) -> None:
    """Who lives has a sign that fades; one that was killed long ago holds up nobody."""
    async with manager(redis_server) as redis:
        await fill(redis)
        await write(redis, tmp_path / "f")
        books = redis.keys.books
        await redis.pipeline([("SADD", books("workers"), "w1", "w2"), ("SET", books("alive", "w1"), "1")])
        before = await everything(redis)
        assert await restoring(redis).running() == 1
        with pytest.raises(GatewaysRunError):
            await put_back(redis, tmp_path / "f")
        assert await everything(redis) == before
        await redis.command("DEL", books("alive", "w1"))
        await put_back(redis, tmp_path / "f")


async def test_a_redis_that_is_too_small_keeps_what_it_had(redis_server: RedisServer, tmp_path: Path) -> None:
    """What is written beside the store goes again."""
    async with manager(redis_server) as redis:
        await fill(redis)
        await redis.command("SET", redis.keys.books("spent", "big"), "x" * 3_000_000)
        await write(redis, tmp_path / "f")
        before = await everything(redis)
        used = int((await redis.command("INFO", "memory"))["used_memory"])
        await redis.command("CONFIG", "SET", "maxmemory", used + 1_000_000)
        with pytest.raises(RedisUnavailable, match="oom"):
            await put_back(redis, tmp_path / "f")
        assert await everything(redis) == before


@pytest.mark.parametrize("broken", ["cut", "changed"])
async def test_a_file_that_is_not_whole_changes_nothing(redis_server: RedisServer, tmp_path: Path, broken: str) -> None:
    """Even where it became so after it had been looked at."""
    async with manager(redis_server) as redis:
        await fill(redis)
        await write(redis, tmp_path / "f")
        before = await everything(redis)
        raw = (tmp_path / "f").read_bytes()
        (tmp_path / "f").write_bytes(raw[:-1] if broken == "cut" else raw[:-50] + b"\0" + raw[-49:])
        with pytest.raises(FileRefused):
            await put_back(redis, tmp_path / "f")
        assert await everything(redis) == before


async def test_a_restore_that_is_killed_at_the_end_is_run_again(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then nobody takes half of a store for the known one."""
    async with manager(redis_server) as redis:
        client_key = await fill(redis)
        await write(redis, tmp_path / "f")

        async def killed(*_: object) -> None:
            raise RedisUnavailable("killed")

        with monkeypatch.context() as patched:
            patched.setattr(StorePages, "move_to", killed)
            with pytest.raises(RedisUnavailable):
                await put_back(redis, tmp_path / "f")
        data = tmp_path / "data"
        data.mkdir()
        mark = StoreMark(data, RedisOptions(url=redis_server.url), CLOCK)
        mark.file.write_text(f'{{"mark":"{"m" * 32}","version":1}}')
        mark = StoreMark(data, RedisOptions(url=redis_server.url), CLOCK)
        with pytest.raises(StoreReset):
            await KeyManager(redis, RING, keys_of(PEPPER), CLOCK, None, mark).start(follow=False)
        with SealedReader(tmp_path / "f", PHRASE) as sealed:
            await restoring(redis).replace(sealed, lambda: None, by="t", known_mark=mark.known)
        again = KeyManager(redis, RING, keys_of(PEPPER), CLOCK, None, mark)
        await again.start(follow=False)
        assert again.authenticate(client_key.encode()) is not None


async def test_many_records_need_no_memory(redis_server: RedisServer, tmp_path: Path) -> None:
    """30,000 client keys are compared and written in pages; how many there are is no matter of kind."""
    async with manager(redis_server) as redis:
        await fill(redis)
        for begin in range(0, 30_000, 1000):
            pairs = [
                word
                for number in range(begin, begin + 1000)
                for word in (f"ck_{number:016x}", b'1\n{"id":"ck_%016x","name":"n","digest":"","masked":""}' % number)
            ]
            await redis.command("HSET", redis.keys.client_keys, *pairs)
        written = await write(redis, tmp_path / "f")
        assert written.rows > 30_000
        await redis.command("DEL", redis.keys.client_keys)
        with SealedReader(tmp_path / "f", PHRASE) as sealed:
            steps: list[int] = []
            found = await restoring(redis).compare(sealed, lambda: steps.append(1))
            assert len(steps) == sealed.parts
        assert found.difference.counts["client key", Sign.COMES] == 30_001
        await put_back(redis, tmp_path / "f")
        assert await redis.command("HLEN", redis.keys.client_keys) == 30_001


async def test_records_that_do_not_open_are_counted(redis_server: RedisServer, tmp_path: Path) -> None:
    """They stay what they were: of no use, and known to be there."""
    async with manager(redis_server) as redis:
        await fill(redis)
        keys = await loaded(redis)
        key_id = next(iter(keys.openrouter_keys))
        stored = bytes(await redis.command("HGET", redis.keys.openrouter_keys, key_id))
        await redis.command("HSET", redis.keys.openrouter_keys, key_id, stored.replace(b"v1.2.", b"v1.2.AAAA"))
        assert (await write(redis, tmp_path / "f")).broken == (key_id,)
        assert await put_back(redis, tmp_path / "f") == 1
        assert len((await loaded(redis)).openrouter_keys) == 2


def test_a_comparison_is_a_fact() -> None:
    """It is handed on to be shown, and changes no more."""
    assert dataclasses.is_dataclass(restore.Compared)
