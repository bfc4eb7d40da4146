"""Waits at the login: growing, for an address and an account apart, over restarts, and never for everybody."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.services.login_guard import ACCOUNT_FREE, ADDRESS_FREE, CODE_FREE, LoginGuard, MustWait
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager
from tests.test_services.people_world import HandClock, people

SECRET = bytes(32)


async def waits(guard: LoginGuard, clock: HandClock, account: str, address: str, tries: int) -> list[int]:
    """Somebody fails again and again, each time as soon as it is allowed: the wait before each try."""
    found = []
    for _ in range(tries):
        waited = 0
        while True:
            try:
                await guard.begin(account, address)
                break
            except MustWait as wait:
                waited += wait.seconds
                clock.now_s += wait.seconds
        found.append(waited)
    return found


async def test_the_wait_grows(redis_server: RedisServer) -> None:
    """After the free tries it doubles, up to a quarter of an hour: nobody is locked out for good."""
    async with manager(redis_server) as redis:
        clock = HandClock()
        found = await waits(LoginGuard(redis, clock, SECRET), clock, "admin", "10.0.0.5", 15)

        assert found == [0] * ACCOUNT_FREE + [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]


async def test_waiting_is_told_and_not_counted(redis_server: RedisServer) -> None:
    """Whoever asks too early waits no longer for it, and the seconds run down."""
    async with manager(redis_server) as redis:
        clock = HandClock()
        guard = LoginGuard(redis, clock, SECRET)
        await waits(guard, clock, "admin", "10.0.0.5", ACCOUNT_FREE + 1)
        seconds = []
        for _ in range(5):
            with pytest.raises(MustWait) as caught:
                await guard.begin("admin", "10.0.0.5")
            seconds.append(caught.value.seconds)
            clock.now_s += 1

        assert seconds == [10, 9, 8, 7, 6]


async def test_many_tries_at_once_are_many_tries(redis_server: RedisServer) -> None:
    """They are counted before the passwords are looked at."""
    async with manager(redis_server) as redis:
        guard = LoginGuard(redis, HandClock(), SECRET)
        tried = await asyncio.gather(*(guard.begin("admin", "10.0.0.5") for _ in range(100)), return_exceptions=True)

        assert sum(not isinstance(one, MustWait) for one in tried) == ACCOUNT_FREE


async def test_an_address_waits_for_itself_alone(redis_server: RedisServer) -> None:
    """Trying names in turn: the address waits, the next address does not."""
    async with manager(redis_server) as redis:
        guard = LoginGuard(redis, HandClock(), SECRET)
        for number in range(ADDRESS_FREE):
            await guard.begin(f"name{number}", "10.0.0.5")
        with pytest.raises(MustWait):
            await guard.begin("one more", "10.0.0.5")
        await guard.begin("one more", "10.0.0.6")


async def test_neighbours_in_an_ipv6_network_count_as_one(redis_server: RedisServer) -> None:
    """Whoever has a network has 2**64 addresses."""
    async with manager(redis_server) as redis:
        guard = LoginGuard(redis, HandClock(), SECRET)
        for number in range(ADDRESS_FREE):
            await guard.begin(f"name{number}", f"2001:db8::{number:x}")
        with pytest.raises(MustWait):
            await guard.begin("one more", "2001:db8::ffff")
        await guard.begin("one more", "2001:db8:0:1::1")


async def test_nobody_waits_for_an_address_that_is_not_known(redis_server: RedisServer) -> None:
    """Then only the account counts."""
    async with manager(redis_server) as redis:
        guard = LoginGuard(redis, HandClock(), SECRET)
        for number in range(3 * ADDRESS_FREE):
            await guard.begin(f"name{number}", "")


async def test_a_restart_forgives_nothing(redis_server: RedisServer) -> None:
    """Neither of the gateway nor of Redis."""
    async with manager(redis_server) as redis:
        guard = LoginGuard(redis, HandClock(), SECRET)
        await waits(guard, HandClock(), "admin", "10.0.0.5", ACCOUNT_FREE)
    redis_server.kill()
    redis_server.start()
    async with manager(redis_server) as redis:
        with pytest.raises(MustWait):
            await LoginGuard(redis, HandClock(), SECRET).begin("admin", "10.0.0.9")


async def test_a_success_is_no_failure(redis_server: RedisServer) -> None:
    """It forgives the account all, and gives the address this one try back: an own account forgives no guessing."""
    async with manager(redis_server) as redis:
        clock = HandClock()
        guard = LoginGuard(redis, clock, SECRET)
        for _ in range(3 * ADDRESS_FREE):
            await guard.passed(await guard.begin("ann", "10.0.0.5"))
        for number in range(ADDRESS_FREE - 1):
            await guard.begin(f"guess{number}", "10.0.0.5")
            await guard.passed(await guard.begin("ann", "10.0.0.5"))
        await guard.begin("last guess", "10.0.0.5")
        with pytest.raises(MustWait):
            await guard.begin("ann", "10.0.0.5")


async def test_the_person_gets_in_while_an_attacker_fails_all_day(redis_server: RedisServer) -> None:
    """A browser that signed in before is counted apart: by its own failures only."""
    async with manager(redis_server) as redis:
        clock = HandClock()
        guard = LoginGuard(redis, clock, SECRET)
        device = guard.new_device("admin")
        await waits(guard, clock, "admin", "10.6.6.6", 30)
        with pytest.raises(MustWait):
            await guard.begin("admin", "10.0.0.5")
        made = await guard.begin("admin", "10.6.6.6", device)
        assert made.failures == 0
        for _ in range(ACCOUNT_FREE - 1):
            await guard.begin("admin", "10.6.6.6", device)
        with pytest.raises(MustWait):
            await guard.begin("admin", "10.6.6.6", device)


async def test_a_device_is_of_one_account_and_not_made_up(redis_server: RedisServer) -> None:
    """Another account, another signature, another gateway's: unknown."""
    async with manager(redis_server) as redis:
        guard = LoginGuard(redis, HandClock(), SECRET)
        device = guard.new_device("admin")
        nonce, signature = device.split(".")

        assert guard.known_device("admin", device) == nonce
        for account, other in (
            ("ann", device), ("admin", nonce), ("admin", f"{nonce}.{'0' * 64}"),
            ("admin", f"{nonce[:-1]}A.{signature}x"),
            ("admin", ""), ("admin", LoginGuard(redis, HandClock(), b"1" * 32).new_device("admin")),
        ):  # fmt: skip
            assert guard.known_device(account, other) == ""


