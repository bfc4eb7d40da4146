"""The units: systemd's own tools understand them, and the program does what they expect of it."""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.core.config import Settings
from tests.gateway_process import free_port
from tests.test_deploy.dockerfile import ROOT
from tests.test_integration.conftest import made_up_keys
from tests.test_integration.wire_tools import RawUpstream, call

UNITS = sorted((ROOT / "deploy/systemd").glob("*.service"))
ONE, TWO = UNITS
PROGRAM = "/opt/openrouter-middleware/bin/openrouter-middleware"


def lines(unit: Path, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", unit.read_text(), re.MULTILINE)


def analyze(*words: str) -> str:
    """What systemd-analyze prints. It needs no running systemd."""
    program = shutil.which("systemd-analyze")
    assert program is not None, "systemd-analyze is needed: apt-get install systemd"
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units with a program that is there."""
    for unit in UNITS:
        text = unit.read_text()
        assert PROGRAM in text
        (tmp_path / unit.name).write_text(text.replace(PROGRAM, sys.executable))
    return tmp_path


@pytest.mark.parametrize("name", [unit.name for unit in UNITS])
def test_systemd_understands_them(installed: Path, name: str) -> None:
    """Without a word, and it finds little that an intruder could use (0 is nothing, 10 everything)."""
    instance = name.replace("@.", "@a.")
    if instance != name:
        (installed / instance).symlink_to(name)
    assert analyze("verify", str(installed / instance)) == ""
    told = analyze("security", "--offline=true", "--no-pager", str(installed / instance))
    assert float(re.search(r"Overall exposure level for .*: ([\d.]+)", told)[1]) <= 1.5


def test_both_are_alike() -> None:
    """The pair differs from the one in its name, its folder and the shared port alone."""
    same = ONE.read_text().partition("[Unit]")[2]
    for old, new in (
        ("Description=OpenRouter middleware", "Description=OpenRouter middleware (%i)"),
        ("/var/lib/openrouter-middleware", "/var/lib/openrouter-middleware-%i"),
        ("StateDirectory=openrouter-middleware", "StateDirectory=openrouter-middleware-%i"),
        ("--workers 2", "--workers 2 --reuse-port"),
    ):
        same = same.replace(old, new)
    assert TWO.read_text().partition("[Unit]")[2] == same


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_program_takes_these_words(unit: Path) -> None:
    """The options exist, there are workers that can be replaced, and streams get their time."""
    (start,) = lines(unit, "ExecStart")
    words = shlex.split(start)
    assert words[:2] == [PROGRAM, "serve"]
    help_text = subprocess.run(
        [Path(sys.executable).with_name("openrouter-middleware"), "serve", "--help"],
        capture_output=True,
        text=True,
        env={"COLUMNS": "200"},
        check=True,
    ).stdout
    assert all(word in help_text for word in words if word.startswith("--"))
    assert int(words[words.index("--workers") + 1]) >= 2
    assert lines(unit, "ExecReload") == ["/bin/kill -HUP $MAINPID"]
    assert int(lines(unit, "TimeoutStopSec")[0]) >= Settings.model_fields["drain_s"].default + 10
    (folder,) = (one.partition("=")[2] for one in lines(unit, "Environment") if one.startswith("DATA_DIR="))
    assert folder == f"/var/lib/{lines(unit, 'StateDirectory')[0]}"
    assert {one.partition("=")[0].lower() for one in lines(unit, "Environment")} <= set(Settings.model_fields)


def test_a_shared_port_needs_shared_keys(tmp_path: Path) -> None:
    """Two private Redis behind one port would be two gateways at random: refused before anything is started."""
    program = Path(sys.executable).with_name("openrouter-middleware")
    done = subprocess.run(
        [program, "serve", "--reuse-port"], cwd=tmp_path, env={"DATA_DIR": str(tmp_path / "d")}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "REDIS_URL" in done.stderr
    assert not (tmp_path / "d").exists()


@pytest.fixture
def told(tmp_path: Path) -> Iterator[socket.socket]:
    """Where systemd would hear that the service is ready."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind("\0openrouter-middleware-test-" + tmp_path.name + str(free_port()))
        line.settimeout(40)
        yield line


def test_it_tells_that_it_serves_and_needs_no_code_that_is_written(
    upstream: RawUpstream, told: socket.socket, tmp_path: Path
) -> None:
    """READY=1 comes when calls are answered. All of it, the private Redis too, runs where no memory may be written and
    executed (MemoryDenyWriteExecute; here the kernel's own switch for it).
    """
    port = free_port()
    code = (
        "import ctypes, os, sys; libc = ctypes.CDLL(None, use_errno=True); refuse = libc.prctl(65, 1, 0, 0, 0);"
        "refuse and sys.exit('this kernel cannot refuse');"
        "os.execv(sys.executable, [sys.executable, '-m', 'app.cli', 'serve'])"
    )
    env = {
        "PATH": "/usr/bin:/bin:/usr/local/bin", "PYTHONPATH": str(ROOT), "HOST": "127.0.0.1", "PORT": str(port),
        "DATA_DIR": str(tmp_path / "d"), "OPENROUTER_BASE_URL": upstream.base_url, "LOG_FORMAT": "json",
        "OPENROUTER_API_KEYS": made_up_keys(1)[0], "NOTIFY_SOCKET": "@" + told.getsockname()[1:].decode(),
    }  # fmt: skip
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=env, stdout=log, stderr=log)
        try:
            assert told.recv(100) == b"READY=1"
            assert call(port, "GET", "/health").status == 200
            process.terminate()
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.wait()
    assert "gateway has stopped" in (tmp_path / "log").read_text()
