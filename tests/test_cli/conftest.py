"""The command line as its users run it: a process, on a real Redis, with a stand-in for OpenRouter's `GET /key`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fork_server import CLI, forks
from tests.key_endpoint import KeyEndpoint, running_key_endpoint
from tests.redis_server import RedisServer
from tests.test_core.conftest import redis_server

__all__ = ["Cli", "cli", "endpoint", "redis_server"]

_COMMAND = (sys.executable, "-m", "app.cli")
ROOT = Path(__file__).resolve().parents[2]
# A terminal for the command: what is written to this program is typed, what is shown comes back.
_TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"


@dataclass
class Cli:
    """`run` gives what the process did. All that it ever printed is in `printed`."""

    folder: Path
    env: Mapping[str, str]
    printed: str = ""
    prefix: Sequence[str] = _COMMAND

    def environment(self) -> dict[str, str]:
        system = {name: os.environ[name] for name in ("PATH", "HOME", "COVERAGE_PROCESS_START") if name in os.environ}
        return {**system, "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8", "COLUMNS": "80", **self.env}

    def run(self, *words: str, stdin: str | bytes = "", code: int = 0) -> subprocess.CompletedProcess[str]:
        typed = stdin.encode() if isinstance(stdin, str) else stdin
        env = self.environment()
        done: subprocess.CompletedProcess[bytes]
        if self.prefix == _COMMAND and "COVERAGE_PROCESS_START" not in env:
            done = forks.run(CLI, words, cwd=self.folder, env=env, stdin=typed, timeout=40)
        else:
            done = subprocess.run(
                [*self.prefix, *words],
                input=typed,
                cwd=self.folder,
                env=env,
                capture_output=True,
                timeout=40,
                check=False,
            )
        out, err = done.stdout.decode(), done.stderr.decode()
        self.printed += out + err
        assert done.returncode == code, f"{words} ended with {done.returncode}, not {code}:\n{out}{err}"
        assert "Traceback" not in err
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    def json(self, *words: str, stdin: str | bytes = "", code: int = 0) -> Any:
        return json.loads(self.run(*words, "--json", stdin=stdin, code=code).stdout)

    def type(self, *words: str, answers: Mapping[str, str], code: int = 0) -> str:
        """In a terminal: waits for each question and types its answer. What the screen showed."""
        with subprocess.Popen(
            [sys.executable, "-c", _TERMINAL, *self.prefix, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            env=self.environment(),
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            shown = b""
            for question, answer in answers.items():
                while question.encode() not in shown:
                    piece = os.read(process.stdout.fileno(), 65536)
                    assert piece, f"no {question!r} in {shown!r}"
                    shown += piece
                process.stdin.write(answer.encode())
                process.stdin.flush()
            while piece := os.read(process.stdout.fileno(), 65536):
                shown += piece
        self.printed += shown.decode()
        assert process.returncode == code, shown.decode()
        return shown.decode()


@pytest.fixture
def endpoint() -> Iterator[KeyEndpoint]:
    """OpenRouter's `GET /key`."""
    with running_key_endpoint() as running:
        yield running


@pytest.fixture
def cli(redis_server: RedisServer, endpoint: KeyEndpoint, tmp_path: Path) -> Cli:
    """The command line on an external Redis."""
    folder = tmp_path / "cli"
    folder.mkdir()
    settings = {
        "REDIS_URL": redis_server.url,
        "SESSION_SECRET_KEY": "s" * 40,
        "OPENROUTER_BASE_URL": endpoint.base_url,
    }
    return Cli(folder, settings)
