"""Days that a certificate is still good: where there is one to be seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.core.clock import SystemClock
from app.core.config import load_settings
from app.services.certificate import certificate_days
from tests.test_transport.conftest import OK, always, serving
from tests.test_transport.test_connect import Authority


async def test_days_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the authority that the settings name; nothing without TLS, or through a proxy."""
    authority = Authority(tmp_path)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("OPENROUTER_CA_FILE", str(authority.file))
    async with serving(always(OK), authority.server(days=30)) as server:
        base = f"://localhost:{server.origin.port}/api/v1"
        monkeypatch.setenv("OPENROUTER_BASE_URL", f"https{base}")
        days = await certificate_days(load_settings(None), SystemClock(), 5)
        assert days is not None
        assert round(days) == 30
        monkeypatch.setenv("OPENROUTER_BASE_URL", f"http{base}")
        assert await certificate_days(load_settings(None), SystemClock(), 5) is None
        monkeypatch.setenv("OPENROUTER_BASE_URL", f"https{base}")
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        assert await certificate_days(load_settings(None), SystemClock(), 5) is None
