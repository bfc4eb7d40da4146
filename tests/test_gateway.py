"""What lives with the process starts whole or not at all, and closes without leftovers."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.core.config import Settings, load_settings
from app.core.embedded import EmbeddedRedisError
from app.core.errors import GatewayError
from app.core.redis import RedisUnavailable
from app.gateway import Gateway
from simulator import Simulator


@pytest.fixture
async def simulator() -> AsyncIterator[tuple[Simulator, str, str]]:
    """A simulator with one key."""
    simulator = Simulator()
    secret = simulator.add_key()
    base = await simulator.start()
    yield simulator, base, secret
    await simulator.stop()


def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **more: str) -> Settings:
    for name, value in {"DATA_DIR": str(tmp_path / "data"), "LOG_FORMAT": "json", **more}.items():
        monkeypatch.setenv(name, value)
    return load_settings(None)


async def test_it_starts_looks_and_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, simulator: tuple[Simulator, str, str]
) -> None:
    """On a private Redis, with a key from the environment that is sealed and served, twice in a row."""
    _, base, secret = simulator
    chosen = settings(tmp_path, monkeypatch, OPENROUTER_BASE_URL=base, OPENROUTER_API_KEYS=f"{secret}\n# note")
    for _ in range(2):
        gateway = Gateway(chosen)
        with pytest.raises(GatewayError):
            gateway.authenticate(b"x")
        await gateway.start()
        health = await gateway.look()
        assert health.healthy, health.reasons
        assert health.openrouter_keys["ready"] == 1
        assert gateway.authenticate(b"gw_live_nobody") is None
        await gateway.close()
        assert (await gateway.look()).draining
    assert len([task for task in asyncio.all_tasks() if task is not asyncio.current_task()]) <= 2
    kept = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
    assert secret.encode() not in kept


async def test_a_second_gateway_on_the_same_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, simulator: tuple[Simulator, str, str]
) -> None:
    """It says so, and the first one serves on."""
    chosen = settings(tmp_path, monkeypatch, OPENROUTER_BASE_URL=simulator[1])
    first = Gateway(chosen)
    await first.start()
    lock = tmp_path / "data" / "lock"
    monkeypatch.setattr("app.core.embedded._family", lambda: -1)
    with pytest.raises(EmbeddedRedisError, match="Another gateway"):
        await Gateway(chosen).start()
    assert json.loads(lock.read_text())["pid"] > 0
    assert (await first.look()).redis_ms is not None
    await first.close()


async def test_without_redis_it_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An external Redis that is not there ends the start."""
    chosen = settings(
        tmp_path, monkeypatch, REDIS_URL=f"unix://{tmp_path}/nobody", SESSION_SECRET_KEY="x" * 40, REDIS_TIMEOUT_S="0.1"
    )
    with pytest.raises(RedisUnavailable):
        await Gateway(chosen).start()


@pytest.fixture(autouse=True)
def quiet() -> AsyncIterator[None]:
    """The gateway sets up logging for the whole process: it is put back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers[:]:
        if handler not in handlers:
            root.removeHandler(handler)
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
