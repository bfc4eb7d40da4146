"""Runs uvicorn the way this program needs it: our protocol, no access log, a drain that ends with exit code 0."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Final, Protocol

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.supervisors import ChangeReload, Multiprocess

from app.core.config import Settings
from app.core.embedded import EmbeddedRedis, EmbeddedRedisError
from app.core.logging import configure

log = logging.getLogger(__name__)

_PROTOCOL = "app.api.server_protocol:GatewayHttpProtocol"
_KEEP_ALIVE_S = 75
_START_FAILED = 3
_NEW_WORKER_S: Final = 30
"""How long a worker that replaces another may take until it serves."""
_SETTLE_S: Final = 0.05
"""What shakes hands when the gateway stops has done so by then, and is served."""
_SO_ATTACH_FILTER: Final = 26
# Classic BPF over the TCP header: a packet with SYN and without ACK falls, everything else passes.
_NO_SYN: Final = b"".join(
    struct.pack("HBBI", *one) for one in ((0x30, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 1, 0, 2), (0x06, 0, 0, 0xFFFF),
    (0x06, 0, 0, 0))
)  # fmt: skip


class Drainable(Protocol):
    """An ASGI application that wants to know that it is being stopped."""

    def drain(self) -> None: ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class DrainingServer(uvicorn.Server):
    """One worker. It tells the application of the signal and, having drained, ends by itself instead of by the
    signal.
    """

    def __init__(self, config: uvicorn.Config, on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_stop = on_stop

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._on_stop()
        if self.should_exit and sig == signal.SIGTERM:
            self.force_exit = True
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            _tell_systemd()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if not self.force_exit:
            _take_no_new(one for server in self.servers for one in server.sockets)
            await asyncio.sleep(_SETTLE_S)
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        with super().capture_signals():
            yield
            self._captured_signals.clear()


class Supervisor(Multiprocess):
    """Several workers on one socket. SIGHUP replaces them one after the other; the socket stays open meanwhile."""

    def init_processes(self) -> None:
        super().init_processes()
        if all(one.wait_until_ready(_NEW_WORKER_S) for one in self.processes):
            _tell_systemd()

    def terminate_all(self) -> None:
        _take_no_new(self.sockets)
        time.sleep(_SETTLE_S)
        # While it is open here, the kernel takes calls that no worker will serve.
        for one in self.sockets:
            one.close()
        super().terminate_all()


def run_server(
    settings: Settings, create_app: Callable[[Settings], Drainable], *, reload: bool = False, reuse_port: bool = False
) -> int:
    """Serves until a signal says to stop. Several workers and `reload` import the application by its name."""
    configure(settings.log_level, settings.log_format)
    sockets = None
    try:
        if reuse_port:
            sockets = [_shared_socket(settings.host, settings.port)]
    except OSError as error:
        log.error("gateway cannot start", extra={"detail": str(error)})  # noqa: TRY400 - a sentence, not a traceback
        return _START_FAILED
    if settings.workers > 1 or reload:
        return _run_supervised(settings, sockets, reload=reload)
    app = create_app(settings)
    server = DrainingServer(_config(settings, app), app.drain)
    server.run(sockets)
    return 0 if server.started else _START_FAILED


def _run_supervised(settings: Settings, sockets: list[socket.socket] | None, *, reload: bool) -> int:
    config = _config(settings, "app.main:app", reload=reload, workers=settings.workers)
    sockets = sockets or [config.bind_socket()]
    # The workers share one private Redis, which must outlive each of them.
    redis = EmbeddedRedis(settings.data_dir) if settings.embedded_redis else None
    try:
        if redis is not None:
            redis.start()
        if reload:
            ChangeReload(config, target=uvicorn.Server(config).run, sockets=sockets).run()
        else:
            Supervisor(config, sockets=sockets).run()
    except EmbeddedRedisError as error:
        log.error("gateway cannot start", extra={"detail": str(error)})  # noqa: TRY400 - a sentence, not a traceback
        return _START_FAILED
    finally:
        if redis is not None:
            redis.stop()
    return 0


def _shared_socket(host: str, port: int) -> socket.socket:
    """A socket whose port another gateway of this user may have too, if it asks for it in the same way."""
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind((host, port))
    made.set_inheritable(True)
    return made


def _tell_systemd() -> None:
    """That calls are served from now on, to who started this as a unit of Type=notify."""
    if address := os.environ.get("NOTIFY_SOCKET"):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.connect("\0" + address[1:] if address.startswith("@") else address)
            line.send(b"READY=1")


def _take_no_new(sockets: Iterable[socket.socket]) -> None:
    """Lets no further connection begin, and those that have begun be accepted: closing a socket resets what still waits
    in its queue. Who comes now tries again by itself, and meets whoever listens then, or nobody.
    """
    code = ctypes.create_string_buffer(_NO_SYN, len(_NO_SYN))
    program = struct.pack("HL", len(_NO_SYN) // 8, ctypes.addressof(code))
    for one in sockets:
        # Other systems than Linux have no such filter: there the queue is lost, as everywhere.
        with contextlib.suppress(OSError):
            one.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def _config(
    settings: Settings, app: Drainable | str, *, reload: bool = False, workers: int | None = None
) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=_PROTOCOL,
        ws="none",
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(settings.drain_s)),
        timeout_worker_healthcheck=_NEW_WORKER_S,
        reload=reload,
        workers=workers,
    )
