"""Packets to Redis are dropped: nothing is refused and nothing answers, and every call ends all the same."""

from __future__ import annotations

import asyncio

import pytest

from app.core.redis import RedisManager, RedisOptions, RedisUnavailable
from tests.black_hole import black_hole, relay_to
from tests.redis_server import RedisServer
from tests.test_core.test_redis import BOUND_S, ShiftedClock, connected, failures, until


async def test_a_redis_behind_a_black_hole_is_given_up() -> None:
    """No handshake ends: the start says so, and the breaker soon spares the wait."""
    with black_hole() as port:
        redis = RedisManager(RedisOptions(f"redis://127.0.0.1:{port}", timeout_s=0.05), ShiftedClock())
        async with asyncio.timeout(BOUND_S):
            with pytest.raises(RedisUnavailable) as caught:
                await redis.connect()
            reasons = await failures(redis, 12)
        assert caught.value.reason == "timeout"
        assert set(reasons) == {"timeout", "breaker_open"}
        assert reasons[-1] == "breaker_open"
        assert redis.state == "down"
        await redis.close()


async def test_packets_dropped_in_mid_life_and_let_through_again(redis_server: RedisServer) -> None:
    """Standing connections fall silent: calls end, then fail at once; afterwards all is well without a restart."""
    clock = ShiftedClock()
    async with (
        relay_to(redis_server.socket) as relay,
        connected(f"redis://127.0.0.1:{relay.port}", clock, timeout_s=0.1) as redis,
    ):
        await redis.command("SET", "a", "1")
        relay.deaf = True
        async with asyncio.timeout(BOUND_S):
            results = await asyncio.gather(*(redis.command("GET", "a") for _ in range(200)), return_exceptions=True)
            assert {type(result) for result in results} == {RedisUnavailable}
            assert (await failures(redis, 10))[-1] == "breaker_open"
        opened = relay.opened
        relay.deaf = False
        clock.shift_s += 60

        assert await redis.command("GET", "a") == b"1"

        # The silent connections are not used again: a late answer must not be taken for another call's.
        assert relay.opened > opened
        assert await asyncio.gather(*(redis.command("ECHO", str(n)) for n in range(100))) == [
            str(n).encode() for n in range(100)
        ]


async def test_a_subscription_hears_of_dropped_packets(redis_server: RedisServer) -> None:
    """It notices the silence, and resyncs when the network is back."""
    async with (
        relay_to(redis_server.socket) as relay,
        connected(f"redis://127.0.0.1:{relay.port}", timeout_s=0.1) as redis,
    ):
        seen: list[str] = []

        async def on_message(payload: bytes) -> None:
            seen.append(payload.decode())

        async def on_resync() -> None:
            seen.append("resync")

        listener = asyncio.create_task(redis.listen("c", on_message, on_resync))
        await until(lambda: seen == ["resync"])
        opened = relay.opened
        relay.deaf = True
        await until(lambda: relay.opened > opened)
        relay.deaf = False
        await until(lambda: seen == ["resync", "resync"])
        redis_server.call("PUBLISH", "c", "hello")
        await until(lambda: seen[-1] == "hello")
        listener.cancel()
        await asyncio.wait([listener])
