"""The table of settings on a page: where a value comes from, and that no secret shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from app.core.config import Settings
from app.panel.setting_rows import rows, shown
from app.services.switches import Switch


def test_every_setting_has_a_row_with_its_source(tmp_path: Path) -> None:
    """The panel stands above the environment, the environment above the file."""
    (tmp_path / ".env").write_text("PORT=1\nWORKERS=2\n")
    settings = Settings(_env_file=None, max_attempts=7)  # type: ignore[call-arg]
    found = rows(settings, {Switch.MAX_ATTEMPTS: "9"}, {"PORT": "2"}, str(tmp_path / ".env"))
    by_name = {row.name: row for _, group in found for row in group}

    assert set(by_name) == set(Settings.model_fields)
    assert (by_name["port"].source, by_name["workers"].source, by_name["host"].source) == (
        "environment",
        ".env",
        "default",
    )
    assert (by_name["max_attempts"].source, by_name["max_attempts"].value, by_name["max_attempts"].live) == (
        "panel",
        "9",
        True,
    )
    assert by_name["debug"].choices == ("true", "false")
    assert "balanced" in by_name["pool_strategy"].choices


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("admin_password", SecretStr("hunter2-hunter2")),
        ("redis_url", "redis://user:hunter2-hunter2@cache:6379/0"),
        ("webhook_url", "https://hooks.example.com/services/hunter2-hunter2"),
        ("https_proxy", "http://me:hunter2-hunter2@proxy:3128"),
    ],
)
def test_no_secret_shows(name: str, value: object) -> None:
    """Neither in a value of its own nor inside an address."""
    assert "hunter2" not in shown(name, value)
    assert shown(name, value)
