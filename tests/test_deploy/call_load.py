"""Clients that call one after the other over kept connections, and look at each answer to its last byte."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.gateway_process import wait_until
from tests.test_integration.samples import CHAT_MODEL

_PAUSE_S = 0.01  # leaves the machine to the programs under test


@dataclass
class CallLoad:
    """`clients` threads, of which each makes streams and whole answers in turn. No call is ever tried again."""

    port: int
    key: str
    clients: int = 4
    tls: ssl.SSLContext | None = None
    done: int = 0
    failures: list[str] = field(default_factory=list)
    _stopping: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def client(self, number: int) -> None:
        connection = self._connection()
        turn = number
        with contextlib.closing(connection):
            while not self._stopping:
                turn += 1
                if turn % 7 == 0:
                    connection.close()  # now and then a client is new
                self._call(connection, stream=turn % 2 == 0)

    def _connection(self) -> http.client.HTTPConnection:
        if self.tls is not None:
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=20, context=self.tls)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def _call(self, connection: http.client.HTTPConnection, *, stream: bool) -> None:
        asked = {"model": CHAT_MODEL, "messages": [{"role": "user", "content": "Hello"}], "stream": stream}
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        said = ""
        try:
            connection.request("POST", "/v1/chat/completions", json.dumps(asked), headers)
            with connection.getresponse() as answer:
                body = answer.read()
                whole = body.endswith(b"data: [DONE]\n\n") if stream else b'"usage"' in body
                if answer.status != 200 or not whole:
                    said = f"{answer.status}: {body[-200:]!r}"
        except (OSError, http.client.HTTPException) as broken:
            said = f"{type(broken).__name__}: {broken}"
            connection.close()
        time.sleep(_PAUSE_S)
        with self._lock:
            self.done += 1
            if said:
                self.failures.append(said)

    def more(self, calls: int = 40) -> None:
        """Returns when so many further calls are over."""
        goal = self.done + calls
        wait_until(lambda: self.done >= goal or self.failures, within_s=30, what="further calls")

    def stop(self) -> None:
        self._stopping = True


@contextlib.contextmanager
def calling(load: CallLoad) -> Iterator[CallLoad]:
    """Its clients call until the block ends."""
    threads = [threading.Thread(target=load.client, args=(number,), daemon=True) for number in range(load.clients)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.stop()
        for thread in threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in threads), "calls hang"
