from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import logging
import shutil
import socket
import ssl
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from app.core.clock import SystemClock
from app.core.config import Settings
from app.core.redis import RedisManager, RedisOptions, RedisReplyError, RedisUnavailable, redis_options
from app.core.redis_checks import RedisRefused
from tests.redis_server import RedisServer, redis_executable, running_redis

BOUND_S = 10.0  # generous: the machine may be busy; the library's own default would take a minute


class ShiftedClock(SystemClock):
    """The machine's clock, which a test can push forward so that the breaker's pause is over."""

    def __init__(self) -> None:
        self.shift_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.shift_s


@asynccontextmanager
async def connected(url: str, clock: SystemClock | None = None, **options: Any) -> AsyncIterator[RedisManager]:
    manager = RedisManager(RedisOptions(url, **options), clock or SystemClock())
    try:
        await manager.connect()
        yield manager
    finally:
        await manager.close()


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[RedisManager]:
    """A manager on a real server."""
    async with connected(redis_server.url) as manager:
        yield manager


async def failures(manager: RedisManager, times: int) -> list[str]:
    """Why each of these calls, one after another, got no answer."""
    reasons = []
    for _ in range(times):
        with pytest.raises(RedisUnavailable) as caught:
            await manager.command("GET", "x")
        reasons.append(caught.value.reason)
    return reasons


def change(redis: RedisManager, record: str, *, expected: str = "*", key_id: str = "k1") -> Awaitable[Any]:
    keys = redis.keys
    arguments = [key_id, expected, record, '{"deed":1}', keys.changes, "openrouter"]
    return redis.script("change", [keys.openrouter_keys, keys.version, keys.audit], arguments)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND_S):
        while not true():
            await asyncio.sleep(0.01)


async def test_commands_and_pipelines(redis: RedisManager) -> None:
    """Bytes come back; a pipeline answers in order; an empty one asks nothing."""
    assert await redis.command("SET", "a", "1") is True
    assert await redis.pipeline([("INCR", "a"), ("GET", "a"), ("HSET", "h", "f", b"\xff"), ("HGETALL", "h")]) == [
        2, b"2", 1, {b"f": b"\xff"},
    ]  # fmt: skip
    assert await redis.pipeline([]) == []
    assert 0 < await redis.ping() < BOUND_S
    assert (redis.state, redis.warnings) == ("up", ())


@pytest.mark.parametrize(
    ("expected", "record", "outcome"),
    [
        ("0", "new", [b"conflict", 1, 1]),
        ("1", "new", [b"ok", 2, 2]),
        ("*", "new", [b"ok", 2, 2]),
        ("2", "new", [b"conflict", 1, 1]),
        ("1", "", [b"ok", 2, 2]),
        ("7", "", [b"conflict", 1, 1]),
    ],
)
async def test_change_compares_the_revision(
    redis: RedisManager, expected: str, record: str, outcome: list[Any]
) -> None:
    """A record of revision 1 is changed by those who know it, and by nobody else."""
    assert await change(redis, '{"a":1}', expected="0") == [b"ok", 1, 1]

    assert await change(redis, record, expected=expected) == outcome

    stored = await redis.command("HGET", redis.keys.openrouter_keys, "k1")
    done = outcome[0] == b"ok"
    assert stored == ((b"2\nnew" if record else None) if done else b'1\n{"a":1}')
    assert await redis.command("XLEN", redis.keys.audit) == (2 if done else 1)
    assert await redis.command("GET", redis.keys.version) == (b"2" if done else b"1")


@pytest.mark.parametrize(("expected", "record"), [("*", ""), ("3", ""), ("3", "new")])
async def test_change_of_what_is_not_there(redis: RedisManager, expected: str, record: str) -> None:
    """A deleted record cannot be changed or deleted again, and nothing is noted."""
    assert await change(redis, record, expected=expected) == [b"missing", 0, 0]
    assert await redis.command("XLEN", redis.keys.audit) == 0


async def test_change_notes_the_deed(redis: RedisManager) -> None:
    """The audit entry is stored as given."""
    await change(redis, "{}")

    ((_, entry),) = await redis.command("XRANGE", redis.keys.audit, "-", "+")
    assert json.loads(entry[b"entry"]) == {"deed": 1}


