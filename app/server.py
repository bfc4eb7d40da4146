"""Runs uvicorn the way this program needs it: our protocol, no access log, a drain that ends with exit code 0."""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Protocol

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

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        with super().capture_signals():
            yield
            self._captured_signals.clear()


def run_server(settings: Settings, create_app: Callable[[Settings], Drainable], *, reload: bool = False) -> int:
    """Serves until a signal says to stop. Several workers and `reload` import the application by its name."""
    configure(settings.log_level, settings.log_format)
    if settings.workers > 1 or reload:
        return _run_supervised(settings, reload=reload)
    app = create_app(settings)
    server = DrainingServer(_config(settings, app), app.drain)
    server.run()
    return 0 if server.started else _START_FAILED


def _run_supervised(settings: Settings, *, reload: bool) -> int:
    config = _config(settings, "app.main:app", reload=reload, workers=settings.workers)
    sockets = [config.bind_socket()]
    # The workers share one private Redis, which must outlive each of them.
    redis = EmbeddedRedis(settings.data_dir) if settings.embedded_redis else None
    try:
        if redis is not None:
            redis.start()
        if reload:
            ChangeReload(config, target=uvicorn.Server(config).run, sockets=sockets).run()
        else:
            Multiprocess(config, sockets=sockets).run()
    except EmbeddedRedisError as error:
        log.error("gateway cannot start", extra={"detail": str(error)})  # noqa: TRY400 - a sentence, not a traceback
        return _START_FAILED
    finally:
        if redis is not None:
            redis.stop()
    return 0


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
        reload=reload,
        workers=workers,
    )