async def test_codes_are_counted_on_their_own(redis_server: RedisServer) -> None:
    """Whoever has the password may guess five codes, then waits."""
    async with manager(redis_server) as redis:
        guard = LoginGuard(redis, HandClock(), SECRET)
        for _ in range(CODE_FREE):
            await guard.begin_code("admin")
        with pytest.raises(MustWait):
            await guard.begin_code("admin")
        await guard.begin("admin", "10.0.0.5")


async def test_typed_names_are_not_kept(redis_server: RedisServer) -> None:
    """One of them may be a password in the wrong field."""
    async with manager(redis_server) as redis:
        await LoginGuard(redis, HandClock(), SECRET).begin("canary password", "10.0.0.5")

        assert not [key for key in await redis.command("KEYS", "*") if b"canary" in key or b"10.0.0.5" in key]


async def test_an_attack_does_not_fill_the_audit(redis_server: RedisServer, tmp_path: Path) -> None:
    """A thousand failures are eight entries, each once, whoever of several workers counts."""
    async with people(redis_server, tmp_path) as world:
        guard = world.access.guard
        noted = []
        for _ in range(10):
            noted += await asyncio.gather(*(guard.failed("admin", "10.6.6.6") for _ in range(100)))

        told = sorted(int(deed.after.split()[0]) for deed in noted if deed is not None)
        assert told == [5, 10, 20, 40, 80, 160, 320, 640]
        assert await guard.failed("", "10.6.6.6") is None