async def test_scripts_come_back_after_a_flush(redis: RedisManager) -> None:
    """SCRIPT FLUSH, or a restart, is not noticed by the caller, in a pipeline neither."""
    for flush in ("script", "pipeline"):
        await redis.command("SCRIPT FLUSH")
        if flush == "script":
            assert (await change(redis, "{}"))[0] == b"ok"
        else:
            keys = redis.keys
            call = redis.script_call(
                "change", [keys.client_keys, keys.version, keys.audit], ["c", "0", "{}", "", "c", "x"]
            )
            assert await redis.pipeline([("SET", "a", 1), call, ("GET", "a")]) == [True, [b"ok", 2, 1], b"1"]


async def test_five_hundred_at_once_with_fifty_connections(redis: RedisManager) -> None:
    """Calls beyond the pool wait for a connection and succeed."""
    answers = await asyncio.gather(*(redis.command("INCR", "n") for _ in range(500)))

    assert sorted(answers) == list(range(1, 501))
    clients = await redis.command("INFO", "clients")
    assert clients["connected_clients"] <= 50


async def test_a_stopped_redis_is_given_up(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """SIGSTOP: each call ends in bounded time, then the breaker fails at once, and all is well after SIGCONT."""
    caplog.set_level(logging.INFO)
    clock = ShiftedClock()
    async with connected(redis_server.url, clock) as redis:
        redis_server.pause()
        began = time.monotonic()
        assert await failures(redis, 5) == ["timeout"] * 5
        assert time.monotonic() - began < BOUND_S
        assert redis.state == "down"

        assert await failures(redis, 1000) == ["breaker_open"] * 1000

        redis_server.resume()
        clock.shift_s += 1
        assert await redis.command("GET", "x") is None
        assert redis.state == "up"
    told = [record.message for record in caplog.records if record.name == "app.core.redis"]
    assert told == ["redis connection lost", "redis connection restored"]


async def test_a_burst_on_a_stopped_redis_ends_together(redis_server: RedisServer) -> None:
    """Those who wait for a connection do not wait out their turns once the breaker is open."""
    async with connected(redis_server.url, pool_size=10) as redis:
        redis_server.pause()
        calls = [redis.command("GET", "x") for _ in range(300)]
        async with asyncio.timeout(BOUND_S):
            outcomes = Counter(str(error) for error in await asyncio.gather(*calls, return_exceptions=True))

    assert outcomes == {"Redis is not available (timeout)": 10, "Redis is not available (breaker_open)": 290}


async def test_half_open_lets_one_of_two_hundred_through(redis_server: RedisServer) -> None:
    """F-13: when the pause is over, two hundred ask at that instant and one command reaches Redis."""
    clock = ShiftedClock()
    async with connected(redis_server.url, clock) as redis:
        redis_server.pause()
        await failures(redis, 5)
        redis_server.resume()
        redis_server.call("CONFIG", "RESETSTAT")
        clock.shift_s += 1

        answers = await asyncio.gather(*(redis.command("INCR", "n") for _ in range(200)), return_exceptions=True)

    assert sum(answer == 1 for answer in answers) == 1
    refused = [error.reason for error in answers if isinstance(error, RedisUnavailable)]
    assert refused == ["breaker_open"] * 199
    assert b"cmdstat_incr:calls=1," in redis_server.call("INFO", "commandstats")


async def test_a_cancelled_probe_does_not_shut_redis_out(redis_server: RedisServer) -> None:
    """The caller who was the probe goes away: the next one is the probe."""
    clock = ShiftedClock()
    async with connected(redis_server.url, clock) as redis:
        redis_server.pause()
        await failures(redis, 5)
        clock.shift_s += 1
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(redis.command("GET", "x"), 0.05)
        redis_server.resume()

        assert await redis.command("GET", "x") is None


async def test_cancelled_calls_leave_nothing_behind(redis: RedisManager) -> None:
    """Calls cancelled at any point give their connection back, and no answer reaches another caller."""
    for turn in range(20):
        calls = [asyncio.create_task(redis.command("ECHO", f"{turn}:{number}")) for number in range(100)]
        await asyncio.sleep(turn * 0.0003)
        for call in calls[::2]:
            call.cancel()
        kept = await asyncio.gather(*calls, return_exceptions=True)
        for number in range(1, 100, 2):
            assert kept[number] == f"{turn}:{number}".encode()

    assert await asyncio.gather(*(redis.command("ECHO", str(n)) for n in range(100))) == [
        str(n).encode() for n in range(100)
    ]


async def test_kill_nine_and_restart(redis_server: RedisServer) -> None:
    """What was acknowledged is still there, calls work again by themselves, and scripts too."""
    clock = ShiftedClock()
    async with connected(redis_server.url, clock) as redis:
        for number in range(200):
            await redis.command("SET", f"k{number}", number)
        redis_server.kill()
        assert await failures(redis, 6) == ["connection"] * 5 + ["breaker_open"]
        redis_server.start()
        clock.shift_s += 1

        assert await redis.pipeline([("GET", f"k{number}") for number in range(200)]) == [
            str(number).encode() for number in range(200)
        ]
        assert (await change(redis, "{}"))[0] == b"ok"


async def test_idle_connections_survive_a_restart(redis_server: RedisServer) -> None:
    """A restart between two calls costs the second one nothing: dead connections are noticed before use."""
    async with connected(redis_server.url, timeout_s=BOUND_S) as redis:
        await asyncio.gather(*(redis.command("PING") for _ in range(50)))
        redis_server.kill()
        redis_server.start()
        await asyncio.sleep(0.05)

        assert await asyncio.gather(*(redis.command("INCR", "n") for _ in range(50))) is not None


@pytest.fixture
async def heard(redis: RedisManager) -> AsyncIterator[list[str]]:
    """What a listener on the channel of changes hears, resyncs included."""
    events: list[str] = []

    async def on_message(payload: bytes) -> None:
        events.append(payload.decode())

    async def on_resync() -> None:
        await redis.command("PING")
        events.append("resync")

    listener = asyncio.create_task(redis.listen(redis.keys.changes, on_message, on_resync))
    await until(lambda: events == ["resync"])
    yield events
    listener.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listener


async def test_listeners_hear_changes(redis: RedisManager, heard: list[str]) -> None:
    """Each change is told with its version, kind and id."""
    await change(redis, "{}")
    await change(redis, "")
    await until(lambda: len(heard) == 3)

    assert heard == ["resync", "1 openrouter k1", "2 openrouter k1"]


async def test_listeners_resync_after_a_restart(
    redis_server: RedisServer, redis: RedisManager, heard: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """After kill -9 and restart the listener comes back by itself, resyncs, hears, and vouches for Redis."""
    redis_server.kill()
    await failures(redis, 6)
    await asyncio.sleep(0.3)
    redis_server.start()
    await until(lambda: heard == ["resync", "resync"])

    assert redis.state == "up"  # without waiting for the breaker's pause
    await change(redis, "{}")
    await until(lambda: heard[2:] == ["1 openrouter k1"])
    told = Counter(record.message for record in caplog.records if record.name == "app.core.redis")
    assert told["redis subscription lost"] == 1


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Listeners that ask after a third of a second of silence."""
    monkeypatch.setattr("app.core.redis._QUIET_S", 0.3)


@pytest.mark.usefixtures("impatient")
async def test_listeners_notice_a_silent_redis(redis_server: RedisServer, heard: list[str]) -> None:
    """A connection that stays open but is dead is found by asking, and replaced."""
    redis_server.pause()
    await asyncio.sleep(1.8)
    redis_server.resume()

    await until(lambda: heard.count("resync") == 2)


@pytest.mark.usefixtures("impatient")
async def test_listeners_stay_in_quiet_times(redis: RedisManager, heard: list[str]) -> None:
    """Nothing to hear is no reason to resubscribe, and later words are heard."""
    await asyncio.sleep(1.5)
    await change(redis, "{}")
    await until(lambda: len(heard) == 2)

    assert heard == ["resync", "1 openrouter k1"]


async def test_a_failing_resync_is_tried_again(redis: RedisManager) -> None:
    """When the state cannot be read after subscribing, the listener subscribes anew."""
    attempts = []

    async def on_resync() -> None:
        attempts.append(1)
        if len(attempts) < 3:
            raise RedisUnavailable("timeout")

    async def on_message(payload: bytes) -> None:
        raise AssertionError(payload)

    listener = asyncio.create_task(redis.listen("quiet", on_message, on_resync))
    await until(lambda: len(attempts) == 3)
    listener.cancel()
    await asyncio.wait([listener])


async def test_refused_writes_leave_reads_alone(redis_server: RedisServer, redis: RedisManager) -> None:
    """F-18: a full Redis is away for writes, scripts and pipelines too, and up for reads."""
    await redis.command("SET", "a", "1")
    redis_server.call("CONFIG", "SET", "maxmemory", "1")
    for _ in range(7):
        for write in (redis.command("SET", "b", "1"), redis.pipeline([("SET", "b", 1)]), change(redis, "{}")):
            with pytest.raises(RedisUnavailable) as caught:
                await write
            assert caught.value.reason == "oom"

    assert await redis.command("GET", "a") == b"1"
    assert redis.state == "up"


async def test_a_read_only_redis(redis_server: RedisServer, redis: RedisManager) -> None:
    """F-33: a replica refuses writes and is not taken for dead."""
    await redis.command("SET", "a", "1")
    redis_server.call("REPLICAOF", "127.0.0.1", "1")
    for _ in range(7):
        with pytest.raises(RedisUnavailable) as caught:
            await redis.command("SET", "a", "2")
        assert caught.value.reason == "readonly"

    assert await redis.command("GET", "a") == b"1"


async def test_a_redis_that_cannot_write_its_file(tmp_path: Path) -> None:
    """F-17: MISCONF closes writes and leaves reads."""
    with running_redis(tmp_path, appendonly="no") as server:
        async with connected(server.url) as redis:
            await redis.command("SET", "a", "1")
            server.call("CONFIG", "SET", "save", "900 1")
            shutil.rmtree(tmp_path)  # permissions would not stop a test that runs as root
            server.call("BGSAVE")
            await until(lambda: b"rdb_last_bgsave_status:err" in server.call("INFO", "persistence"))

            with pytest.raises(RedisUnavailable) as caught:
                await redis.command("SET", "a", "2")
            assert caught.value.reason == "misconf"
            assert await redis.command("GET", "a") == b"1"


class LoadingServer:
    """Answers LOADING some times and then OK, as a Redis that reads a large file does."""

    def __init__(self, path: Path, times: int, **options: Any) -> None:
        self.path = path
        self.left = times
        self.options = RedisOptions(f"unix://{path}", **options)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            self.left -= 1
            writer.write(b"-LOADING Redis is loading the dataset in memory\r\n" if self.left >= 0 else b"+OK\r\n")
        writer.close()

    async def __aenter__(self) -> RedisManager:
        self._server = await asyncio.start_unix_server(self.serve, self.path)
        self._manager = RedisManager(self.options, SystemClock())
        return self._manager

    async def __aexit__(self, *error: object) -> None:
        await self._manager.close()
        self._server.close()
        await self._server.wait_closed()


@pytest.fixture
def short_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A path short enough for a socket."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="t-") as folder:
        yield Path(folder) / "s"


async def test_loading_is_waited_out(short_path: Path) -> None:
    """F-33: a Redis that loads its data is given two seconds, and no failure is counted."""
    async with LoadingServer(short_path, times=6) as redis:
        assert await redis.command("GET", "a") == b"OK"
        assert redis.state == "up"
    async with LoadingServer(short_path, times=2) as redis:
        assert await redis.pipeline([("GET", "a")]) == [b"OK"]


async def test_a_full_pool_is_no_failure(short_path: Path) -> None:
    """Who waits too long for a connection is told so, and Redis is not blamed."""
    async with LoadingServer(short_path, times=10_000, pool_size=1, timeout_s=0.02) as redis:
        holder = asyncio.create_task(redis.command("GET", "a"))
        await asyncio.sleep(0)
        assert await failures(redis, 6) == ["pool_busy"] * 6
        assert redis.state == "up"
        holder.cancel()
        await asyncio.wait([holder])


async def test_loading_for_too_long(short_path: Path) -> None:
    """After two seconds the caller is told."""
    async with LoadingServer(short_path, times=10_000) as redis:
        with pytest.raises(RedisUnavailable) as caught:
            await redis.command("GET", "a")

    assert caught.value.reason == "loading"


async def test_mistakes_are_told_without_their_arguments(redis: RedisManager) -> None:
    """A wrong command is the program's fault: another exception, with the code and nothing that was sent."""
    await redis.command("SET", "a", "1")
    for args, code in ((("LPUSH", "a", "CANARY"), "WRONGTYPE"), (("NOSUCH", "CANARY"), "ERR")):
        with pytest.raises(RedisReplyError) as caught:
            await redis.command(*args)
        assert caught.value.code == code
        assert "CANARY" not in str(caught.value)
        assert caught.value.__suppress_context__
    with pytest.raises(RedisReplyError):
        await redis.pipeline([("SET", "b", "1"), ("LPUSH", "a", "CANARY")])
    assert await redis.command("GET", "b") == b"1"


async def test_passwords(tmp_path: Path) -> None:
    """From the URL or beside it; a wrong one is a reason, and no text shows any."""
    with running_redis(tmp_path, requirepass="CANARY") as server:
        async with connected(server.url, password="CANARY") as redis:
            await redis.command("SET", "a", "1")
            assert "CANARY" not in repr(redis) + repr(RedisOptions(server.url, password="CANARY"))
        async with connected(server.url.replace("unix://", "unix://:CANARY@")) as redis:
            assert await redis.command("GET", "a") == b"1"
        for password in ("", "WRONG"):
            with pytest.raises(RedisUnavailable) as caught:
                async with connected(server.url, password=password):
                    pass
            assert caught.value.reason == "authentication"


async def test_another_database(redis_server: RedisServer) -> None:
    """The URL chooses it."""
    async with connected(redis_server.url + "?db=3") as redis:
        await redis.command("SET", "a", "1")

    assert b"db3:keys=1" in redis_server.call("INFO", "keyspace")


async def test_an_evicting_redis_is_refused(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """F-19: allkeys-lru stops the start, and with the override it is a warning."""
    redis_server.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")

    with pytest.raises(RedisRefused, match="allkeys-lru"):
        async with connected(redis_server.url):
            pass
    async with connected(redis_server.url, allow_evicting=True) as redis:
        assert "allkeys-lru" in redis.warnings[0]
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == ["redis setup risky"]


async def test_a_redis_without_file_warns(redis_server: RedisServer) -> None:
    """No append-only file: it starts, and says what that means."""
    redis_server.call("CONFIG", "SET", "appendonly", "no")

    async with connected(redis_server.url) as redis:
        assert "append-only" in redis.warnings[0]


def certificate(folder: Path) -> Path:
    """A self-signed certificate for localhost with its key, in one file."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    key = ec.generate_private_key(ec.SECP256R1())
    day = dt.timedelta(days=1)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(dt.datetime.now(dt.UTC) - day)
        .not_valid_after(dt.datetime.now(dt.UTC) + day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "pair.pem").write_bytes(plain + made.public_bytes(Encoding.PEM))
    return folder / "pair.pem"


async def test_tls(redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """rediss:// talks to a certificate that the system trusts, and to no other."""
    pair = certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(redis_server.socket)
        await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))

    async with await asyncio.start_server(forward, "localhost", 0, ssl=context) as server:
        url = f"rediss://localhost:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(RedisUnavailable) as caught:
            async with connected(url):
                pass
        assert caught.value.reason == "connection"
        monkeypatch.setenv("SSL_CERT_FILE", str(pair))
        async with connected(url, timeout_s=2.0) as redis:
            assert await redis.command("INCR", "n") == 1
        await asyncio.sleep(0.05)


async def test_nothing_there(tmp_path: Path) -> None:
    """No server: one reason, in bounded time."""
    with pytest.raises(RedisUnavailable) as caught:
        async with connected(f"unix://{tmp_path}/none"):
            pass

    assert caught.value.reason == "connection"


def test_options_of_the_settings(tmp_path: Path) -> None:
    """REDIS_URL counts; without it the given URL, else the embedded server's socket."""
    settings = Settings(data_dir=tmp_path, redis_url="", redis_prefix="p", redis_pool_size=7)

    assert redis_options(settings).url == f"unix://{tmp_path}/redis.sock"
    assert redis_options(settings, "unix:///x").url == "unix:///x"
    assert (redis_options(settings).prefix, redis_options(settings).pool_size) == ("p", 7)


def free_ports(count: int) -> list[int]:
    """Ports whose cluster-bus twin, 10000 above, exists as well."""
    with ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < count:
            probe = stack.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            if (port := probe.getsockname()[1]) < 55_000:
                ports.append(port)
    return ports


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[list[RedisServer]]:
    """Three masters that share the slots."""
    with ExitStack() as stack:
        servers = []
        for port in free_ports(3):
            (tmp_path / str(port)).mkdir()
            options = {"port": str(port), "bind": "127.0.0.1", "cluster_enabled": "yes"}
            servers.append(stack.enter_context(running_redis(tmp_path / str(port), **options)))
        bounds = [0, 5461, 10923, 16384]
        for place, server in enumerate(servers):
            server.call("CLUSTER", "ADDSLOTS", *map(str, range(bounds[place], bounds[place + 1])))
            server.call("CLUSTER", "SET-CONFIG-EPOCH", str(place + 1))
            server.call("CLUSTER", "MEET", "127.0.0.1", servers[0].options["port"])
        deadline = time.monotonic() + 20
        while not all(b"cluster_state:ok" in server.call("CLUSTER", "INFO") for server in servers):
            assert time.monotonic() < deadline, "the cluster does not form"
            time.sleep(0.05)
        yield servers


async def test_a_cluster(cluster: list[RedisServer]) -> None:
    """Commands, pipelines, scripts and the channel work over three masters; one node in the URL is enough."""
    heard: list[bytes] = []
    ready = asyncio.Event()

    async def on_message(payload: bytes) -> None:
        heard.append(payload)

    async def on_resync() -> None:
        ready.set()

    async with connected(f"redis+cluster://127.0.0.1:{cluster[1].options['port']}") as redis:
        listener = asyncio.create_task(redis.listen(redis.keys.changes, on_message, on_resync))
        await asyncio.wait_for(ready.wait(), BOUND_S)
        await asyncio.gather(*(redis.command("SET", redis.keys.owner("generation", str(n)), n) for n in range(300)))
        assert await redis.pipeline([("GET", redis.keys.owner("generation", str(n))) for n in range(60)]) == [
            str(n).encode() for n in range(60)
        ]
        assert (await change(redis, "{}"))[0] == b"ok"
        await redis.command("SCRIPT FLUSH")
        assert await change(redis, "{}", expected="1") == [b"ok", 2, 2]
        await until(lambda: heard == [b"1 openrouter k1", b"2 openrouter k1"])
        assert await redis.ping() > 0
        listener.cancel()
        await asyncio.wait([listener])
    for server in cluster:
        assert b"keys=" in server.call("INFO", "keyspace")


async def test_a_cluster_is_checked_node_by_node(cluster: list[RedisServer]) -> None:
    """One evicting master is enough to refuse."""
    cluster[2].call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")

    with pytest.raises(RedisRefused):
        async with connected(f"redis+cluster://127.0.0.1:{cluster[0].options['port']}"):
            pass


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[str, RedisServer]]:
    """The URL of a sentinel that watches over a master and a replica, after one that is not there; and the master."""
    folders = [tmp_path / name for name in ("master", "replica", "sentinel")]
    for folder in folders:
        folder.mkdir()
    ports = [str(port) for port in free_ports(4)]
    conf = folders[2] / "sentinel.conf"
    conf.write_text(
        f"port {ports[2]}\nbind 127.0.0.1\ndir {folders[2]}\nsentinel monitor main 127.0.0.1 {ports[0]} 1\n"
        "sentinel down-after-milliseconds main 300\nsentinel failover-timeout main 1000\n"
    )
    with ExitStack() as stack:
        master = stack.enter_context(running_redis(folders[0], port=ports[0], bind="127.0.0.1"))
        follower = stack.enter_context(running_redis(folders[1], port=ports[1], bind="127.0.0.1"))
        follower.call("REPLICAOF", "127.0.0.1", ports[0])
        deadline = time.monotonic() + 10
        while b"master_link_status:up" not in follower.call("INFO", "replication"):
            assert time.monotonic() < deadline, "the replica does not follow"
            time.sleep(0.05)
        words = [redis_executable(), str(conf), "--sentinel"]
        sentinel = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stack.callback(sentinel.wait)
        stack.callback(sentinel.kill)
        yield f"redis+sentinel://127.0.0.1:{ports[3]},127.0.0.1:{ports[2]}/main", master


async def test_sentinel(guarded: tuple[str, RedisServer]) -> None:
    """The master is found through the sentinel that lives; when it dies, calls go on with the new one."""
    url, master = guarded
    clock = ShiftedClock()
    redis = RedisManager(RedisOptions(url), clock)

    async def when_up(work: Callable[[], Awaitable[Any]]) -> Any:
        async with asyncio.timeout(25):
            while True:
                try:
                    return await work()
                except RedisUnavailable:
                    await asyncio.sleep(0.1)
                    clock.shift_s += 30

    await when_up(redis.connect)
    assert await change(redis, "{}") == [b"ok", 1, 1]
    assert (await redis.command("INFO", "replication"))["connected_slaves"] == 1
    await redis.command("WAIT", 1, 200)
    # The sentinel has to have seen the replica before it can promote it: it asks every ten seconds, and at its start.
    await asyncio.sleep(1)
    master.kill()

    assert await when_up(lambda: change(redis, "{}", expected="1")) == [b"ok", 2, 2]
    await redis.close()
