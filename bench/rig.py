"""The programs that take part, each a process of its own in a temporary folder, and their sure end."""

from __future__ import annotations

import ctypes
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

HERE = Path(__file__).parent / "rig"
ROOT = Path(__file__).parent.parent
COMMAND = Path(sys.executable).with_name("openrouter-middleware")
PATIENCE_S = 60.0
PR_SET_PDEATHSIG = 1
APT = "sudo apt-get install nginx libnginx-mod-http-lua wrk"


class BenchError(Exception):
    """The run cannot go on; the text is for people."""


class ToolMissingError(BenchError):
    pass


@dataclass(frozen=True, slots=True)
class Contestant:
    """Something that answers chat calls: where, with which credential, and which process pays for it."""

    name: str
    port: int
    pid: int
    path: str = "/v1/chat/completions"
    key: str = ""
    user: str = ""


def modules_path() -> str:
    """Where nginx keeps its modules, once everything needed is known to be there."""
    lacking = [tool for tool in ("nginx", "wrk") if shutil.which(tool) is None]
    if not lacking:
        built = subprocess.run(["nginx", "-V"], capture_output=True, text=True, check=True).stderr
        found = re.search(r"--modules-path=(\S+)", built)
        path = found[1] if found else "/usr/lib/nginx/modules"
        if Path(path, "ngx_http_lua_module.so").exists() and Path(path, "ndk_http_module.so").exists():
            return path
        lacking = ["nginx's Lua module"]
    raise ToolMissingError(f"make bench needs {' and '.join(lacking)}: {APT}")


def openrouter_keys(count: int, *, accounts: int = 1) -> list[str]:
    """Made-up keys, in turn of so many accounts; the upstream tells an account by the first 8 digits of a key."""
    named = [secrets.token_hex(4) for _ in range(accounts)]
    return [f"sk-or-v1-{named[number % accounts]}{secrets.token_hex(28)}" for number in range(count)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _die_with_parent() -> None:
    # The last resort, for a bench that is killed with -9.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # it leads a session of its own: whatever is left of its children
    process.wait(5)


class Rig:
    """Owns the folder and the processes. Leaving it stops them, newest first, and removes the folder."""

    def __init__(self, *, keep: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ormw-bench-"))
        self._stack = ExitStack()
        if not keep:
            self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self._logs: dict[int, Path] = {}
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        # An impatient second Ctrl-C must not leave half of them behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._stack.close()

    def spawn(self, name: str, command: Sequence[str], env: Mapping[str, str] | None = None) -> int:
        log = self.folder / f"{name}.out"
        with log.open("ab") as out:
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=self.folder,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - there are no threads here
            )
        self._logs[process.pid], self._processes[process.pid] = log, process
        self._stack.callback(_stop, process)
        return process.pid

    def stop(self, pid: int) -> None:
        """Ends one process early and lets it go in its own time."""
        self._processes[pid].terminate()
        self._processes[pid].wait(PATIENCE_S)

    def wait_until(self, ready: Callable[[], bool], pid: int, what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not ready():
            if self._processes[pid].poll() is not None or time.monotonic() > deadline:
                tail = self._logs[pid].read_text(errors="replace").splitlines()[-12:]
                raise BenchError("\n".join([f"{what} did not come up; its last lines:", *tail]))
            time.sleep(0.05)

    def nginx(self, name: str, values: Mapping[str, str]) -> tuple[int, int]:
        """Starts nginx on one of our configurations; its port and its process."""
        port = free_port()
        # As root, nginx would give its worker to nobody, who cannot read the temporary folder.
        user = "user root;" if os.geteuid() == 0 else ""
        filled = (HERE / f"{name}.conf").read_text()
        ours = {"dir": str(self.folder), "here": str(HERE), "user": user, "port": str(port)}
        for field, value in {**values, **ours}.items():
            filled = filled.replace("{{" + field + "}}", value)
        conf = self.folder / f"{name}.conf"
        conf.write_text(filled)
        log = self.folder / f"{name}.log"
        pid = self.spawn(name, ["nginx", "-p", str(self.folder), "-e", str(log), "-c", str(conf)])
        self.wait_until(lambda: listens(port), pid, f"nginx ({name})")
        return port, pid

    def upstream(self) -> Contestant:
        port, pid = self.nginx("upstream", {"modules": modules_path()})
        return Contestant("direct", port, pid, path="/api/v1/chat/completions")

    def yardstick(self, upstream: Contestant) -> Contestant:
        port, pid = self.nginx("yardstick", {"upstream_port": str(upstream.port)})
        return Contestant("nginx", port, pid)


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


class Gateway:
    """One gateway as its users start it: one worker, JSON log into a file, everything on."""

    def __init__(
        self,
        rig: Rig,
        name: str,
        upstream: Contestant,
        instead: str = "",
        key: str = "",
        pool: Sequence[str] = (),
        commands: Sequence[Sequence[str]] = (),
    ) -> None:
        self._rig, self.name, self.port = rig, name, free_port()
        self.data_dir = rig.folder / name
        self.data_dir.mkdir(mode=0o700)
        self._instead = instead
        self.key = key
        self._commands = commands or [["clients", "create", "bench", "--json"]]
        # Nothing of the caller's own surroundings: a proxy or a setting in them would change what is measured.
        self.env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": os.environ.get("HOME", "/"),
            "PYTHONPATH": str(ROOT),
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "WORKERS": "1",
            "DATA_DIR": str(self.data_dir),
            "LOG_FORMAT": "json",
            "OPENROUTER_BASE_URL": f"http://127.0.0.1:{upstream.port}/api/v1",
            "OPENROUTER_API_KEYS": ",".join(pool or openrouter_keys(3)),
        }
        self.pid = 0

    def start(self) -> Contestant:
        command = shlex.split(self._instead) if self._instead else [sys.executable, str(ROOT / "app" / "main.py")]
        self.pid = self._rig.spawn(self.name, command, self.env)
        self._rig.wait_until(lambda: listens(self.port), self.pid, "the gateway")
        self.key = self.key or ("" if self._instead else self._client_key())
        return Contestant(self.name, self.port, self.pid, key=self.key)

    def restart(self) -> Contestant:
        self._rig.stop(self.pid)
        return self.start()

    def _client_key(self) -> str:
        said = [self._run(words) for words in self._commands]
        key: str = json.loads(said[-1])["key"]
        return key

    def _run(self, words: Sequence[str]) -> str:
        done = subprocess.run(
            [str(COMMAND), *words],
            env=self.env,
            cwd=self._rig.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        if done.returncode:
            raise BenchError(f"no client key could be made: {(done.stderr or done.stdout).strip()[-600:]}")
        return done.stdout
