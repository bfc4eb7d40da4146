"""The program over its life: starting, changing under load, several workers, stopping, dying and coming back."""

from __future__ import annotations

import json
import queue
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import GatewayMaker
from tests.gateway_process import GatewayProcess, free_port, wait_until
from tests.redis_server import running_redis
from tests.test_integration.conftest import made_up_keys
from tests.test_integration.wire_tools import Line, Pairs, RawUpstream, Received, call, read_until, running_raw_upstream

JSON: Pairs = [("Content-Type", "application/json")]
SHARED_SECRET = "shared-session-secret-of-two-gateways-0123456789"


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    """An upstream of one test's own."""
    with running_raw_upstream() as running:
        yield running


def chat(gateway: GatewayProcess, key: str) -> int:
    """The status of one small call."""
    return call(gateway.port, "POST", "/v1/chat/completions", headers=JSON, body=b'{"model":"a/b"}', key=key).status


@pytest.mark.parametrize("ending", ["", "/api/", "/api/v1/"])
def test_every_form_of_the_base_url(own_gateway: GatewayMaker, upstream: RawUpstream, ending: str) -> None:
    """However OPENROUTER_BASE_URL ends, calls reach /api/v1/…"""
    gateway = own_gateway(upstream.origin + ending, keys=made_up_keys(1))
    assert chat(gateway, gateway.create_client("base").key) == 200
    assert upstream.last.target == b"/api/v1/chat/completions"


def test_health_by_truth(own_gateway: GatewayMaker, upstream: RawUpstream) -> None:
    """Without a key the gateway is ready to be set up and says so; with one it is healthy; nothing secret shows."""
    gateway = own_gateway(upstream.base_url)
    assert call(gateway.port, "GET", "/readiness").status == 200
    assert call(gateway.port, "GET", "/liveness").status == 200
    unhealthy = call(gateway.port, "GET", "/health")
    assert unhealthy.status == 503
    assert unhealthy.json()["reasons"]
    client = gateway.create_client("health")
    nothing = call(gateway.port, "POST", "/v1/chat/completions", headers=JSON, body=b'{"model":"a/b"}', key=client.key)
    assert nothing.status == 503
    assert "keys add" in nothing.json()["error"]["message"]
    (key,) = made_up_keys(1)
    gateway.cli("keys", "add", "--json", stdin=key)
    wait_until(lambda: call(gateway.port, "GET", "/health").status == 200, what="health")
    healthy = call(gateway.port, "GET", "/health")
    assert healthy.json()["openrouter_keys"]["ready"] == 1
    assert key not in healthy.body.decode()
    assert chat(gateway, client.key) == 200


def test_what_is_not_there(own_gateway: GatewayMaker, upstream: RawUpstream) -> None:
    """An unknown path is a 404, not a 500; docs are off; the root tells what this is."""
    gateway = own_gateway(upstream.base_url)
    assert call(gateway.port, "GET", "/").json()["service"] == "openrouter-middleware"
    for path in (
        "/nothing",
        "/docs",
        "/redoc",
        "/openapi.json",
        "/metrics",
        "/proxy/health",
        "/static/x",
        "/admin/api/logs/live",
    ):
        reply = call(gateway.port, "GET", path)
        assert reply.status in (401, 404), path
        assert reply.body if path == "/static/x" else reply.json()
    assert call(gateway.port, "DELETE", "/health").status == 405


def test_keys_by_the_command_line(own_gateway: GatewayMaker, upstream: RawUpstream, tmp_path: Path) -> None:
    """Import from a file with everything that such files contain: nothing lost, nothing echoed, each change at once."""
    gateway = own_gateway(upstream.base_url)
    client = gateway.create_client("importer")
    keys = made_up_keys(3)
    text = f"# ours\r\n{keys[0]}\r\n\r\n  {keys[1]}  \n{keys[0]}\nnot-a-key-CANARY\n{keys[2]}"
    file = tmp_path / "keys.txt"
    file.write_text(text)
    report = gateway.cli("keys", "import", "--file", str(file), "--json", check=False).stdout
    assert not any(key in report for key in keys)
    assert "CANARY" not in report
    listed = json.loads(gateway.cli("keys", "list", "--json").stdout)
    assert len(listed) == 3
    assert not any(key in json.dumps(listed) for key in keys)
    wait_until(lambda: gateway.health()["openrouter_keys"]["ready"] == 3, within_s=1.5, what="the keys")
    assert chat(gateway, client.key) == 200
    for one in listed:
        gateway.cli("keys", "disable", one["id"], "--json")
    wait_until(lambda: chat(gateway, client.key) == 503, within_s=1.5, what="the disabling")
    gateway.cli("keys", "enable", listed[0]["id"], "--json")
    wait_until(lambda: chat(gateway, client.key) == 200, within_s=1.5, what="the enabling")
    gateway.cli("keys", "delete", listed[0]["id"], "--json")
    wait_until(lambda: chat(gateway, client.key) == 503, within_s=1.5, what="the deletion")
    gateway.cli("clients", "revoke", client.id, "--json")
    wait_until(lambda: chat(gateway, client.key) == 401, within_s=1.5, what="the revocation")


