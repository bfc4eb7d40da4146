"""The first start: a password that is generated, shown once, and never logged."""

from __future__ import annotations

import asyncio
import io
import logging
import stat
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from app.core.config import Settings
from app.core.security import KeyRing
from app.services.access import PASSWORD_FILE, PanelAccess
from app.services.sign_in import SignedIn
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager
from tests.test_services.people_world import HERE, SECRET, HandClock


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


async def start(server: RedisServer, folder: Path, terminal: io.StringIO) -> bool:
    """A worker without ADMIN_PASSWORD; whether the password that it left behind signs in."""
    given = Settings(_env_file=None, data_dir=folder, redis_url="redis://x", session_secret_key=SECRET)  # type: ignore[call-arg, arg-type]
    async with manager(server) as redis, AsyncExitStack() as stack:
        access = PanelAccess(given, redis, KeyRing({1: bytes(32)}), HandClock())
        await access.start(stack, terminal)
        file = folder / PASSWORD_FILE
        shown = terminal.getvalue().rpartition(": ")[2].strip() if terminal.isatty() else ""
        password = file.read_text().strip() if file.exists() else shown
        return bool(password) and isinstance(await access.sign_in.by_password("admin", password, HERE), SignedIn)


async def test_a_person_at_the_terminal_sees_it_once(
    redis_server: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is good, it is in no file and no log, and the next start shows nothing."""
    caplog.set_level(logging.DEBUG)
    terminal = Terminal()
    assert await start(redis_server, tmp_path, terminal)
    password = terminal.getvalue().rpartition(": ")[2].strip()
    assert len(password) == 23
    assert password not in caplog.text
    assert not [path for path in tmp_path.iterdir() if path.is_file() and password in path.read_text("latin-1")]
    second = Terminal()
    await start(redis_server, tmp_path, second)
    assert second.getvalue() == ""


async def test_where_nobody_watches_it_is_in_a_file(
    redis_server: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of its user alone; the log says where, and not what."""
    caplog.set_level(logging.DEBUG)
    assert await start(redis_server, tmp_path, io.StringIO())
    file = tmp_path / PASSWORD_FILE
    password = file.read_text().strip()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (line,) = [line for line in caplog.records if line.message == "admin password generated"]
    assert line.__dict__["file"] == str(file)
    assert password not in caplog.text + repr([record.__dict__ for record in caplog.records])


async def test_of_several_workers_one_generates(redis_server: RedisServer, tmp_path: Path) -> None:
    """There is one password, it is the one that is shown, and no draft is left."""
    terminals = [Terminal() for _ in range(4)]
    await asyncio.gather(*(start(redis_server, tmp_path, terminal) for terminal in terminals))

    assert sum(bool(terminal.getvalue()) for terminal in terminals) == 1
    assert await start(redis_server, tmp_path, next(one for one in terminals if one.getvalue()))
    assert not [path for path in tmp_path.iterdir() if PASSWORD_FILE in path.name]


async def test_the_file_goes_with_the_password(redis_server: RedisServer, tmp_path: Path) -> None:
    """Once somebody has changed it."""
    await start(redis_server, tmp_path, io.StringIO())
    given = Settings(_env_file=None, data_dir=tmp_path, redis_url="redis://x", session_secret_key=SECRET)  # type: ignore[call-arg, arg-type]
    async with manager(redis_server) as redis:
        PanelAccess(given, redis, KeyRing({1: bytes(32)}), HandClock()).forget_password_file()
    assert not (tmp_path / PASSWORD_FILE).exists()
