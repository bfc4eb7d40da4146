"""A new gateway takes over from an old one on the same host: no call is lost, whatever runs at that moment."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.server import _shared_socket, _take_no_new
from tests.conftest import GatewayMaker
from tests.fork_server import CLI, forks
from tests.gateway_process import GatewayProcess, free_port, wait_until
from tests.test_deploy.call_load import CallLoad, calling
from tests.test_deploy.conftest import Shared
from tests.test_deploy.held_streams import HeldStreams
from tests.test_integration.conftest import made_up_keys
from tests.test_integration.wire_tools import RawUpstream, read_until

BODY = b'{"model":"a/quick"}'
ANSWER = b'{"ok": true}'


class Serving(GatewayProcess):
    """Started by `openrouter-middleware serve --reuse-port`."""

    def start(self, *, ready: bool = True) -> Serving:
        with self.log_file.open("ab") as log, open(os.devnull, "rb") as nothing:
            words, env = ("serve", "--reuse-port"), self.environment()
            self.process = forks.start(CLI, words, cwd=self.folder, env=env, streams=(nothing, log, log))
        if ready:
            # The port alone does not tell: the other one answers there.
            wait_until(lambda: listeners(self.port, self.process.pid) or self.process.poll(), within_s=30)
            assert self.process.poll() is None, self.log_tail()
        return self


@contextlib.contextmanager
def serving(
    folder: Path, upstream: RawUpstream, shared: Shared, port: int, keys: list[str], **settings: str
) -> Iterator[Serving]:
    env = {**shared.settings, "DRAIN_S": "30", **settings}
    gateway = Serving(folder, upstream.base_url, keys, env, port)
    try:
        yield gateway.start()
    finally:
        gateway.kill()


def listeners(port: int, pid: int | None = None) -> int:
    """How many sockets listen on a port, or how many of them a process has open."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    found = {f"socket:[{row[9]}]" for row in rows if row[3] == "0A" and int(row[1].partition(":")[2], 16) == port}
    if pid is None:
        return len(found)
    with contextlib.suppress(OSError):
        return len(found & {os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()})
    return 0


def test_a_new_process_takes_over_the_port(shared: Shared, upstream: RawUpstream, tmp_path: Path) -> None:
    """The old one's streams run to their end while the new one serves; at no moment is a call refused."""
    port = free_port()
    held = HeldStreams(upstream)
    with contextlib.ExitStack() as stack:
        old = stack.enter_context(serving(tmp_path / "old", upstream, shared, port, made_up_keys(3)))
        client = old.create_client("handover")
        key = client.key
        held.begin(port, key, 4)
        with calling(CallLoad(port, key)) as load:
            load.more()
            new = stack.enter_context(serving(tmp_path / "new", upstream, shared, port, []))
            assert listeners(port) == 2
            load.more()
            old.terminate()
            wait_until(lambda: listeners(port) == 1, what="the new gateway to have the port alone")
            load.more()
            held.begin(port, key, 2)
            assert old.process is not None
            assert old.process.poll() is None
        assert not load.failures
        held.release()
        assert held.all_whole()
        assert old.wait(15) == 0
        # Each call is in the books once, whichever of the two has begun and ended it.
        wait_until(lambda: booked(new, client.name) == load.done + 6, what="the books of both")
        assert new.stop() == 0


def booked(gateway: GatewayProcess, client: str) -> int:
    """How many calls of a client the books know as served."""
    rows = json.loads(gateway.cli("usage", "--by", "client", "--json").stdout)["rows"]
    return sum(row["served"] for row in rows if row["name"] == client)