def test_bootstrap_keys_are_imported_once(own_gateway: GatewayMaker, upstream: RawUpstream, tmp_path: Path) -> None:
    """OPENROUTER_API_KEYS at each start adds what is new and repeats nothing."""
    keys = made_up_keys(2)
    data = {"DATA_DIR": str(tmp_path / "d")}
    first = own_gateway(upstream.base_url, keys=[keys[0]], **data)
    assert first.stop() == 0
    second = own_gateway(upstream.base_url, keys=keys, **data)
    wait_until(lambda: second.health()["openrouter_keys"]["total"] == 2, what="two keys")


def test_a_change_reaches_every_gateway_within_a_second(
    own_gateway: GatewayMaker, upstream: RawUpstream, tmp_path: Path
) -> None:
    """Two gateways on one Redis: what is made through one works, and what is revoked fails, in the other at once."""
    with running_redis(tmp_path) as redis:
        shared = {"REDIS_URL": redis.url, "SESSION_SECRET_KEY": SHARED_SECRET}
        one, two = (own_gateway(upstream.base_url, keys=made_up_keys(1), **shared) for _ in range(2))
        client = one.create_client("both")
        for gateway in (one, two):
            wait_until(lambda gateway=gateway: chat(gateway, client.key) == 200, within_s=1.0, what="the new client")
            wait_until(
                lambda gateway=gateway: gateway.health()["openrouter_keys"]["ready"] == 2,
                within_s=1.0,
                what="both keys",
            )
        two.cli("clients", "revoke", client.id, "--json")
        for gateway in (one, two):
            wait_until(lambda gateway=gateway: chat(gateway, client.key) == 401, within_s=1.0, what="the revocation")


def test_workers_share_everything(own_gateway: GatewayMaker, upstream: RawUpstream) -> None:
    """WORKERS=2: a new client key works on every connection within a second, and the program stops with 0."""
    gateway = own_gateway(upstream.base_url, keys=made_up_keys(2), WORKERS="2")
    client = gateway.create_client("workers")

    def all_serve() -> bool:
        return {chat(gateway, client.key) for _ in range(20)} == {200}

    wait_until(all_serve, within_s=3.0, what="both workers")
    assert gateway.stop() == 0


def test_redis_dies_and_comes_back(own_gateway: GatewayMaker, upstream: RawUpstream, tmp_path: Path) -> None:
    """Without Redis calls go on from memory and health tells; when it is back all is well without a restart."""
    with running_redis(tmp_path) as redis:
        gateway = own_gateway(
            upstream.base_url, keys=made_up_keys(1), REDIS_URL=redis.url, SESSION_SECRET_KEY=SHARED_SECRET
        )
        client = gateway.create_client("steady")
        wait_until(lambda: chat(gateway, client.key) == 200, what="the client")
        redis.kill()
        for _ in range(5):
            assert chat(gateway, client.key) == 200
        wait_until(lambda: call(gateway.port, "GET", "/health").status == 503, what="bad health")
        redis.start()
        wait_until(lambda: call(gateway.port, "GET", "/health").status == 200, within_s=40, what="good health")
        later = gateway.create_client("later")
        wait_until(lambda: chat(gateway, later.key) == 200, within_s=10, what="the later client")


def test_kill_9_keeps_every_key(own_gateway: GatewayMaker, upstream: RawUpstream, tmp_path: Path) -> None:
    """Keys made a moment before the program was killed serve after its next start, on the embedded Redis."""
    data = {"DATA_DIR": str(tmp_path / "d")}
    gateway = own_gateway(upstream.base_url, keys=made_up_keys(2), **data)
    client = gateway.create_client("survivor")
    gateway.kill()
    again = own_gateway(upstream.base_url, **data)
    assert chat(again, client.key) == 200
    assert again.health()["openrouter_keys"]["total"] == 2
    assert again.stop() == 0


def test_a_second_gateway_on_the_same_folder_says_so(own_gateway: GatewayMaker, upstream: RawUpstream) -> None:
    """Two programs never share one embedded Redis."""
    first = own_gateway(upstream.base_url, keys=made_up_keys(1))
    second = GatewayProcess(first.folder / "second", upstream.base_url, env={"DATA_DIR": str(first.data_dir)})
    second.start(ready=False)
    try:
        assert second.wait(20) != 0
    finally:
        second.kill()
    assert str(first.data_dir) in second.log() or "DATA_DIR" in second.log()
    assert "Traceback" not in second.log()
    assert call(first.port, "GET", "/health").status == 200


