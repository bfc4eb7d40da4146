"""The table of settings as rows of a page: what is set, where, and what may be changed here. Shows no secret. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import SecretStr

from app.core.config import Settings, setting_groups
from app.services.live_settings import LIVE
from app.services.switches import Switch

_HIDDEN: Final = "•••"
# Addresses that may hold a name and a password, or a token in their path.
_ADDRESSES: Final = frozenset({"redis_url", "https_proxy", "webhook_url", "smtp_url"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingRow:
    """`source`: default, environment, .env or panel."""

    name: str
    value: str
    source: str
    help: str
    live: bool = False
    default: str = ""
    choices: tuple[str, ...] = ()

    @property
    def variable(self) -> str:
        return self.name.upper()


def rows(
    settings: Settings,
    stored: Mapping[Switch, str | None],
    environ: Mapping[str, str] | None = None,
    env_file: str = ".env",
) -> list[tuple[str, list[SettingRow]]]:
    """Groups with their titles, in the order of `.env.example`."""
    given = {name.upper() for name in (os.environ if environ is None else environ)}
    filed = {name.upper() for name in dotenv_values(env_file)} if Path(env_file).is_file() else set()
    found: list[tuple[str, list[SettingRow]]] = []
    for title, names in setting_groups():
        found.append((title, [_row(settings, name, stored, given, filed) for name in names]))
    return found


def _row(
    settings: Settings, name: str, stored: Mapping[Switch, str | None], given: set[str], filed: set[str]
) -> SettingRow:
    field = Settings.model_fields[name]
    live = name in {switch.value for switch in LIVE}
    switched = stored.get(Switch(name)) if live else None
    source = "default"
    if switched is not None:
        source = "panel"
    elif name.upper() in given:
        source = "environment"
    elif name.upper() in filed:
        source = ".env"
    return SettingRow(
        name=name,
        value=switched if switched is not None else shown(name, getattr(settings, name)),
        source=source,
        help=field.description or "",
        live=live,
        default=shown(name, field.default),
        choices=_choices(field.annotation),
    )


def shown(name: str, value: Any) -> str:
    if isinstance(value, SecretStr):
        return _HIDDEN if value.get_secret_value() else ""
    if name in _ADDRESSES and value:
        parts = urlsplit(str(value))
        place = _HIDDEN if parts.username or parts.password else parts.hostname or ""
        return f"{parts.scheme}://{place}{'/…' if parts.path.strip('/') else ''}"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _choices(annotation: Any) -> tuple[str, ...]:
    if annotation is bool:
        return ("true", "false")
    found = getattr(annotation, "__args__", ())
    return tuple(found) if found and all(isinstance(one, str) for one in found) else ()
