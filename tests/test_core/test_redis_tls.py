"""Sentinel and Cluster over TLS, with real servers that speak nothing else."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from app.core.redis import RedisUnavailable
from tests.redis_server import RedisServer, redis_executable, running_redis
from tests.test_core.test_redis import BOUND_S, change, connected, free_ports


def own_certificate(folder: Path) -> dict[str, str]:
    """Settings of a server with a self-signed certificate for 127.0.0.1."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    key = ec.generate_private_key(ec.SECP256R1())
    day = dt.timedelta(days=1)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(dt.datetime.now(dt.UTC) - day)
        .not_valid_after(dt.datetime.now(dt.UTC) + day)
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / "cert.pem").write_bytes(made.public_bytes(Encoding.PEM))
    return {
        "tls-cert-file": str(folder / "cert.pem"),
        "tls-key-file": str(folder / "key.pem"),
        "tls-ca-cert-file": str(folder / "cert.pem"),
        "tls-auth-clients": "no",
    }


def started(stack: ExitStack, folder: Path, **options: str) -> RedisServer:
    """Skips where this redis-server was built without TLS."""
    folder.mkdir()
    try:
        return stack.enter_context(running_redis(folder, bind="127.0.0.1", **options))
    except AssertionError:
        pytest.skip("this redis-server speaks no TLS")


def until(true: object, what: str) -> None:
    deadline = time.monotonic() + 20
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.fixture
def pair(tmp_path: Path) -> dict[str, str]:
    return own_certificate(tmp_path)


@pytest.fixture
def cluster(tmp_path: Path, pair: dict[str, str]) -> Iterator[list[str]]:
    """The ports of three masters that share the slots and talk to each other over TLS too."""
    with ExitStack() as stack:
        ports = [str(port) for port in free_ports(3)]
        secure = {name.replace("-", "_"): value for name, value in pair.items()}
        servers = [
            started(stack, tmp_path / port, tls_port=port, tls_cluster="yes", cluster_enabled="yes", **secure)
            for port in ports
        ]
        bounds = [0, 5461, 10923, 16384]
        for place, server in enumerate(servers):
            server.call("CLUSTER", "ADDSLOTS", *map(str, range(bounds[place], bounds[place + 1])))
            server.call("CLUSTER", "SET-CONFIG-EPOCH", str(place + 1))
            server.call("CLUSTER", "MEET", "127.0.0.1", ports[0])
        until(lambda: all(b"cluster_state:ok" in server.call("CLUSTER", "INFO") for server in servers), "a cluster")
        yield ports


async def test_a_cluster_over_tls(cluster: list[str], pair: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every node is asked over TLS, with its certificate verified; the plain form and a stranger's fail."""
    for url in (f"redis+cluster://127.0.0.1:{cluster[0]}", f"rediss+cluster://127.0.0.1:{cluster[0]}"):
        with pytest.raises(RedisUnavailable):
            async with connected(url):
                pass
    monkeypatch.setenv("SSL_CERT_FILE", pair["tls-cert-file"])
    async with connected(f"rediss+cluster://127.0.0.1:{cluster[1]}", timeout_s=2.0) as redis:
        names = [redis.keys.owner("file", str(number)) for number in range(60)]
        await asyncio.gather(*(redis.command("SET", name, number) for number, name in enumerate(names)))
        found = await redis.pipeline([("GET", name) for name in names])
        assert found == [str(number).encode() for number in range(60)]
        assert (await change(redis, "{}"))[0] == b"ok"
        await heard(redis)


async def heard(redis: object) -> None:
    """A subscription hears over TLS too."""
    ready, messages = asyncio.Event(), asyncio.Queue[bytes]()

    async def on_resync() -> None:
        ready.set()

    listener = asyncio.create_task(redis.listen(redis.keys.changes, messages.put, on_resync))  # type: ignore[attr-defined]
    async with asyncio.timeout(BOUND_S):
        await ready.wait()
        await redis.command("PUBLISH", redis.keys.changes, "hello")  # type: ignore[attr-defined]
        assert await messages.get() == b"hello"
    listener.cancel()
    await asyncio.wait([listener])


@pytest.fixture
def sentinel(tmp_path: Path, pair: dict[str, str]) -> Iterator[str]:
    """The address of a sentinel that watches over a master; both speak TLS alone."""
    with ExitStack() as stack:
        master, guard = (str(port) for port in free_ports(2))
        secure = {name.replace("-", "_"): value for name, value in pair.items()}
        started(stack, tmp_path / "master", tls_port=master, tls_replication="yes", **secure)
        conf = tmp_path / "sentinel.conf"
        lines = ["port 0", f"tls-port {guard}", "tls-replication yes", "bind 127.0.0.1", f"dir {tmp_path}"]
        lines += [f"{name} {value}" for name, value in pair.items()]
        conf.write_text("\n".join([*lines, f"sentinel monitor main 127.0.0.1 {master} 1"]) + "\n")
        words = [redis_executable(), str(conf), "--sentinel"]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stack.callback(process.wait)
        stack.callback(process.kill)
        yield f"127.0.0.1:{guard}/main"


async def test_a_sentinel_over_tls(sentinel: str, pair: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentinel and the master that it names are both asked over TLS."""
    monkeypatch.setenv("SSL_CERT_FILE", pair["tls-cert-file"])
    async with asyncio.timeout(BOUND_S):
        while True:
            try:
                async with connected(f"rediss+sentinel://{sentinel}", timeout_s=2.0) as redis:
                    assert await change(redis, "{}") == [b"ok", 1, 1]
                    await heard(redis)
                break
            except RedisUnavailable:  # the sentinel has only just been started
                await asyncio.sleep(0.1)
    with pytest.raises(RedisUnavailable):
        async with connected(f"redis+sentinel://{sentinel}"):
            pass
