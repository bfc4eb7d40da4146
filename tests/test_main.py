"""The composition: both stacks in their order, one application, settings that are refused in words."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.core.clock import SystemClock
from app.core.config import load_settings
from app.core.redis import RedisManager, RedisOptions
from app.core.security import KeyRing
from app.main import create_app, data_stack, open_stack, panel_stack
from app.services.access import PanelAccess

ROOT = Path(__file__).parent.parent
RING = (KeyRing({1: b"k" * 32}), SystemClock())


def layers(app: object) -> list[str]:
    names = []
    while app is not None:
        names.append(type(app).__name__)
        app = getattr(app, "app", None)
    return names


@pytest.fixture
def settings_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings of a fresh machine."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("REDIS_URL", raising=False)
    return tmp_path


def test_the_stacks_stand_in_their_order(settings_folder: Path) -> None:
    """A preflight is answered before anybody is authenticated, and everything is logged."""
    app = create_app(load_settings(None))

    async def plane(*_: object) -> None: ...

    gateway = app.gateway
    gateway.access = PanelAccess(gateway.settings, RedisManager(RedisOptions("redis://x"), gateway.clock), *RING)
    assert layers(data_stack(gateway, plane))[:-1] == ["RequestLog", "SecurityHeaders", "Cors", "ClientAuth"]
    assert layers(panel_stack(gateway, plane))[:-1] == [
        "RequestLog", "Session", "SessionTimeout", "Csrf", "AdminAuth", "SecurityHeaders", "Cors",
    ]  # fmt: skip
    assert layers(open_stack(plane))[:-1] == ["RequestLog", "SecurityHeaders"]


def test_draining_is_told(settings_folder: Path) -> None:
    """From the signal on the gateway is not ready."""
    app = create_app(load_settings(None))
    app.drain()

    assert app.gateway.draining


@pytest.mark.parametrize(
    "command",
    [[str(ROOT / "app" / "main.py")], ["-m", "uvicorn", "app.main:app", "--port", "0"]],
    ids=["file", "uvicorn"],
)
def test_bad_settings_end_the_start_with_one_message(command: list[str], tmp_path: Path) -> None:
    """Every bad value is listed, none is shown."""
    env = os.environ | {"PORT": "99999", "OPENROUTER_BASE_URL": "http://canary.example", "DATA_DIR": str(tmp_path)}

    ended = subprocess.run(
        [sys.executable, *command], env=env, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )

    assert ended.returncode not in (0, None)
    assert "PORT" in ended.stderr
    assert "OPENROUTER_BASE_URL" in ended.stderr
    assert "canary" not in ended.stderr
    assert "Traceback" not in ended.stderr
