"""The table of settings as people see it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from app.core.config import Settings
from app.panel.setting_rows import SettingRow, chosen, rows, shown
from app.services.switches import Switch


def settings(**given: Any) -> Settings:
    return Settings(_env_file=None, **given)


def row(name: str, found: list[tuple[str, list[SettingRow]]]) -> SettingRow:
    return next(one for _, own in found for one in own if one.name == name)


def test_every_setting_is_there_once_in_its_group() -> None:
    """In the order of the table, with its help."""
    found = [one for _, own in rows(settings(), {}, {}, "none") for one in own]
    assert [one.name for one in found] == list(Settings.model_fields)
    assert all(one.help and one.variable == one.name.upper() for one in found)
    assert {one.name for one in found if one.live} == set(Switch)


@pytest.mark.parametrize(
    ("environ", "file", "stored", "source"),
    [
        ({}, "", None, "default"),
        ({"max_attempts": "4"}, "MAX_ATTEMPTS=5\n", None, "environment"),
        ({"MAX_ATTEMPTS": ""}, "MAX_ATTEMPTS=5\n", None, ".env"),
        ({}, "MAX_ATTEMPTS=\n", None, "default"),
        ({"MAX_ATTEMPTS": "4"}, "", "7", "panel"),
    ],
)
def test_where_a_value_comes_from(
    tmp_path: Path, environ: dict[str, str], file: str, stored: str | None, source: str
) -> None:
    """What is empty is not set; what was switched here goes before everything."""
    (tmp_path / ".env").write_text(file)
    found = row(
        "max_attempts", rows(settings(max_attempts=4), {Switch.MAX_ATTEMPTS: stored}, environ, str(tmp_path / ".env"))
    )
    assert (found.source, found.value, found.given) == (source, stored or "4", "4")


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("admin_password", SecretStr("canary"), "set"),
        ("admin_password", SecretStr(""), "unset"),
        ("redis_url", "rediss://user:canary@host:6379/0", "rediss://…@host:6379/…"),
        ("redis_url", "redis://host", "redis://host"),
        ("redis_url", "redis+sentinel://:canary@a:1,b:2/master", "redis+sentinel://…@a:1,b:2/…"),
        ("https_proxy", "http://canary:canary@proxy:3128", "http://…@proxy:3128"),
        ("webhook_url", "https://hooks.example/services/canary", "https://hooks.example/…"),
        ("webhook_url", "https://hooks.example?token=canary", "https://hooks.example/…"),
        ("webhook_url", "http://[canary", "set"),
        ("redis_url", "", ""),
        ("alert_at", (50, 80), "50, 80"),
        ("debug", True, "true"),
        ("rescue_deadline_s", 2.5, "2.5"),
    ],
)
def test_no_secret_is_shown(name: str, value: Any, text: str) -> None:
    """Of a secret only whether there is one, of an address only where it leads."""
    assert shown(name, value) == text
    assert "canary" not in shown(name, value)


def test_choices_are_those_of_the_table() -> None:
    """For what has a few values only."""
    found = rows(settings(), {}, {}, "none")
    assert row("playground", found).choices == ("true", "false")
    assert "tiers" in row("pool_strategy", found).choices
    assert row("max_attempts", found).choices == row("redis_url", found).choices == ()


def test_a_search_finds_names_words_and_values() -> None:
    """All words of it; groups without any are left out."""
    found = rows(settings(), {Switch.MAX_ATTEMPTS: "7"}, {"PORT": "8080"}, "none")
    assert [one.name for _, own in chosen(found, "max keys ATTEMPTS", only_set=False) for one in own] == [
        "max_attempts"
    ]
    assert [one.name for _, own in chosen(found, "", only_set=True) for one in own] == ["port", "max_attempts"]
    assert chosen(found, "no such words", only_set=False) == []
    assert chosen(found, "", only_set=False) == found
