"""Everything under a prefix goes out and comes in again, whatever type it has and however large it is."""

from __future__ import annotations

from app.services.store_blocks import StoreBlocks
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager


async def test_all_types_come_back(redis_server: RedisServer) -> None:
    """With their lives and, for streams, their ids; what is made anew anyway is left out."""
    async with manager(redis_server) as redis:
        prefix = redis.keys.version.partition(":")[0]
        await redis.pipeline(
            [
                ("SET", f"{prefix}:text", b"\x00\xff"),
                ("SET", f"{prefix}:short", "x", "EX", 1000),
                ("HSET", f"{prefix}:hash", *(part for n in range(1500) for part in (f"f{n}", n))),
                ("SADD", f"{prefix}:set", *range(1200)),
                ("ZADD", f"{prefix}:zset", 1.5, "a", -2, "b"),
                ("RPUSH", f"{prefix}:list", *range(1200)),
                *(("XADD", f"{prefix}:stream", f"{n}-1", "a", n, "b", b"\xff") for n in range(1, 1202)),
                ("SET", f"{prefix}:catalogue:{{x}}", "made again"),
                ("SET", f"{prefix}:lock:{{x}}", "of a moment"),
                ("SET", "someone:else", "stays"),
            ]
        )
        copy = StoreBlocks(redis, prefix)
        names = await copy.names()
        blocks = [block async for block in copy.blocks(names)]
        assert len(names) == 7
        assert len(blocks) > len(names)

        async def seen() -> list[object]:
            found = await redis.pipeline(
                [
                    ("GET", f"{prefix}:text"), ("HGETALL", f"{prefix}:hash"), ("SMEMBERS", f"{prefix}:set"),
                    ("ZRANGE", f"{prefix}:zset", 0, -1, "WITHSCORES"), ("LRANGE", f"{prefix}:list", 0, -1),
                    ("XRANGE", f"{prefix}:stream", "-", "+"), ("GET", "someone:else"),
                ]
            )  # fmt: skip
            return list(found)

        before = await seen()
        assert await copy.clear() == 7
        assert (await seen())[:2] == [None, {}]
        for block in blocks:
            await copy.put(block)
        assert await seen() == before
        ttl = await redis.command("TTL", f"{prefix}:short")
        assert 900 < int(ttl) <= 1000
        assert int(await redis.command("TTL", f"{prefix}:text")) == -1
