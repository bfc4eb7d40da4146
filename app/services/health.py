"""How the gateway feels, as facts: Redis, keys by state, draining. Judges nothing but `healthy` and `ready`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from app.core.redis import RedisManager, RedisUnavailable
from app.models.keys import KeyKind, KeyState, OpenRouterKey
from app.services.pool import Pool

_NO_KEY = "no OpenRouter key is ready: add one with `openrouter-middleware keys add`"
_ALL_REST = "every OpenRouter key rests: `openrouter-middleware pool status` says why and until when"


@dataclass(frozen=True, slots=True)
class Health:
    """One look. `redis_ms` is None where Redis did not answer."""

    redis_ms: float | None
    openrouter_keys: dict[str, int]
    client_keys: int
    draining: bool
    loaded: bool
    store_reset: bool = False
    incident: bool = False
    """OpenRouter refuses keys that are good: nobody is disabled, probes decide when it is over."""
    warnings: tuple[str, ...] = field(default=())

    @property
    def reasons(self) -> list[str]:
        """Why calls are not served as they should be; empty when all is well."""
        found: list[str] = []
        if self.redis_ms is None:
            found.append("Redis does not answer")
        if self.store_reset:
            found.append("the store was reset: Redis is not the one that holds the keys, or has lost them")
        elif not self.loaded:
            found.append("the keys are not loaded yet")
        elif self.openrouter_keys["ready"] == 0:
            found.append(_NO_KEY if self.openrouter_keys.get("resting", 0) == 0 else _ALL_REST)
        if self.draining:
            found.append("the gateway is stopping")
        return found

    @property
    def healthy(self) -> bool:
        return not self.reasons

    @property
    def ready(self) -> bool:
        """Whether a balancer may send calls here: a gateway without keys is ready to be set up."""
        return self.redis_ms is not None and self.loaded and not self.store_reset and not self.draining


def keys_by_state(records: Iterable[OpenRouterKey], pool: Pool) -> dict[str, int]:
    """Counts that add up to `total`: ready, resting, disabled, management."""
    states = Counter(_state(record) for record in records)
    resting = pool.resting()
    return {
        "total": sum(states.values()),
        "ready": len(pool) - resting,
        "resting": resting,
        "unreadable": max(0, states["serving"] - len(pool)),
        "disabled": states["disabled"],
        "management": states["management"],
    }


def _state(record: OpenRouterKey) -> str:
    if record.state is not KeyState.ENABLED:
        return "disabled"
    return "management" if record.kind is KeyKind.MANAGEMENT else "serving"


async def redis_ms(redis: RedisManager) -> float | None:
    """How long Redis takes to answer, in milliseconds."""
    try:
        return round(await redis.ping() * 1000, 3)
    except RedisUnavailable:
        return None
