"""The private Redis of a gateway without REDIS_URL: a child process on a unix socket in DATA_DIR, with no TCP port.

It knows files and processes, and nothing of keys. One gateway owns a DATA_DIR (flock); its worker processes attach.
After a `kill -9` a one-line shell ends the server: it waits on a pipe that only the gateway holds (PR_SET_PDEATHSIG is
bound to a thread). Were the shell killed too, the next start ends the orphan, known by the lock that it inherited.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import multiprocessing
import os
import shutil
import signal
import socket
import stat
import struct
import subprocess  # nosec B404
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final
from urllib.parse import quote

from app.core.clock import Clock, SystemClock
from app.core.redis_binary import Binary, EmbeddedRedisError, find_redis

__all__ = ["EmbeddedRedis", "EmbeddedRedisError", "socket_url"]

log = logging.getLogger(__name__)

_LONGEST_SOCKET_PATH: Final = 100  # bytes; the kernel's limit is 107, on macOS 103
_POINTER: Final = "redis.socket-path"
_POLL_S: Final = 0.02
_POLITE_S: Final = 10.0  # how long a server may take to write everything and end
_LARGEST_LOG: Final = 1_000_000
_WATCHER: Final = 'trap "" INT HUP; read -r _; kill "$0"'


class EmbeddedRedis:
    """Starts the server, or attaches to the one that a process of the same gateway runs."""

    def __init__(self, data_dir: Path, clock: Clock | None = None, *, patience_s: float = 60.0) -> None:
        self._data_dir = data_dir.absolute()
        self._clock = clock or SystemClock()
        self._patience_s = patience_s
        self._lock: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        self._guard: threading.Thread | None = None
        self._stopping = threading.Event()
        self.url = ""

    @property
    def owner(self) -> bool:
        """Whether this object runs the server, rather than being attached to it."""
        return self._lock is not None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Returns when the server answers. Raises EmbeddedRedisError with a sentence."""
        _make_private(self._data_dir)
        self._lock = _take_lock(self._data_dir / "lock")
        if self._lock is None:
            self._attach()
            return
        self._stopping.clear()
        try:
            self._launch()
        except BaseException:
            self._let_go()
            raise
        self._guard = threading.Thread(target=self._keep_running, name="embedded-redis", daemon=True)
        self._guard.start()

    def stop(self) -> None:
        """Ends the server after it has written everything. Does nothing when only attached."""
        if self._lock is None:
            return
        self._stopping.set()
        if self._process is not None:
            self._process.terminate()
        if self._guard is not None:
            self._guard.join(_POLITE_S)
        self._let_go()

    def _attach(self) -> None:
        # A fellow worker may have the lock and not yet have written its name into it.
        if not self._within(1.0, lambda: _holder(self._data_dir).get("family") == _family()):
            raise EmbeddedRedisError(
                f"Another gateway (process {_holder(self._data_dir).get('pid', 'unknown')}) uses this DATA_DIR: "
                "stop it, or give this one a DATA_DIR of its own."
            )
        if not self._within(self._patience_s, lambda: _answers(_socket_path(self._data_dir))):
            raise EmbeddedRedisError("The embedded Redis of this gateway's first process does not answer.")
        self.url = socket_url(self._data_dir)

    def _launch(self) -> None:
        binary = find_redis(self._data_dir)
        lock = _take_lock(self._data_dir / "redis.lock") or self._end_orphan()
        with lock:
            path = _new_socket_path(self._data_dir)
            self._process = process = _spawn(binary, self._data_dir, path, lock.fileno())
        self._watcher = _watch(process.pid)
        if not self._within(self._patience_s, lambda: _answers(path) or process.poll() is not None):
            raise EmbeddedRedisError("The embedded Redis does not answer: its data took too long to load.")
        if process.poll() is not None:
            raise EmbeddedRedisError(f"The embedded Redis ended at once: see {self._data_dir / 'redis.log'}.")
        self.url = _url(path)
        log.info("embedded redis started", extra={"program": binary.path, "redis_pid": process.pid})

    def _end_orphan(self) -> IO[str]:
        """Ends the server that a killed gateway left, and takes its lock when it is surely gone."""
        orphan = _listener(_socket_path(self._data_dir))
        log.warning("orphaned redis found", extra={"redis_pid": orphan})
        locks: list[IO[str]] = []

        def gone() -> bool:
            lock = _take_lock(self._data_dir / "redis.lock")
            locks.extend([lock] if lock else [])
            return lock is not None

        for word in (signal.SIGTERM, signal.SIGKILL):
            if orphan is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(orphan, word)
            if self._within(_POLITE_S, gone):
                return locks[0]
        raise EmbeddedRedisError(f"An earlier Redis still uses {self._data_dir} and does not end: end it by hand.")

    def _keep_running(self) -> None:
        """Starts the server again whenever it was killed, until `stop`."""
        pause_s = 0.1
        while (process := self._process) is not None:
            if self._stopping.is_set():
                process.terminate()
            began = self._clock.monotonic_s()
            process.wait()
            _end(self._watcher)
            if self._stopping.is_set():
                return
            log.error("embedded redis ended", extra={"status": process.returncode})
            pause_s = 0.1 if self._clock.monotonic_s() - began > 60 else min(pause_s * 2, 10.0)
            self._stopping.wait(pause_s)
            try:
                self._launch()
            except (EmbeddedRedisError, OSError) as error:
                log.error("embedded redis failed", extra={"error": type(error).__name__})  # noqa: TRY400 - no traceback

    def _let_go(self) -> None:
        _end(self._watcher)
        if self._process is not None:
            _end(self._process)
            path = _socket_path(self._data_dir)
            path.unlink(missing_ok=True)
            if path.parent != self._data_dir:
                shutil.rmtree(path.parent, ignore_errors=True)
                (self._data_dir / _POINTER).unlink(missing_ok=True)
        self._process = self._watcher = self._guard = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _within(self, limit_s: float, done: Callable[[], bool]) -> bool:
        deadline = self._clock.monotonic_s() + limit_s
        while not done():
            if self._clock.monotonic_s() > deadline or self._stopping.wait(_POLL_S):
                return False
        return True


