"""The server drains and ends by itself, with exit code 0."""

from __future__ import annotations

import signal
from pathlib import Path

import uvicorn

from app.core.config import load_settings
from app.server import DrainingServer, _config


async def nothing(scope: object, receive: object, send: object) -> None: ...


def test_a_signal_is_told_once_and_does_not_kill(monkeypatch: object) -> None:
    """The application hears of it, and the signal is not raised again at the end."""
    told: list[int] = []
    server = DrainingServer(uvicorn.Config(nothing), lambda: told.append(1))

    with server.capture_signals():
        signal.raise_signal(signal.SIGTERM)
        assert server.should_exit
        assert not server.force_exit
        signal.raise_signal(signal.SIGTERM)
        assert server.force_exit

    assert told == [1, 1]


def test_the_configuration_is_ours(tmp_path: Path, monkeypatch: object) -> None:
    """Own protocol, no access log (it would print query strings), no server header."""
    settings = load_settings(None).model_copy(update={"drain_s": 7.2, "port": 0})

    config = _config(settings, nothing)  # type: ignore[arg-type]

    assert config.http == "app.api.server_protocol:GatewayHttpProtocol"
    assert not config.access_log
    assert not config.server_header
    assert not config.proxy_headers
    assert config.timeout_graceful_shutdown == 7
