"""A gateway's renewals before a simulated OpenRouter, with a fuse that ends the process at the n-th effect.

Run as a program it goes on with everything that is open, and kills itself with SIGKILL at that effect.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.core.clock import SystemClock
from app.core.config import Settings
from app.core.redis import RedisManager, RedisOptions
from app.core.security import Secret, openrouter_key_id
from app.models.renewal import Entry, Pace
from app.services.drain_watch import DrainWatch
from app.services.key_manager import KeyManager
from app.services.management_api import ManagementApi
from app.services.renewal import Renewal
from app.services.upstream_api import ApiAnswer, KeyProbe, UpstreamClient
from tests.simulator_thread import SimulatorThread
from tests.test_services.key_workers import CLIENTS, RING

QUICK = Pace(stage_s=0, quarantine_s=3)


class Crash(BaseException):
    """The process ends here, as far as the test goes."""


def crash() -> None:
    raise Crash


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class Fuse:
    """Blows after the `at`-th effect on Redis or at OpenRouter, once it has happened. 0: never."""

    at: int = 0
    blow: Callable[[], None] = crash
    seen: list[str] = field(default_factory=list)

    def burn(self, effect: str) -> None:
        self.seen.append(effect)
        if len(self.seen) == self.at:
            self.blow()


class FusedRedis(RedisManager):
    fuse = Fuse()

    async def command(self, *args: bytes | str | float) -> Any:
        answer = await super().command(*args)
        self.fuse.burn(str(args[0]))
        return answer

    async def script(self, name: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        answer = await super().script(name, keys, args)
        self.fuse.burn(name)
        return answer


class FusedClient(UpstreamClient):
    fuse = Fuse()

    async def request(self, method: str, path: str, secret: Secret, json: object = None) -> ApiAnswer:
        answer = await super().request(method, path, secret, json)
        self.fuse.burn(f"{method} {path.partition('?')[0]}")
        return answer


class AheadClock(SystemClock):
    """The machine's clock, set forward by hand."""

    def __init__(self, ahead_s: float = 0.0) -> None:
        self.ahead_s = ahead_s

    def wall_s(self) -> float:
        return super().wall_s() + self.ahead_s


@dataclass
class Gateway:
    """One process of a gateway, as far as renewals go."""

    clock: AheadClock
    redis: FusedRedis
    keys: KeyManager
    client: FusedClient
    api: ManagementApi
    drains: DrainWatch
    renewal: Renewal

    async def finish(self, entry: Entry, most: int = 60) -> Entry:
        """Goes on until nothing is left to do; the clock jumps over what is to be waited for."""
        for _ in range(most):
            now = await self.renewal.advance(entry.id)
            assert now is not None
            if not now.is_open:
                return now
            self.clock.ahead_s += max(3.0, now.due_s - self.clock.wall_s())
        raise AssertionError(f"it does not end: {now.step} {now.problem}")


@contextlib.asynccontextmanager
async def gateway(
    redis_url: str, upstream: str, *, fuse: Fuse | None = None, ahead_s: float = 0.0, **settings: Any
) -> AsyncIterator[Gateway]:
    clock = AheadClock(ahead_s)
    options = Settings(_env_file=None, openrouter_base_url=upstream, **settings)
    redis, client = FusedRedis(RedisOptions(url=redis_url), clock), FusedClient(options)
    keys = KeyManager(redis, RING, CLIENTS, clock)
    try:
        await keys.start(follow=False)
        redis.fuse = client.fuse = fuse or Fuse()
        api, drains = ManagementApi(client), DrainWatch(redis, clock)
        renewal = Renewal(options, redis, keys, api, KeyProbe(options, client), drains, RING, clock)
        yield Gateway(clock, redis, keys, client, api, drains, renewal)
    finally:
        redis.fuse = client.fuse = Fuse()
        await keys.close()
        await client.close()
        await redis.close()


@dataclass(frozen=True)
class Setting:
    """An account with a management key, a guardrail, and one key of the pool that has terms worth keeping."""

    account: str
    admin: str
    key: str
    guardrail: str

    @property
    def key_id(self) -> str:
        return openrouter_key_id(self.key)


async def settle(world: Gateway, simulator: SimulatorThread, account: str) -> Setting:
    """Makes the account, and takes both keys into the pool."""
    admin = simulator.control("keys", {"account": account, "name": "admin", "management": True})["key"]
    key = simulator.control("keys", {"account": account, "name": "main", "limit": 5, "limit_reset": "daily"})["key"]
    made = await world.client.request("POST", "/guardrails", Secret(admin), {"name": "house rules"})
    assert made.status == 201, made.body
    guardrail = made.body.decode().partition('"id":"')[2].partition('"')[0]
    await world.api.assign(Secret(admin), guardrail, openrouter_key_id(key))
    probe = KeyProbe(Settings(_env_file=None, openrouter_base_url=simulator.base_url))
    knowing = KeyManager(world.redis, RING, CLIENTS, world.clock, probe)
    await knowing.start(follow=False)
    await knowing.add_openrouter_key(admin, by="test")
    await knowing.add_openrouter_key(key, label="main", by="test")
    await knowing.close()
    await probe.close()
    await world.keys._view.resync()
    return Setting(account, admin, key, guardrail)


def live_keys(simulator: SimulatorThread, account: str) -> dict[str, dict[str, Any]]:
    """The keys of an account that OpenRouter would let in, without management keys, by hash."""
    return {
        key["hash"]: key
        for key in simulator.control("keys")
        if key["account"] == account and not key["management"] and not key["deleted"] and not key["disabled"]
    }


async def go_on(redis_url: str, upstream: str, at: int, ahead_s: float) -> None:
    """The program: everything that is open, to its end or to the effect that kills."""
    async with gateway(redis_url, upstream, fuse=Fuse(at, kill), ahead_s=ahead_s) as world:
        for entry in (await world.renewal.entries()).values():
            if entry.is_open:
                await world.finish(entry)


if __name__ == "__main__":
    asyncio.run(go_on(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