def test_bad_settings_are_listed_together(upstream: RawUpstream, tmp_path: Path) -> None:
    """A start with several bad values names all of them in one message, shows none, and fails."""
    bad = {
        "PORT": "eighty",
        "WORKERS": "0",
        "OPENROUTER_BASE_URL": "http://evil.example/CANARY",
        "MAX_BODY_BYTES": "many",
    }
    gateway = GatewayProcess(tmp_path / "bad", upstream.base_url, env=bad, port=free_port())
    gateway.start(ready=False)
    try:
        assert gateway.wait(20) == 2
    finally:
        gateway.kill()
    assert all(name in gateway.log() for name in bad)
    assert "CANARY" not in gateway.log()
    assert "Traceback" not in gateway.log()


class Streams:
    """Streams in flight through a gateway, ended when the test says so."""

    def __init__(self, gateway: GatewayProcess, upstream: RawUpstream, key: str, count: int) -> None:
        self.release = threading.Event()
        self.results: queue.Queue[bytes] = queue.Queue()
        upstream.handler = self._stream
        self._threads = [threading.Thread(target=self._read, args=(gateway, key), daemon=True) for _ in range(count)]
        self._running = threading.Semaphore(0)
        for thread in self._threads:
            thread.start()
        for _ in range(count):
            assert self._running.acquire(timeout=10)

    def _stream(self, _: Received, line: Line) -> None:
        line.begin()
        line.chunk(b'data: {"choices":[{"delta":{"content":"one"}}]}\n\n')
        self.release.wait(30)
        line.chunk(b"data: [DONE]\n\n")
        line.end()

    def _read(self, gateway: GatewayProcess, key: str) -> None:
        body = b'{"model":"a/b","stream":true}'
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n"
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as connection:
            connection.sendall(
                f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
            )
            seen = read_until(connection, b'"one"')
            self._running.release()
            try:
                while piece := connection.recv(65536):
                    seen += piece
            except OSError:
                pass
        self.results.put(seen)

    def all(self) -> list[bytes]:
        return [self.results.get(timeout=20) for _ in self._threads]


def takes_no_more(gateway: GatewayProcess, key: str) -> bool:
    """Whether a new call is refused: no connection, or 503. It asks for a path that never leads upstream."""
    try:
        return call(gateway.port, "GET", "/v1/keys", key=key).status == 503
    except OSError:
        return True


def test_sigterm_lets_streams_finish(own_gateway: GatewayMaker, upstream: RawUpstream) -> None:
    """After SIGTERM nothing new is taken, what runs runs to its end, and the program ends with 0."""
    gateway = own_gateway(upstream.base_url, keys=made_up_keys(2), DRAIN_S="20")
    client = gateway.create_client("drain")
    streams = Streams(gateway, upstream, client.key, 4)
    gateway.terminate()
    wait_until(lambda: takes_no_more(gateway, client.key), within_s=2.0, what="the refusal")
    assert gateway.process is not None
    assert gateway.process.poll() is None
    streams.release.set()
    assert all(b"data: [DONE]\n\n" in answer for answer in streams.all())
    assert gateway.wait(10) == 0


def test_streams_that_do_not_end_are_ended(own_gateway: GatewayMaker, upstream: RawUpstream) -> None:
    """When the time to drain is over, what still runs gets one error event instead of silence, and the code is 0."""
    gateway = own_gateway(upstream.base_url, keys=made_up_keys(1), DRAIN_S="0.5")
    streams = Streams(gateway, upstream, gateway.create_client("drain").key, 2)
    begun = time.monotonic()
    gateway.terminate()
    answers = streams.all()
    assert gateway.wait(10) == 0
    assert time.monotonic() - begun < 10
    streams.release.set()
    assert all(b"[DONE]" not in answer for answer in answers)
    assert all(b'"error"' in answer for answer in answers)


def test_a_second_signal_ends_at_once(own_gateway: GatewayMaker, upstream: RawUpstream) -> None:
    """Who asks twice does not want to wait."""
    gateway = own_gateway(upstream.base_url, keys=made_up_keys(1), DRAIN_S="60")
    client = gateway.create_client("drain")
    streams = Streams(gateway, upstream, client.key, 1)
    gateway.terminate()
    wait_until(lambda: takes_no_more(gateway, client.key), within_s=2.0, what="the refusal")
    gateway.terminate()
    gateway.wait(10)
    streams.release.set()
    streams.all()


def test_no_stop_leaves_a_redis_behind(own_gateway: GatewayMaker, upstream: RawUpstream) -> None:
    """The private Redis ends with the program: a new start on the same folder finds it free."""
    gateway = own_gateway(upstream.base_url, keys=made_up_keys(1))
    assert gateway.stop() == 0
    assert gateway.cli("keys", "list", "--json", check=False).returncode == 3
