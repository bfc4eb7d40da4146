from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

import pytest

from app.core import embedded
from app.core.embedded import EmbeddedRedis, EmbeddedRedisError, socket_url

ROOT = Path(__file__).parents[2]
LIMIT_S = 15.0

GATEWAY = """
import sys, time
from pathlib import Path
from app.core.embedded import EmbeddedRedis, EmbeddedRedisError
redis = EmbeddedRedis(Path(sys.argv[1]))
try:
    redis.start()
except EmbeddedRedisError as error:
    sys.exit(f"refused: {error}")
print(redis.pid, redis._watcher.pid, flush=True)
sys.stdin.read()
redis.stop()
"""


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def call(url: str, *words: str) -> bytes:
    """One command, without the client library."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(unquote(url.removeprefix("unix://")))
        connection.sendall((" ".join(words) + "\r\n").encode())
        return connection.recv(65536)


def alive(pid: int) -> bool:
    """Whether the process runs; one that only waits to be buried does not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


class Gateway:
    """A program of its own that runs an embedded Redis until its standard input ends."""

    def __init__(self, data_dir: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", GATEWAY, str(data_dir)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdin
        assert self.process.stdout
        self.redis, self.watcher = (int(word) for word in self.process.stdout.readline().split() or (0, 0))

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A DATA_DIR that does not exist yet."""
    return tmp_path / "data"


@pytest.fixture
def redis(data_dir: Path) -> Iterator[EmbeddedRedis]:
    """A running embedded Redis, stopped at the end."""
    redis = EmbeddedRedis(data_dir)
    redis.start()
    yield redis
    redis.stop()


@pytest.fixture
def gateway(data_dir: Path) -> Iterator[Gateway]:
    """A gateway in another process; whatever the test did, neither it nor its Redis is left."""
    gateway = Gateway(data_dir)
    yield gateway
    gateway.kill()
    for pid in (gateway.watcher, gateway.redis):
        with suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
            if b"redis" in words or b"read -r" in words:  # and not a newcomer with the same number
                os.kill(pid, signal.SIGKILL)


def test_it_is_private(redis: EmbeddedRedis, data_dir: Path) -> None:
    """A socket in a folder for the owner alone, no TCP port, no secrets in its environment, its own session."""
    path = data_dir / "redis.sock"
    assert redis.url == socket_url(data_dir) == f"unix://{path}"
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert b"tcp_port:0" in call(redis.url, "INFO", "server")
    assert redis.pid
    assert os.getsid(redis.pid) != os.getsid(0)
    assert Path(f"/proc/{redis.pid}/environ").read_bytes() == b""
    inodes = {os.readlink(link) for link in Path(f"/proc/{redis.pid}/fd").iterdir()}
    tables = [Path(f"/proc/net/{name}").read_text() for name in ("tcp", "tcp6")]
    listening = [line.split() for table in tables for line in table.splitlines()]
    assert not {f"socket:[{words[9]}]" for words in listening if words[3] == "0A"} & inodes


def test_its_settings(redis: EmbeddedRedis) -> None:
    """Append-only, never evicting, no snapshots."""
    for name, value in {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"}.items():
        assert value.encode() in call(redis.url, "CONFIG", "GET", name)
    assert call(redis.url, "CONFIG", "GET", "save").endswith(b"$0\r\n\r\n")


def test_an_open_data_dir_is_closed(data_dir: Path) -> None:
    """A folder that others could read is set to 0700."""
    data_dir.mkdir(mode=0o755)
    redis = EmbeddedRedis(data_dir)
    redis.start()
    redis.stop()

    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700


def test_stop_and_start_keep_the_data(data_dir: Path) -> None:
    """An orderly stop leaves no process and no socket, and the next start finds everything."""
    redis = EmbeddedRedis(data_dir)
    redis.start()
    pid = redis.pid or 0
    assert redis.owner
    call(redis.url, "SET", "key", "kept")
    redis.stop()
    redis.stop()
    assert not alive(pid)
    assert not (data_dir / "redis.sock").exists()

    redis.start()
    assert b"kept" in call(redis.url, "GET", "key")
    redis.stop()


def test_keys_survive_kill_nine_of_the_program(gateway: Gateway, data_dir: Path) -> None:
    """The gateway is killed, its Redis ends by itself, and a new start has every acknowledged key."""
    for number in range(50):
        assert call(socket_url(data_dir), "SET", f"k{number}", "x") == b"+OK\r\n"
    gateway.kill()
    until(lambda: not alive(gateway.redis))

    redis = EmbeddedRedis(data_dir)
    redis.start()
    assert call(redis.url, "DBSIZE") == b":50\r\n"
    redis.stop()


def test_a_restart_right_after_kill_nine(gateway: Gateway, data_dir: Path) -> None:
    """A supervisor that restarts at once meets the old server still ending: one server, all keys."""
    call(socket_url(data_dir), "SET", "key", "kept")
    gateway.kill()

    redis = EmbeddedRedis(data_dir)
    redis.start()
    assert redis.pid != gateway.redis
    assert not alive(gateway.redis)
    assert b"kept" in call(redis.url, "GET", "key")
    redis.stop()


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_an_orphan_is_replaced(gateway: Gateway, data_dir: Path, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the watching shell killed as well, the orphan runs on, or hangs: the next start ends it first."""
    monkeypatch.setattr(embedded, "_POLITE_S", 1.0)
    call(socket_url(data_dir), "SET", "key", "kept")
    os.kill(gateway.watcher, signal.SIGKILL)
    gateway.kill()
    if state == "stopped":
        os.kill(gateway.redis, signal.SIGSTOP)
    assert alive(gateway.redis)

    redis = EmbeddedRedis(data_dir)
    redis.start()
    assert not alive(gateway.redis)
    assert b"kept" in call(redis.url, "GET", "key")
    redis.stop()


def test_an_orphan_without_its_socket_is_never_joined(
    gateway: Gateway, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the orphan cannot be found, the start is refused rather than two servers writing one file."""
    monkeypatch.setattr(embedded, "_POLITE_S", 0.2)
    os.kill(gateway.watcher, signal.SIGKILL)
    gateway.kill()
    (data_dir / "redis.sock").unlink()

    with pytest.raises(EmbeddedRedisError, match="end it by hand"):
        EmbeddedRedis(data_dir).start()
    assert alive(gateway.redis)


def test_a_second_gateway_is_refused(gateway: Gateway, data_dir: Path) -> None:
    """One sentence that names the process which holds the DATA_DIR; the first goes on undisturbed."""
    second = Gateway(data_dir)
    assert second.process.wait(LIMIT_S) == 1
    _, error = second.process.communicate()

    assert error.decode().startswith(f"refused: Another gateway (process {gateway.process.pid}) uses this DATA_DIR")
    assert call(socket_url(data_dir), "PING") == b"+PONG\r\n"


def work(data_dir: Path) -> None:
    """What a worker process does: attach, write, leave."""
    redis = EmbeddedRedis(data_dir)
    redis.start()
    assert not redis.owner
    call(redis.url, "INCR", "workers")
    redis.stop()


def test_workers_attach(redis: EmbeddedRedis) -> None:
    """Worker processes of the gateway use its server, and leaving they leave it running."""
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=work, args=(redis._data_dir,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(LIMIT_S)

    assert [worker.exitcode for worker in workers] == [0, 0]
    assert call(redis.url, "GET", "workers") == b"$1\r\n2\r\n"


def test_a_killed_server_comes_back(redis: EmbeddedRedis, caplog: pytest.LogCaptureFixture) -> None:
    """kill -9 of the server alone: it is started again with its data, and the log says so."""
    call(redis.url, "SET", "key", "kept")
    first = redis.pid or 0
    os.kill(first, signal.SIGKILL)
    until(lambda: redis.pid != first and embedded._answers(redis._data_dir / "redis.sock"))

    assert b"kept" in call(redis.url, "GET", "key")
    assert "embedded redis ended" in [record.message for record in caplog.records]


def test_a_long_path(tmp_path: Path) -> None:
    """A DATA_DIR too deep for a socket's path, with a space: a short private folder serves, and is found again."""
    data_dir = tmp_path / ("deep folder " + "x" * 100) / "data"
    redis = EmbeddedRedis(data_dir)
    redis.start()
    path = Path(unquote(redis.url.removeprefix("unix://")))

    assert socket_url(data_dir) == redis.url
    assert len(str(path)) < 100
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert call(redis.url, "SET", "key", "kept") == b"+OK\r\n"
    redis.stop()
    assert not path.parent.exists()
    redis.start()
    assert b"kept" in call(redis.url, "GET", "key")
    redis.stop()


def test_relative_and_odd_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`./data` means the folder at the start, and quotes or percent signs in names are no trouble."""
    monkeypatch.chdir(tmp_path)
    redis = EmbeddedRedis(Path("my 'data' %41"))
    redis.start()

    assert call(redis.url, "PING") == b"+PONG\r\n"
    assert (tmp_path / "my 'data' %41" / "redis.sock").exists()
    redis.stop()


def test_a_shared_folder_is_refused(tmp_path: Path) -> None:
    """A folder like /tmp is not closed to others, it is refused."""
    tmp_path.chmod(0o1777)

    with pytest.raises(EmbeddedRedisError, match="own user"):
        EmbeddedRedis(tmp_path).start()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o777 or tmp_path.stat().st_mode & stat.S_ISVTX


def test_a_file_in_its_place(data_dir: Path) -> None:
    """A DATA_DIR that is no folder is one sentence."""
    data_dir.write_text("")

    with pytest.raises(EmbeddedRedisError, match="DATA_DIR cannot be used"):
        EmbeddedRedis(data_dir).start()


def test_broken_data_is_told(data_dir: Path) -> None:
    """A server that ends at once is a sentence with the place of its log, and the lock is free again."""
    data_dir.mkdir()
    (data_dir / "appendonly.aof").write_text("garbage\r\n" * 100)
    redis = EmbeddedRedis(data_dir)

    with pytest.raises(EmbeddedRedisError, match=r"ended at once: see .*redis\.log"):
        redis.start()
    assert not redis.owner
    assert (data_dir / "redis.log").stat().st_size > 0


def test_no_program_at_all(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing on PATH and no wheel: the sentence, and nothing is left locked."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("app.core.redis_binary.importlib.util.find_spec", lambda name: None)

    with pytest.raises(EmbeddedRedisError, match="apt install redis-server"):
        EmbeddedRedis(data_dir).start()
    monkeypatch.undo()
    redis = EmbeddedRedis(data_dir)
    redis.start()
    redis.stop()


def test_without_a_shell_it_works_as_well(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The watching shell is a convenience."""
    monkeypatch.setattr(embedded, "_watch", lambda pid: None)
    redis = EmbeddedRedis(data_dir)
    redis.start()

    assert call(redis.url, "PING") == b"+PONG\r\n"
    redis.stop()
