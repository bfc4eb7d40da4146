"""Facts shared by workers, over a real Redis."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from app.core.clock import SystemClock
from app.models.key_facts import KeyFacts
from app.services.election import Election
from app.services.forecast import Sample
from app.services.key_facts import PROBES, FactStore
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager
from tests.test_services.key_workers import until


@contextlib.asynccontextmanager
async def worker(server: RedisServer, *, follow: bool = True) -> AsyncIterator[FactStore]:
    async with manager(server) as redis:
        store = FactStore(redis, SystemClock())
        await store.start(follow=follow)
        try:
            yield store
        finally:
            await store.close()


async def test_workers_share_facts(redis_server: RedisServer) -> None:
    """What one learns the other hears, and a third reads at its start; what is forgotten is so everywhere."""
    told: list[None] = []
    news: list[KeyFacts] = []
    facts = KeyFacts(id="k", probed_at=100, account="a")
    async with worker(redis_server) as one, worker(redis_server) as two:
        two.subscribe(lambda: told.append(None))
        two.on_news(news.append)
        assert await one.put(facts, 1)
        await until(lambda: two.get("k") == facts, within_s=1)
        assert two.account_of("k") == "a"
        assert two.account_of("unknown") == ""
        assert news == [facts]
        assert told
        async with worker(redis_server, follow=False) as late:
            assert late.every == {"k": facts}
        assert await one.forget("k", 1)
        await until(lambda: not two.every, within_s=1)
        assert not one.every


async def test_who_was_replaced_writes_nothing(redis_server: RedisServer) -> None:
    """The fence is raised by each new holder of the lease."""
    async with manager(redis_server) as redis, worker(redis_server) as store:
        first, second = (Election(redis, SystemClock(), PROBES) for _ in range(2))
        assert await first.campaign()
        old = first.token
        await first.close()
        assert await second.campaign()
        assert not await store.put(KeyFacts(id="k", probed_at=1), old)
        assert not await store.forget("k", old)
        assert store.get("k") is None
        assert await store.put(KeyFacts(id="k", probed_at=1), second.token)


async def test_samples(redis_server: RedisServer) -> None:
    """A minute apart at least, and anew when a total falls; older news changes nothing."""
    async with worker(redis_server) as store:
        for at_s, nano in ((100, 1), (130, 2), (160, 3), (90, 0), (400, 9)):
            await store.put(KeyFacts(id="k", probed_at=at_s, usage_nano=nano), 1)
        assert store.samples("k") == (Sample(100, 1), Sample(160, 3), Sample(400, 9))
        await store.put(KeyFacts(id="k", probed_at=500, usage_nano=2), 1)
        assert store.samples("k") == (Sample(500, 2),)
        assert store.samples("unknown") == ()


async def test_after_an_outage(redis_server: RedisServer) -> None:
    """What was changed while nobody listened is found, damaged facts are passed over."""
    async with worker(redis_server) as one:
        await one.put(KeyFacts(id="k", probed_at=1), 1)
        redis_server.kill()
        redis_server.start()
        redis_server.call("HDEL", "ormw:{state}:key-facts", "k")
        redis_server.call("HSET", "ormw:{state}:key-facts", "l", '{"id":"l","probed_at":5}', "m", "nonsense")
        redis_server.call("PUBLISH", "ormw:{state}:fact-changes", "+nonsense")
        await until(lambda: set(one.every) == {"l"})


async def test_first_facts_of_a_new_key(redis_server: RedisServer) -> None:
    """All workers know its account at once; a probe's word counts for more, then and later, and nothing is measured."""
    news: list[KeyFacts] = []
    async with worker(redis_server) as one, worker(redis_server) as two:
        two.on_news(news.append)
        await one.note(KeyFacts(id="k", probed_at=100, account="a", usage_nano=5))
        assert one.account_of("k") == "a"
        await until(lambda: two.account_of("k") == "a", within_s=1)
        assert (two.every["k"].probed_at, two.samples("k"), news) == (0, (), [])
        async with worker(redis_server, follow=False) as late:
            assert late.account_of("k") == "a"
        probed = KeyFacts(id="k", probed_at=50, account="b")
        assert await two.put(probed, 1)
        await one.note(KeyFacts(id="k", probed_at=100, account="c"))
        await until(lambda: one.get("k") == probed, within_s=1)
        assert (two.get("k"), news) == (probed, [probed])
