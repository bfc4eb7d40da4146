"""Every kind of value is read in pages and written as it was."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.redis import RedisManager
from app.services import store_pages
from app.services.backup_form import Row, Shape
from app.services.store_pages import StorePages
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager

VALUES: dict[Shape, list[tuple[Any, ...]]] = {
    Shape.STRING: [("SET", "p:x", b"\x00\xff")],
    Shape.HASH: [("HSET", "p:x", *(f"{word}{n}" for n in range(1300) for word in ("f", "v")))],
    Shape.SET: [("SADD", "p:x", *(f"m{n}" for n in range(1300)))],
    Shape.SORTED: [("ZADD", "p:x", *(word for n in range(300) for word in (n / 7, f"m{n}")))],
    Shape.LIST: [("RPUSH", "p:x", *(str(n) for n in range(700)))],
    Shape.STREAM: [("XADD", "p:x", f"{n}-3", "entry", f"e{n}", "n", str(n)) for n in range(1, 1201)],
}
READ = {
    Shape.STRING: ("GET", "p:x"), Shape.HASH: ("HGETALL", "p:x"), Shape.SET: ("SMEMBERS", "p:x"),
    Shape.SORTED: ("ZRANGE", "p:x", 0, -1, "WITHSCORES"), Shape.LIST: ("LRANGE", "p:x", 0, -1),
    Shape.STREAM: ("XRANGE", "p:x", "-", "+"),
}  # fmt: skip


async def pages(store: StorePages, shape: Shape, **how: str) -> list[list[Row]]:
    return [page async for page in store.rows(b":x", shape, **how)]


@pytest.mark.parametrize("shape", list(Shape))
async def test_what_is_read_can_be_written(redis_server: RedisServer, shape: Shape) -> None:
    """Under another prefix, then in the place of the first, with its end."""
    async with manager(redis_server) as redis:
        await redis.pipeline([*VALUES[shape], ("PEXPIREAT", "p:x", 4_000_000_000_000)])
        before = await redis.command(*READ[shape])
        one, two = StorePages(redis, "p"), StorePages(redis, "q")
        assert await one.shapes([b":x", b":gone"]) == {b":x": shape}
        found = await pages(one, shape)
        assert sum(map(len, found)) == await one.sizes({b":x": shape})
        assert all(len(page) <= 1000 for page in found)
        for page in found:
            await two.put(b":x", shape, page)
        await two.end_at(b":x", await one.ends_ms(b":x"))
        await one.remove([b":x"])
        assert await two.there([b":x", b":gone"]) == [True, False]
        await two.move_to(one, [b":x"])
        assert await redis.command(*READ[shape]) == before
        assert abs(await one.ends_ms(b":x") - 4_000_000_000_000) < 100
        assert [name async for page in two.names() for name in page] == []


async def test_a_stream_that_grows_is_read_to_its_present_end(redis_server: RedisServer) -> None:
    """Else a busy gateway's ledger would never be read to its end."""
    async with manager(redis_server) as redis:
        await redis.pipeline(VALUES[Shape.STREAM])
        store, seen = StorePages(redis, "p"), 0
        async for page in store.rows(b":x", Shape.STREAM):
            seen += len(page)
            await redis.pipeline([("XADD", "p:x", "*", "entry", "later")] * store_pages._PAGE)
        assert seen == 1200
        assert sum(map(len, await pages(store, Shape.STREAM, until="700-3"))) == 700


async def test_only_the_prefix_is_seen(redis_server: RedisServer) -> None:
    """A neighbour's names stay out, also one whose prefix begins alike; nothing without an end has one."""
    async with manager(redis_server) as redis:
        await redis.pipeline([("SET", name, "1") for name in ("p:x", "p.restoring:x", "pp:x", "q:x", "xp:x")])
        store = StorePages(redis, "p")
        assert [name async for page in store.names() for name in page] == [b":x"]
        assert await store.ends_ms(b":x") == 0


async def test_thousands_of_names_are_listed(redis_server: RedisServer) -> None:
    """Page by page."""
    async with manager(redis_server) as redis:
        await _fill(redis, 3500)
        found = [page async for page in StorePages(redis, "p").names()]
        assert len(found) > 1
        assert len({name for page in found for name in page}) == 3500


async def _fill(redis: RedisManager, count: int) -> None:
    await redis.pipeline([("SET", f"p:{n}", "1") for n in range(count)])
