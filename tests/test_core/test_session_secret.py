"""The secret that all others come from: given, made, raced for, damaged."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from app.core.config import SettingsError, load_settings
from app.core.session_secret import resolve_session_secret
from tests.test_core.test_config import STRONG, bare

__all__ = ["bare"]


def test_a_strong_session_secret_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Thirty-two characters do, and nothing is written."""
    monkeypatch.setenv("REDIS_URL", "redis://cache")
    monkeypatch.setenv("SESSION_SECRET_KEY", STRONG)

    assert resolve_session_secret(load_settings()).get_secret_value() == STRONG
    assert not (tmp_path / "data").exists()


def test_the_session_secret_is_made_once(tmp_path: Path) -> None:
    """On the embedded default it is generated into DATA_DIR, for the owner's eyes only, and stays."""
    first = resolve_session_secret(load_settings())
    path = tmp_path / "data" / "session-secret"

    assert len(first.get_secret_value()) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert resolve_session_secret(load_settings()) == first
    assert sorted(child.name for child in path.parent.iterdir()) == ["session-secret"]


def test_racing_workers_agree_on_the_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """When another worker writes the file between the look and the write, its secret counts."""
    path = tmp_path / "data" / "session-secret"
    link = os.link

    def late(source: Path, target: Path) -> None:
        path.write_text(STRONG)
        link(source, target)

    monkeypatch.setattr(os, "link", late)

    assert resolve_session_secret(load_settings()).get_secret_value() == STRONG


def test_a_damaged_secret_is_not_replaced(tmp_path: Path) -> None:
    """A new secret would make every stored key unreadable: the gateway stops instead."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "session-secret").write_text("cut")

    with pytest.raises(SettingsError, match="damaged"):
        resolve_session_secret(load_settings())


def test_a_data_dir_that_cannot_be_used(tmp_path: Path) -> None:
    """A file in its place is one sentence, not a traceback."""
    (tmp_path / "data").write_text("")

    with pytest.raises(SettingsError, match="DATA_DIR"):
        resolve_session_secret(load_settings())
