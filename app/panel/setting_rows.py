"""The table of settings as rows of a page: what holds, where it was set, and what may be changed here. Shows no
secret.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import SecretStr

from app.core.config import Settings
from app.core.setting_docs import setting_groups
from app.services.live_settings import LIVE
from app.services.switches import Switch

SET: Final = "set"
UNSET: Final = "unset"
# Addresses that may hold a name and a password, or a token in their path or query.
_ADDRESSES: Final = frozenset({"redis_url", "https_proxy", "webhook_url", "smtp_url"})
_LIVE: Final = frozenset(switch.value for switch in LIVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingRow:
    """`source`: default, environment, .env or panel. `given`: what holds where the panel says nothing."""

    name: str
    value: str
    source: str
    help: str
    live: bool = False
    secret: bool = False
    given: str = ""
    choices: tuple[str, ...] = ()

    @property
    def variable(self) -> str:
        return self.name.upper()

    def fits(self, words: str) -> bool:
        """Whether a search finds it: all of its words stand somewhere in name, help or value."""
        text = f"{self.variable} {self.help} {self.value}".casefold()
        return all(word in text for word in words.casefold().split())


def rows(
    settings: Settings,
    stored: Mapping[Switch, str | None],
    environ: Mapping[str, str] | None = None,
    env_file: str = ".env",
) -> list[tuple[str, list[SettingRow]]]:
    """Groups with their titles, in the order of `.env.example`."""
    # What is empty counts as not set: so the table reads it.
    given = {name.upper() for name, value in (os.environ if environ is None else environ).items() if value}
    filed = _names_in(env_file)
    return [
        (title, [_row(settings, name, stored, given, filed) for name in names]) for title, names in setting_groups()
    ]


def chosen(
    groups: list[tuple[str, list[SettingRow]]], words: str, *, only_set: bool
) -> list[tuple[str, list[SettingRow]]]:
    """The rows that a search finds; with `only_set` none that is as the program comes."""
    found = (
        (title, [row for row in own if row.fits(words) and (not only_set or row.source != "default")])
        for title, own in groups
    )
    return [(title, own) for title, own in found if own]


@cache
def _names_in(env_file: str) -> frozenset[str]:
    """Read once, as the settings were."""
    if not Path(env_file).is_file():
        return frozenset()
    return frozenset(name.upper() for name, value in dotenv_values(env_file).items() if value)


def _row(
    settings: Settings, name: str, stored: Mapping[Switch, str | None], given: set[str], filed: frozenset[str]
) -> SettingRow:
    field = Settings.model_fields[name]
    switched = stored.get(Switch(name)) if name in _LIVE else None
    source = "default"
    if switched is not None:
        source = "panel"
    elif name.upper() in given:
        source = "environment"
    elif name.upper() in filed:
        source = ".env"
    value = shown(name, getattr(settings, name))
    return SettingRow(
        name=name,
        value=value if switched is None else switched,
        source=source,
        help=field.description or "",
        live=name in _LIVE,
        secret=isinstance(field.default, SecretStr),
        given=value,
        choices=_choices(field.annotation),
    )


def shown(name: str, value: Any) -> str:
    """As the variable would be written. Of a secret only whether it is set, of an address only where it leads."""
    if isinstance(value, SecretStr):
        return SET if value.get_secret_value() else UNSET
    if name in _ADDRESSES:
        return _place(str(value))
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _place(address: str) -> str:
    """Scheme and hosts: no name, no password, and nothing of a path that may be a token."""
    if not address:
        return ""
    try:
        parts = urlsplit(address)
    except ValueError:
        return SET
    hosts = parts.netloc.rpartition("@")[2]
    hidden = "…@" if "@" in parts.netloc else ""
    return f"{parts.scheme}://{hidden}{hosts}{'/…' if parts.path.strip('/') or parts.query else ''}"


def _choices(annotation: Any) -> tuple[str, ...]:
    if annotation is bool:
        return ("true", "false")
    found = getattr(annotation, "__args__", ())
    return tuple(found) if found and all(isinstance(one, str) for one in found) else ()
