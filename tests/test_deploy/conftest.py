"""Gateways that share a Redis, as several processes or hosts do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.redis_server import running_redis
from tests.simulator_thread import SimulatorThread, running_simulator
from tests.test_integration.wire_tools import RawUpstream, running_raw_upstream

SECRET = "one-session-secret-for-all-gateways-0123456789"


@dataclass(frozen=True)
class Shared:
    """What gateways of one installation have in common, as settings."""

    redis_url: str

    @property
    def settings(self) -> dict[str, str]:
        return {"REDIS_URL": self.redis_url, "SESSION_SECRET_KEY": SECRET}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    with running_redis(tmp_path_factory.mktemp("redis")) as redis:
        yield Shared(redis.url)


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    """An upstream of one test's own."""
    with running_raw_upstream() as running:
        yield running


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorThread]:
    """A simulated OpenRouter of one module's own."""
    with running_simulator() as running:
        yield running
