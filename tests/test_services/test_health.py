"""Health says the truth, and why."""

from __future__ import annotations

import pytest

from app.core.clock import SystemClock
from app.core.security import Secret
from app.models.keys import KeyKind, KeyState, OpenRouterKey
from app.models.marks import Ban, MarkKind, Scope
from app.services.health import Health, keys_by_state, redis_ms
from app.services.pool import Pool
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager

READY = {"total": 1, "ready": 1}


@pytest.mark.parametrize(
    ("health", "healthy", "ready", "reason"),
    [
        (Health(1.0, READY, 1, False, True), True, True, ""),
        (Health(None, READY, 1, False, True), False, False, "Redis"),
        (Health(1.0, {"total": 0, "ready": 0}, 0, False, True), False, True, "no OpenRouter key"),
        (Health(1.0, READY, 1, True, True), False, False, "stopping"),
        (Health(1.0, READY, 1, False, False), False, False, "not loaded"),
    ],
)
def test_verdicts(health: Health, healthy: bool, ready: bool, reason: str) -> None:
    """Unhealthy always has a reason; a gateway without keys may be sent calls to be set up."""
    assert (healthy, ready) == (health.healthy, health.ready)
    assert reason in " ".join(health.reasons)


def test_keys_are_counted_by_state() -> None:
    """The parts add up to the total."""

    class Source:
        def secret_of(self, key_id: str) -> Secret:
            return Secret("sk-or-v1-x")

    records = [
        OpenRouterKey(id="a", sealed="", masked=""),
        OpenRouterKey(id="b", sealed="", masked=""),
        OpenRouterKey(id="c", sealed="", masked="", state=KeyState.DISABLED),
        OpenRouterKey(id="d", sealed="", masked="", kind=KeyKind.MANAGEMENT),
    ]
    pool = Pool(SystemClock())
    pool.replace(records, Source())
    key = pool.get("a")
    assert key is not None
    pool.apply(key, [Ban(Scope.KEY, MarkKind.COOL, SystemClock().wall_s() + 60, "test")])

    counts = keys_by_state(records, pool)

    assert counts == {"total": 4, "ready": 1, "resting": 1, "unreadable": 0, "disabled": 1, "management": 1}


async def test_redis_answers_or_not(redis_server: RedisServer) -> None:
    """Milliseconds, or nothing."""
    async with manager(redis_server) as redis:
        assert (await redis_ms(redis) or -1) > 0
        redis_server.kill()
        assert await redis_ms(redis) is None
