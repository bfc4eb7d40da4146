"""When clients called last: noted in memory, written soon, read with what was not written yet."""

from __future__ import annotations

from app.core.clock import SystemClock
from app.core.redis import RedisManager, RedisOptions
from app.core.tasks import TaskSet
from app.services.last_use import LastUse
from tests.redis_server import RedisServer


async def test_the_last_call_counts(redis_server: RedisServer) -> None:
    """Of each client, whichever worker saw it; who never called is not there."""
    redis = RedisManager(RedisOptions(redis_server.url, timeout_s=5), SystemClock())
    tasks = TaskSet()
    first, second = (LastUse(redis, tasks, SystemClock()) for _ in range(2))
    for number in range(2500):
        first.note(f"ck_{number}", 100.5)
    first.note("ck_0", 200.0)
    await first.flush()
    second.note("ck_1", 300.0)

    assert await second.of(["ck_0", "ck_1", "ck_none"]) == {"ck_0": 200.0, "ck_1": 300.0}
    assert len(await second.everyone()) == 2500
    await second.forget(["ck_0"])
    assert await second.of(["ck_0"]) == {}
    assert await second.of([]) == {}
    await tasks.close()
    await redis.close()
