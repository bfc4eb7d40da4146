"""The gateway as its users run it: a process of its own, reached over sockets and through its command line."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fork_server import CLI, GATEWAY, Forked, forks

ROOT = Path(__file__).resolve().parent.parent
ADMIN_PASSWORD = "admin-password-canary-7Qm2"
START_S = 30.0


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(true: Any, *, within_s: float = 10.0, what: str = "the condition") -> Any:
    """Asks again and again, without a fixed sleep, until the answer is truthy; that answer."""
    deadline = time.monotonic() + within_s
    while True:
        found = true()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what} did not come within {within_s:g} s"
        time.sleep(0.01)


def _is_plain(env: Mapping[str, str]) -> bool:
    """Whether a forked process is as good: several workers start by themselves, coverage begins with Python."""
    return env.get("WORKERS", "1") == "1" and "COVERAGE_PROCESS_START" not in env


@dataclass(frozen=True)
class MadeClient:
    """A client key as the command line showed it, once."""

    id: str
    name: str
    key: str


@dataclass
class GatewayProcess:
    """`start()` returns when /readiness says yes; `stop()` sends SIGTERM and returns the exit code.

    All settings come from `env`; nothing of this machine's environment gets in. Both outputs go to `log_file`.
    """

    folder: Path
    upstream: str
    keys: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | Forked | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data_dir = Path(self.env.get("DATA_DIR", self.folder / "data"))
        self.log_file = self.folder / "gateway.log"

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        return f"{self.origin}/v1"

    def environment(self) -> dict[str, str]:
        system = {
            name: os.environ[name]
            for name in ("PATH", "HOME", "TMPDIR", "COVERAGE_PROCESS_START")
            if name in os.environ
        }
        ours = {
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "DATA_DIR": str(self.data_dir),
            "LOG_FORMAT": "json",
            "OPENROUTER_BASE_URL": self.upstream,
            "OPENROUTER_API_KEYS": "\n".join(self.keys),
            "ADMIN_PASSWORD": ADMIN_PASSWORD,
            "REDIS_TIMEOUT_S": "1",  # a busy machine is no outage
        }
        return {**system, "LANG": "C.UTF-8", **ours, **self.env}

    def start(self, *, ready: bool = True) -> GatewayProcess:
        with self.log_file.open("ab") as log:
            # The folder has no .env, so that a developer's own settings do not leak into the tests.
            env = self.environment()
            if _is_plain(env):
                with open(os.devnull, "rb") as nothing:
                    streams = (nothing, log, log)
                    self.process = forks.start(GATEWAY, (), cwd=self.folder, env=env, streams=streams)
            else:
                self.process = subprocess.Popen(
                    [sys.executable, str(ROOT / "app" / "main.py")],
                    cwd=self.folder,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
        if ready:
            self.wait_ready()
        return self

    def wait_ready(self) -> None:
        assert self.process is not None
        deadline = time.monotonic() + START_S
        while not self.is_ready():
            code = self.process.poll()
            assert code is None, f"the gateway ended with {code} at start:\n{self.log_tail()}"
            if time.monotonic() > deadline:
                tail = self.log_tail()
                self.kill()
                raise AssertionError(f"the gateway is not ready after {START_S:g} s:\n{tail}")
            time.sleep(0.02)

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.origin}/readiness", timeout=2) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def health(self) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"{self.origin}/health", timeout=5) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            with error:
                return dict(json.load(error))

    def terminate(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    def wait(self, within_s: float = 15.0) -> int:
        assert self.process is not None
        return self.process.wait(within_s)

    def stop(self) -> int:
        """SIGTERM, and after a while SIGKILL: in any case nothing is left running."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.terminate()
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the gateway does not stop:\n{self.log_tail()}") from None

    def kill(self) -> None:
        """kill -9, as an operator's worst day would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def log(self) -> str:
        return self.log_file.read_text("utf-8", "replace") if self.log_file.exists() else ""

    def log_tail(self) -> str:
        return self.log()[-4000:]

    def log_lines(self) -> list[dict[str, Any]]:
        """The log's lines as objects; a line that is none is kept as `{"raw": …}`."""
        found: list[dict[str, Any]] = []
        for line in self.log().splitlines():
            try:
                value = json.loads(line)
            except ValueError:
                value = {"raw": line}
            found.append(value if isinstance(value, dict) else {"raw": line})
        return found

    def cli(self, *words: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        """The command line with the gateway's own settings."""
        env = self.environment()
        if _is_plain(env):
            raw = forks.run(CLI, words, cwd=self.folder, env=env, stdin=stdin.encode(), timeout=30)
            done = subprocess.CompletedProcess(raw.args, raw.returncode, raw.stdout.decode(), raw.stderr.decode())
        else:
            done = subprocess.run(
                [str(Path(sys.executable).with_name("openrouter-middleware")), *words],
                input=stdin,
                cwd=self.folder,
                env=env,
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
        assert not check or done.returncode == 0, f"{words} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done

    def create_client(self, name: str, *options: str) -> MadeClient:
        made = json.loads(self.cli("clients", "create", name, *options, "--json").stdout)
        return MadeClient(made["id"], made["name"], made["key"])


@contextlib.contextmanager
def running_gateway(
    upstream: str, *, keys: Sequence[str] = (), env: Mapping[str, str] | None = None, folder: Path | None = None
) -> Iterator[GatewayProcess]:
    """A started gateway that is surely gone afterwards, with its private Redis and its folder."""
    # Short, because a unix socket's path has room for 107 bytes.
    home = folder or Path(tempfile.mkdtemp(prefix="gateway-"))
    gateway = GatewayProcess(home, upstream, keys, env or {})
    try:
        yield gateway.start()
    finally:
        try:
            gateway.stop()
        finally:
            gateway.kill()
            if folder is None:
                shutil.rmtree(home, ignore_errors=True)
