"""Cases of the catalogue that need the whole program: stopped, short of descriptors, with a slow or lying Redis, under
a flood. The names are the catalogue's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from app.core.clock import SystemClock
from app.core.redis import RedisManager, RedisOptions, RedisUnavailable
from app.core.security import ClientKeyring
from simulator.settings import SimSettings
from tests.conftest import GatewayMaker
from tests.gateway_process import GatewayProcess, wait_until
from tests.redis_server import RedisServer, running_redis
from tests.simulator_thread import SimulatorThread, running_simulator
from tests.test_integration.samples import CHAT_MODEL
from tests.test_integration.stream_load import running_load

SECRET = "0123456789abcdef0123456789abcdef"
LOOKUPS = ("get", "mget", "hget", "hmget", "hgetall")
CALL = json.dumps({"model": CHAT_MODEL, "messages": [{"role": "user", "content": "Hi"}]}).encode()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with running_redis(tmp_path) as server:
        yield server


def status_of(gateway: GatewayProcess, key: str) -> int:
    """Of one call; 0 where nobody answered."""
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    request = urllib.request.Request(f"{gateway.base_url}/chat/completions", CALL, headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0


def pid_of(gateway: GatewayProcess) -> int:
    assert gateway.process is not None
    return gateway.process.pid


def descriptors(gateway: GatewayProcess) -> int:
    return len(os.listdir(f"/proc/{pid_of(gateway)}/fd"))


def test_f07_a_gateway_that_was_stopped_goes_on(own_gateway: GatewayMaker) -> None:
    """SIGSTOP in the middle of streams, longer than Redis is waited for: each is heard to its end, and booked once."""
    with running_simulator(SimSettings(first_token_ms=20, tokens_per_s=10, answer_tokens=20)) as upstream:
        gateway = own_gateway(upstream.base_url, keys=upstream.new_keys(2))
        client = gateway.create_client("stopped")
        with running_load(gateway.port, client.key, 20) as load:
            wait_until(lambda: load.headed == 20, what="streams")
            load.stop()
            os.kill(pid_of(gateway), signal.SIGSTOP)
            time.sleep(2)
            os.kill(pid_of(gateway), signal.SIGCONT)
        assert (load.done, load.failures) == (20, [])

        def outcomes() -> list[str]:
            return [one["outcome"] for one in json.loads(gateway.cli("requests", "list", "--json").stdout)["requests"]]

        wait_until(lambda: outcomes() == ["served"] * 20, what="the ledger")
        assert len(upstream.control("bill")["rows"]) == 20


def told(gateway: GatewayProcess, message: str) -> list[dict[str, Any]]:
    return [line for line in gateway.log_lines() if line.get("event") == message]


def test_f08_a_full_memory_refuses_new_calls(own_gateway: GatewayMaker) -> None:
    """While a stream runs on: it ends well, and when nothing is left that could be freed, calls are served again."""
    with running_simulator(SimSettings(first_token_ms=20, tokens_per_s=10, answer_tokens=30)) as upstream:
        gateway = own_gateway(upstream.base_url, keys=upstream.new_keys(2), MEMORY_LIMIT_MB="50")
        client = gateway.create_client("large")
        with running_load(gateway.port, client.key, 1) as load:
            wait_until(lambda: load.headed == 1, what="a stream")
            load.stop()
            (said,) = wait_until(lambda: told(gateway, "overload refuses calls"), what="overload")
            assert status_of(gateway, client.key) == 503
        assert (load.failures, load.done) == ([], 1)
        assert (said["level"], said["cause"]) == ("error", "memory")
        (over,) = wait_until(lambda: told(gateway, "overload is over"), what="its end")
        assert over["refused"] == 1
        assert status_of(gateway, client.key) == 200


def test_f11_a_late_loop_refuses_new_calls(own_gateway: GatewayMaker, simulator: SimulatorThread) -> None:
    """A process that gets next to no time says so to new callers, is seen to be late, recovers; no key is blamed."""
    gateway = own_gateway(simulator.base_url, keys=simulator.new_keys(2), OVERLOAD_LAG_S="0.1", METRICS_TOKEN=SECRET)
    client = gateway.create_client("late")
    over = threading.Event()

    def starve() -> None:
        while not over.is_set():
            os.kill(pid_of(gateway), signal.SIGSTOP)
            time.sleep(0.6)
            os.kill(pid_of(gateway), signal.SIGCONT)
            time.sleep(0.02)

    thread = threading.Thread(target=starve)
    with running_load(gateway.port, client.key, 2):
        thread.start()
        try:
            wait_until(lambda: status_of(gateway, client.key) == 503, within_s=40, what="a refusal")
        finally:
            over.set()
            thread.join(10)
        wait_until(lambda: status_of(gateway, client.key) == 200, what="service")
    request = urllib.request.Request(f"{gateway.origin}/metrics", headers={"authorization": f"Bearer {SECRET}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        told = dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if not line.startswith("#"))
    assert float(told["gateway_loop_lag_seconds"]) > 0.1
    assert gateway.health()["openrouter_keys"]["ready"] == 2


def test_f09_more_connections_than_descriptors(own_gateway: GatewayMaker, simulator: SimulatorThread) -> None:
    """Those who got none wait or are turned away; the program lives, its log is short, and it serves again."""
    gateway = own_gateway(simulator.base_url, keys=simulator.new_keys(1))
    client = gateway.create_client("many")
    resource.prlimit(pid_of(gateway), resource.RLIMIT_NOFILE, (descriptors(gateway) + 40,) * 2)
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            one = stack.enter_context(socket.socket())
            one.settimeout(5)
            with contextlib.suppress(OSError):
                one.connect(("127.0.0.1", gateway.port))
        time.sleep(1)
        assert gateway.process is not None
        assert gateway.process.poll() is None
    assert wait_until(lambda: status_of(gateway, client.key) == 200, within_s=30, what="service")
    assert len(gateway.log_lines()) < 200


class SlowWire:
    """Passes bytes between a unix socket and another one, answers later by some time."""

    def __init__(self, path: str, to: str) -> None:
        self.path = path
        self.delay_s = 0.0
        self._to = to
        self._ready = threading.Event()

    async def run(self, stop: threading.Event) -> None:
        async with await asyncio.start_unix_server(self._serve, self.path):
            self._ready.set()
            await asyncio.to_thread(stop.wait)
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_unix_connection(self._to)
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await asyncio.gather(self._pass(reader, to_writer), self._pass(to_reader, writer, late=True))
        for one in (writer, to_writer):
            one.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, late: bool = False) -> None:
        while piece := await reader.read(65536):
            if late and self.delay_s:
                await asyncio.sleep(self.delay_s)
            writer.write(piece)
        writer.close()


@contextlib.contextmanager
def slow_wire(path: str, to: str) -> Iterator[SlowWire]:
    wire, stop = SlowWire(path, to), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(wire.run(stop)), daemon=True)
    thread.start()
    try:
        assert wire._ready.wait(5)
        yield wire
    finally:
        stop.set()
        thread.join(5)


def test_f16_a_slow_redis_slows_no_call(
    redis: RedisServer, own_gateway: GatewayMaker, simulator: SimulatorThread
) -> None:
    """A call of a client without limits does not wait for Redis: while each of its answers takes an hour, calls are
    served.
    """
    with slow_wire(f"{os.path.dirname(redis.socket)}/slow", redis.socket) as wire:
        env = {"REDIS_URL": f"unix://{wire.path}", "SESSION_SECRET_KEY": SECRET, "REDIS_TIMEOUT_S": "5"}
        gateway = own_gateway(simulator.base_url, keys=simulator.new_keys(2), **env)
        client = gateway.create_client("quick")
        assert status_of(gateway, client.key) == 200
        wire.delay_s = 3600
        assert {status_of(gateway, client.key) for _ in range(60)} == {200}
        gateway.kill()


async def test_f34_garbage_from_redis_costs_a_connection(tmp_path: Path) -> None:
    """It is an outage and no answer; when sense comes back, so does the manager."""
    sensible = False

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                count = int((await reader.readuntil(b"\r\n"))[1:])
                words = []
                for _ in range(count):
                    size = int((await reader.readuntil(b"\r\n"))[1:])
                    words.append((await reader.readexactly(size + 2))[:-2])
                if not sensible and words[0].upper() == b"GET":
                    writer.write(b"$5\r\nhal" if words[1] == b"half" else b"\x00\xff!garbage\r\n")
                    await writer.drain()
                    if words[1] == b"half":
                        break
                    continue
                answers = {b"GET": b"$5\r\nvalue\r\n", b"HELLO": b"%1\r\n$5\r\nproto\r\n:3\r\n"}
                writer.write(answers.get(words[0].upper(), b"+OK\r\n"))
        writer.close()

    path = str(tmp_path / "r")
    async with await asyncio.start_unix_server(serve, path):
        redis = RedisManager(RedisOptions(url=f"unix://{path}", timeout_s=0.5), SystemClock())
        try:
            for name in ("garbage", "half", "garbage"):
                with pytest.raises(RedisUnavailable):
                    await redis.command("GET", name)
            sensible = True
            assert await redis.command("GET", "x") == b"value"
        finally:
            await redis.close()


def test_l06_churn_leaves_no_descriptor(own_gateway: GatewayMaker, simulator: SimulatorThread) -> None:
    """Two thousand calls, each over a connection of its own."""
    gateway = own_gateway(simulator.base_url, keys=simulator.new_keys(2))
    client = gateway.create_client("churn")
    assert status_of(gateway, client.key) == 200
    before = descriptors(gateway)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: status_of(gateway, client.key), range(2000))) == {200}
    wait_until(lambda: descriptors(gateway) <= before + 10, what="descriptors given back")


def test_l07_invalid_keys_never_reach_redis(
    redis: RedisServer, own_gateway: GatewayMaker, simulator: SimulatorThread
) -> None:
    """Neither the misspelt nor the well-formed that nobody was given; meanwhile honest calls are served."""
    env = {"REDIS_URL": redis.url, "SESSION_SECRET_KEY": SECRET}
    gateway = own_gateway(simulator.base_url, keys=simulator.new_keys(1), **env)
    client = gateway.create_client("honest")
    with Redis(unix_socket_path=redis.socket) as direct:

        def commands() -> int:
            stats = direct.info("commandstats")
            return sum(
                int(one["calls"]) for name, one in stats.items() if name.split("_")[1] in ("get", "hget", "hgetall")
            )

        wrong = [client.key[:-1] + ("a" if client.key[-1] != "a" else "b"), "' OR 1=1 --", "*", "gw_live_" + "x" * 500]
        wrong += [ClientKeyring.mint().reveal() for _ in range(3)]
        before = commands()
        with ThreadPoolExecutor(4) as pool:
            said = list(pool.map(lambda n: status_of(gateway, wrong[n % len(wrong)]), range(400)))
        assert set(said) == {401}
        assert commands() - before < 40  # what runs in the background, and nothing for each call
    assert status_of(gateway, client.key) == 200


def test_l08_one_over_its_limit_hinders_nobody(own_gateway: GatewayMaker, simulator: SimulatorThread) -> None:
    """It alone is refused; the others' calls all go through in the meantime."""
    gateway = own_gateway(simulator.base_url, keys=simulator.new_keys(2))
    greedy = gateway.create_client("greedy", "--limit", "requests/minute=10")
    honest = gateway.create_client("honest", "--limit", "requests/minute=1000")

    def many(key: str, count: int) -> Callable[[], list[int]]:
        return lambda: [status_of(gateway, key) for _ in range(count)]

    with ThreadPoolExecutor(4) as pool:
        flood = [pool.submit(many(greedy.key, 100)) for _ in range(3)]
        served = pool.submit(many(honest.key, 60)).result()
        said = [status for one in flood for status in one.result()]
    assert set(served) == {200}
    assert (said.count(200), set(said)) == (10, {200, 429})
