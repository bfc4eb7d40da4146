"""Starts our programs without Python's start-up: it has imported them once, and forks a process for each.

A suite starts hundreds of gateways and commands; each import costs a second of a core. The forked process is as real
as any: its own environment, folder, outputs, signals and exit code. Run as a program this is the server; `Forks` is
what talks to it. `python app/main.py` and the installed command themselves are run by test_main and test_cli.
"""

from __future__ import annotations

import array
import contextlib
import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
_LENGTH: Final = struct.Struct("!I")
_FDS: Final = 4  # the three streams, and where the exit status is written
GATEWAY: Final = "gateway"
CLI: Final = "cli"


# ---- the client's side


class Forked:
    """A process like subprocess.Popen's, as far as tests need it."""

    def __init__(self, pid: int, status: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._status = status

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("a forked process", timeout or 0)
            told = os.read(self._status, 16)
            os.close(self._status)
            self.returncode = int(told) if told else -signal.SIGKILL
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Forks:
    """The server and the way to it. Started with the first process that is asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._line: socket.socket | None = None

    def start(
        self,
        program: str,
        words: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        streams: tuple[IO[bytes] | int, IO[bytes] | int, IO[bytes] | int],
    ) -> Forked:
        """`program`: GATEWAY, CLI, or a module's name, run as by `python -m`."""
        heard, told = os.pipe()
        request = json.dumps({"program": program, "words": list(words), "cwd": str(cwd), "env": dict(env)}).encode()
        fds = [one if isinstance(one, int) else one.fileno() for one in streams]
        with self._lock:
            line = self._connected()
            socket.send_fds(line, [_LENGTH.pack(len(request))], [*fds, told])
            line.sendall(request)
            pid = _LENGTH.unpack(_exactly(line, _LENGTH.size))[0]
        os.close(told)
        return Forked(pid, heard)

    def run(
        self, program: str, words: Sequence[str], *, cwd: Path, env: Mapping[str, str], stdin: bytes, timeout: float
    ) -> subprocess.CompletedProcess[bytes]:
        """Like subprocess.run, with the output captured."""
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(_nameless()) for _ in range(3)]
            files[0].write(stdin)
            files[0].seek(0)
            process = self.start(program, words, cwd=cwd, env=env, streams=(files[0], files[1], files[2]))
            try:
                code = process.wait(timeout)
            finally:
                process.kill()
            out, err = (_all_of(one) for one in files[1:])
            return subprocess.CompletedProcess(list(words), code, out, err)

    def _connected(self) -> socket.socket:
        if self._line is None:
            ours, theirs = socket.socketpair()
            with theirs:
                subprocess.Popen(
                    [sys.executable, "-X", "utf8", "-m", "tests.fork_server", str(theirs.fileno())],
                    cwd=ROOT,
                    env={name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ},
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                ).returncode = 0  # it ends with our side of the line; nobody waits for it
            self._line = ours
        return self._line


def _nameless() -> IO[bytes]:
    return os.fdopen(os.memfd_create("stream"), "r+b", buffering=0)


def _all_of(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def _exactly(line: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        piece = line.recv(size - len(got))
        if not piece:
            raise EOFError("the fork server has ended")
        got += piece
    return got


forks: Final = Forks()


# ---- the server's side


def _preload() -> None:
    """Everything that the programs import, the modules that they import only when needed too."""
    import app.cli
    import app.main

    for package in (app.cli, app):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    gc.collect()
    gc.freeze()


def _serve(line: socket.socket) -> Callable[[], int]:
    """Forks for each request; returns in the forked process alone, with what it has to do."""
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(awake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    children: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([line, awake], [], [])
        if awake in ready:
            os.read(awake, 4096)
            _reap(children)
        if line not in ready:
            continue
        request, fds = _heard(line)
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for fd in (awake, wake, fds[3], line.fileno(), *children.values()):
                os.close(fd)
            line.detach()
            return lambda: _become(request, fds[:3])
        children[pid] = fds[3]
        for fd in fds[:3]:
            os.close(fd)
        line.sendall(_LENGTH.pack(pid))


def _heard(line: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """A request with its descriptors. Whoever asked is gone: so are we."""
    head, fds, _, _ = socket.recv_fds(line, _LENGTH.size, _FDS)
    if not head:
        os._exit(0)
    return json.loads(_exactly(line, _LENGTH.unpack(head)[0])), list(array.array("i", fds))


def _reap(children: dict[int, int]) -> None:
    for pid in list(children):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            told = children.pop(pid)
            with contextlib.suppress(BrokenPipeError):
                os.write(told, b"%d" % os.waitstatus_to_exitcode(status))
            os.close(told)


def _become(request: Mapping[str, Any], fds: Sequence[int]) -> int:
    """The program, as if it had been started."""
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        if fd > 2:
            os.close(fd)
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    os.chdir(request["cwd"])
    sys.stdin = io.TextIOWrapper(open(0, "rb", closefd=False), "utf-8")  # noqa: SIM115
    sys.stdout = io.TextIOWrapper(open(1, "wb", closefd=False), "utf-8")  # noqa: SIM115
    sys.stderr = io.TextIOWrapper(open(2, "wb", closefd=False), "utf-8", "backslashreplace", line_buffering=True)  # noqa: SIM115
    sys.argv = [request["program"], *request["words"]]
    if request["program"] == CLI:
        from app.cli import main

        return main()
    if request["program"] == GATEWAY:
        runpy.run_path(str(ROOT / "app" / "main.py"), run_name="__main__")
    else:
        runpy.run_module(request["program"], run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    _preload()
    sys.exit(_serve(socket.socket(fileno=int(sys.argv[1])))())
