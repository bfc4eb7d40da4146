"""The clients: wrk for many connections, raw sockets for one connection and for open streams."""

from __future__ import annotations

import selectors
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.report import WrkRun, parse_wrk
from bench.rig import BenchError, Contestant

CONNECTIONS = 64
OK = b"HTTP/1.1 200 "
SYSTEM = (
    "You are the assistant of a team that runs a small web shop. Answer briefly, in the language of the question, name "
    "your source when you quote a rule, and say so plainly when you do not know. Never invent an order number."
)
QUESTION = (
    "A customer writes that the parcel came without the second pair of socks and asks whether we send it again or pay "
    "the money back. The order is two weeks old. What do I answer, and what do I have to look up first?"
)


def body(model: str, order: str = "", user: str = "") -> bytes:
    """A chat call of about 600 bytes, as an SDK writes it. Each order is a conversation of its own."""
    stream = "false" if model == "bench/json" else "true"
    asked = f"{QUESTION} Order {order}." if order else QUESTION
    messages = f'[{{"role":"system","content":"{SYSTEM}"}},{{"role":"user","content":"{asked}"}}]'
    last = f'"stream":{stream},"user":"{user}"' if user else f'"stream":{stream}'
    return f'{{"model":"{model}","messages":{messages},"temperature":0.2,"max_tokens":512,{last}}}'.encode()


def headers(to: Contestant) -> dict[str, str]:
    fields = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "bench/1.0"}
    return {**fields, "Authorization": f"Bearer {to.key}"} if to.key else fields


def call(to: Contestant, model: str) -> bytes:
    """The whole request as it goes over the wire."""
    content = body(model, user=to.user)
    fields = {"Host": f"127.0.0.1:{to.port}", **headers(to), "Content-Length": str(len(content))}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {to.path} HTTP/1.1\r\n{head}\r\n".encode() + content


def wrk_script(to: Contestant, conversations: int) -> str:
    """Lua for wrk: one and the same call, or calls of so many conversations in turn."""
    lines = ['wrk.method = "POST"', f"wrk.body = [==[{body('bench/json', user=to.user).decode()}]==]"]
    lines += [f'wrk.headers["{name}"] = "{value}"' for name, value in headers(to).items()]
    if conversations > 1:
        bodies = ",".join(
            f"[==[{body('bench/json', str(1000 + number), to.user).decode()}]==]" for number in range(conversations)
        )
        lines += [
            f"local bodies, calls, turn = {{{bodies}}}, {{}}, 0",
            "function init() for n, body in ipairs(bodies) do calls[n] = wrk.format(nil, nil, nil, body) end end",
            "function request() turn = turn % #calls + 1 return calls[turn] end",
        ]
    return "\n".join(lines)


def wrk(to: Contestant, seconds: float, folder: Path, conversations: int = 1, connections: int = CONNECTIONS) -> WrkRun:
    """One thread, as fast as it goes."""
    script = folder / f"{to.name}.lua"
    script.write_text(wrk_script(to, conversations))
    script.chmod(0o600)
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s", "-s", str(script)]
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{to.port}{to.path}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + 30,
    )
    if done.returncode:
        raise BenchError(f"wrk ended with {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
    run = parse_wrk(done.stdout)
    if run.failed or not run.requests:
        raise BenchError(f"{to.name}: {run.failed} of {run.requests} calls failed, so its figures would mean nothing")
    return run


class Caller:
    """One keep-alive connection that asks, waits for the whole answer and asks again."""

    def __init__(self, to: Contestant) -> None:
        self._name = to.name
        self._request = call(to, "bench/json")
        self._socket = socket.create_connection(("127.0.0.1", to.port), 10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self) -> bytes:
        self._socket.sendall(self._request)
        data = self._socket.recv(65536)
        while not complete(data):
            more = self._socket.recv(65536)
            if not more:
                raise BenchError(f"{self._name} closed the connection after: {data[:200]!r}")
            data += more
        if not data.startswith(OK):
            raise BenchError(f"{self._name} answered: {data[:300]!r}")
        return data

    def spans_ms(self, calls: int) -> list[float]:
        spans = []
        for _ in range(calls):
            begun = time.perf_counter_ns()
            self.ask()
            spans.append((time.perf_counter_ns() - begun) / 1e6)
        return spans

    def close(self) -> None:
        self._socket.close()


def complete(data: bytes) -> bool:
    """Whether these bytes are a whole answer, framed by either of the two ways."""
    head, border, content = data.partition(b"\r\n\r\n")
    if not border:
        return False
    _, length, rest = head.lower().partition(b"\r\ncontent-length:")
    if length:
        return len(content) >= int(rest.partition(b"\r\n")[0])
    return content.endswith(b"0\r\n\r\n")


def answers(to: Contestant) -> bool:
    """Whether a call through it succeeds."""
    try:
        caller = Caller(to)
    except OSError:
        return False
    try:
        caller.ask()
    except (BenchError, OSError):
        return False
    finally:
        caller.close()
    return True


class Streams:
    """Open streams, read as they come. Counts events by the one `~` that each of them holds."""

    def __init__(self, to: Contestant, model: str, count: int) -> None:
        self._name = to.name
        self._selector = selectors.DefaultSelector()
        self._started: set[int] = set()
        self.count, self.events = count, 0
        request = call(to, model)
        for opened in range(count):
            connection = socket.create_connection(("127.0.0.1", to.port), 10)
            connection.sendall(request)
            connection.setblocking(False)
            self._selector.register(connection, selectors.EVENT_READ)
            if opened % 50 == 49:
                self.read_for(0.02)

    def read_for(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                connection = key.fileobj
                assert isinstance(connection, socket.socket)
                data = connection.recv(65536)
                if not data:
                    raise BenchError(f"{self._name} ended a stream early")
                if data.startswith(b"HTTP/1.1 ") and not data.startswith(OK):
                    raise BenchError(f"{self._name} answered a stream with: {data[:300]!r}")
                seen = data.count(b"~")
                self.events += seen
                if seen:
                    self._started.add(key.fd)

    def read_until_all_run(self) -> None:
        deadline = time.monotonic() + 30
        while len(self._started) < self.count:
            self.read_for(0.1)
            if time.monotonic() > deadline:
                raise BenchError(f"{self._name}: only {len(self._started)} of {self.count} streams began within 30 s")

    def close(self) -> None:
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()


@contextmanager
def streams(to: Contestant, model: str, count: int) -> Iterator[Streams]:
    """Streams that all have begun."""
    opened = Streams(to, model, count)
    try:
        opened.read_until_all_run()
        yield opened
    finally:
        opened.close()