def socket_url(data_dir: Path) -> str:
    """Where the embedded server of a gateway on this DATA_DIR listens, whether it runs or not."""
    return _url(_socket_path(data_dir.absolute()))


def _url(path: Path) -> str:
    return f"unix://{quote(str(path))}"


def _socket_path(data_dir: Path) -> Path:
    path = data_dir / "redis.sock"
    if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
        return path
    with contextlib.suppress(OSError):
        return Path((data_dir / _POINTER).read_text("utf-8"))
    return path


def _new_socket_path(data_dir: Path) -> Path:
    """The path for a new server, free of an old socket; in a short private folder when DATA_DIR's is too long."""
    path = _socket_path(data_dir)
    if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH or not path.parent.is_dir():
        path = Path(tempfile.mkdtemp(prefix="openrouter-middleware-")) / "redis.sock"
        (data_dir / _POINTER).write_text(str(path), "utf-8")
    path.unlink(missing_ok=True)
    return path


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        facts = folder.stat()
        if facts.st_uid != os.geteuid() or facts.st_mode & stat.S_ISVTX:
            raise EmbeddedRedisError("DATA_DIR must be a folder of the gateway's own user: choose another one.")
        folder.chmod(0o700)
    except OSError as error:
        raise EmbeddedRedisError(f"DATA_DIR cannot be used ({error.strerror}).") from None


def _take_lock(path: Path) -> IO[str] | None:
    """The locked file, or None when another process holds it. The kernel frees it however the holder dies."""
    file = path.open("a+", encoding="ascii")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    file.truncate(0)
    file.write(json.dumps({"pid": os.getpid(), "family": _family()}))
    file.flush()
    return file


def _family() -> int:
    """The same number in a gateway's first process and in the workers that it starts."""
    parent = multiprocessing.parent_process()
    return parent.pid if parent is not None and parent.pid else os.getpid()


def _holder(data_dir: Path) -> dict[str, int]:
    try:
        return dict(json.loads((data_dir / "lock").read_text("ascii")))
    except (OSError, ValueError):
        return {}


def _spawn(binary: Binary, data_dir: Path, path: Path, lock: int) -> subprocess.Popen[bytes]:
    options = {
        "dir": str(data_dir),
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    journal = data_dir / "redis.log"
    mode = "wb" if journal.exists() and journal.stat().st_size > _LARGEST_LOG else "ab"
    with journal.open(mode) as output:
        return subprocess.Popen(  # noqa: S603 # nosec B603
            [binary.path, *(word for name, value in options.items() for word in (f"--{name}", value))],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(lock,),
            env={},  # the gateway's holds secrets
            umask=0o077,
            start_new_session=True,  # Ctrl-C ends the gateway, which drains first and then ends the server
        )


def _watch(server: int) -> subprocess.Popen[bytes] | None:
    shell = shutil.which("sh", path=os.defpath)
    if shell is None:
        return None
    return subprocess.Popen(  # noqa: S603 # nosec B603
        [shell, "-c", _WATCHER, str(server)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={},
        start_new_session=True,
    )


def _end(process: subprocess.Popen[bytes] | None) -> None:
    if process is None:
        return
    process.kill()
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _answers(path: Path) -> bool:
    """Whether a server listens there and has loaded its data."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1.0)
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def _listener(path: Path) -> int | None:
    """The process that listens on the socket, however silent it is."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1.0)
            connection.connect(str(path))
            facts = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    except OSError:
        return None
    pid: int = struct.unpack("3i", facts)[0]
    return pid or None
