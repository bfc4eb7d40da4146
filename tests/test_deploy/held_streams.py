"""Streams that have begun and wait in the middle until the test lets them go on."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from collections.abc import Iterator

from tests.test_integration.wire_tools import Line, RawUpstream, Received, read_until

FIRST = b'data: {"choices":[{"delta":{"content":"one"}}]}\n\n'
LAST = b"data: [DONE]\n\n"
_MODEL = b'"a/held"'


def answer_quickly(request: Received, line: Line) -> None:
    """A stream or a whole answer, as it was asked for, both complete."""
    if b'"stream": true' in request.body:
        line.begin()
        line.chunk(FIRST + LAST)
        line.end()
    else:
        line.answer_json({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1, "cost": 0}})


class HeldStreams:
    """`begin(port, key, count)` returns when each of them has its first event; `release()` lets all of them end."""

    def __init__(self, upstream: RawUpstream) -> None:
        self._go = threading.Event()
        self._seen = threading.Semaphore(0)
        self._answers: queue.Queue[bytes] = queue.Queue()
        self._count = 0
        upstream.handler = self._serve

    def _serve(self, request: Received, line: Line) -> None:
        if _MODEL not in request.body:
            answer_quickly(request, line)
            return
        line.begin()
        line.chunk(FIRST)
        assert self._go.wait(60)
        line.chunk(LAST)
        line.end()

    def begin(self, port: int, key: str, count: int) -> None:
        self._count += count
        for _ in range(count):
            threading.Thread(target=self._read, args=(port, key), daemon=True).start()
        for _ in range(count):
            assert self._seen.acquire(timeout=15), "a stream did not begin"

    def _read(self, port: int, key: str) -> None:
        body = b'{"model":"a/held","stream":true}'
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n"
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.sendall(
                f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
            )
            answer = read_until(connection, FIRST)
            self._seen.release()
            with contextlib.suppress(OSError):
                while piece := connection.recv(65536):
                    answer += piece
        self._answers.put(answer)

    def release(self) -> None:
        self._go.set()

    def answers(self) -> Iterator[bytes]:
        """What each client got, to the last byte."""
        for _ in range(self._count):
            yield self._answers.get(timeout=20)

    def all_whole(self) -> bool:
        return all(LAST in answer and answer.endswith(b"0\r\n\r\n") for answer in self.answers())