def test_a_port_that_is_not_shared_is_refused(shared: Shared, upstream: RawUpstream, tmp_path: Path) -> None:
    """A program that has the port for itself is not pushed aside, and the gateway says so in a sentence."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = int(other.getsockname()[1])
        gateway = Serving(tmp_path / "g", upstream.base_url, (), shared.settings, port)
        gateway.start(ready=False)
        try:
            assert gateway.wait(20) == 3
        finally:
            gateway.kill()
    assert "Address already in use" in gateway.log()
    assert "Traceback" not in gateway.log()


def test_workers_are_replaced_one_after_the_other(
    own_gateway: GatewayMaker, shared: Shared, upstream: RawUpstream
) -> None:
    """SIGHUP: new workers serve before old ones leave, streams run to their end, no call is lost. SIGTERM afterwards:
    new calls are refused at once although streams still run.
    """
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.bind(name := f"\0gateway-restart-test-{os.getpid()}")
    settings = {**shared.settings, "WORKERS": "2", "DRAIN_S": "30", "NOTIFY_SOCKET": f"@{name[1:]}"}
    gateway = own_gateway(upstream.base_url, keys=made_up_keys(3), **settings)
    with told:
        told.settimeout(30)
        assert told.recv(100) == b"READY=1"
    key = gateway.create_client("reload").key
    assert gateway.process is not None
    main = gateway.process.pid
    held = HeldStreams(upstream)
    held.begin(gateway.port, key, 6)
    first = workers(main)
    with calling(CallLoad(gateway.port, key)) as load:
        load.more()
        os.kill(main, signal.SIGHUP)
        wait_until(lambda: workers(main) - first, within_s=30, what="a new worker")
        load.more()
        held.release()
        assert held.all_whole()
        wait_until(lambda: not workers(main) & first, within_s=30, what="the old workers' end")
        load.more()
    assert not load.failures
    assert len(workers(main)) == 2

    last = HeldStreams(upstream)
    last.begin(gateway.port, key, 3)
    gateway.terminate()
    wait_until(lambda: refused(gateway.port), within_s=5, what="the refusal")
    last.release()
    assert last.all_whole()
    assert gateway.wait(20) == 0


def workers(main: int) -> set[int]:
    """The worker processes of a gateway: children that have its port open."""
    found: set[int] = set()
    for task in Path(f"/proc/{main}/task").iterdir():
        found |= {int(pid) for pid in (task / "children").read_text().split()}
    return {pid for pid in found if b"spawn_main" in _command(pid)}


def _command(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def refused(port: int) -> bool:
    """Not accepted, and not left waiting either."""
    with socket.socket() as probe:
        probe.settimeout(3)
        return probe.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


def test_a_socket_that_closes_loses_nobody() -> None:
    """Of two sockets on one port one takes no new connection: what it had is served, and who came to it meanwhile is
    led to the other one when it closes, without a mistake that the client could see.
    """
    with contextlib.ExitStack() as stack:
        old = stack.enter_context(_shared_socket("127.0.0.1", 0))
        port = int(old.getsockname()[1])
        old.listen()
        queued = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        new = stack.enter_context(_shared_socket("127.0.0.1", port))
        new.listen()
        _take_no_new([old])
        late = [stack.enter_context(socket.socket()) for _ in range(40)]
        for one in late:
            one.setblocking(False)
            assert one.connect_ex(("127.0.0.1", port)) in (0, errno.EINPROGRESS)
        queued.sendall(b"still heard")
        served, _ = old.accept()
        with served:
            assert served.recv(100) == b"still heard"
        old.setblocking(False)
        with pytest.raises(BlockingIOError):
            old.accept()
        old.close()
        new.settimeout(10)
        for _ in late:
            new.accept()[0].close()
        assert all(one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0 for one in late)


def test_a_kept_connection_may_bring_one_more_call(own_gateway: GatewayMaker, upstream: RawUpstream) -> None:
    """A client that has sent a call before it heard of the stop gets its answer, and is told not to come again; so
    does one whose body is still on its way. Who says nothing is let go.
    """
    gateway = own_gateway(upstream.base_url, keys=made_up_keys(1), DRAIN_S="20")
    key = gateway.create_client("kept").key

    def head(path: str) -> bytes:
        lines = f"POST {path} HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {key}\r\n"
        return f"{lines}Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()

    # Chat takes the short way through the server, embeddings the long one.
    ways = [head("/v1/chat/completions"), head("/v1/embeddings")] * 2
    with contextlib.ExitStack() as stack:
        lines = [
            stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port), timeout=15)) for _ in range(5)
        ]
        kept, slow, idle = lines[:2], lines[2:4], lines[4]
        for one, way in zip([*kept, idle], [*ways[:2], ways[0]], strict=True):
            one.sendall(way + BODY)
            assert b"connection: close" not in read_until(one, ANSWER).lower()
        for one, way in zip(slow, ways[2:], strict=True):
            one.sendall(way + BODY[:5])
        gateway.terminate()
        wait_until(lambda: not listeners(gateway.port), what="the end of listening")
        for one, way in zip(kept, ways[:2], strict=True):
            one.sendall(way + BODY)
        for one in slow:
            one.sendall(BODY[5:])
        for one in (*kept, *slow):
            answer = read_until(one, ANSWER)
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert b"\r\nconnection: close\r\n" in answer.lower()
            assert one.recv(1) == b""
        assert idle.recv(1) == b""
    assert gateway.wait(15) == 0
