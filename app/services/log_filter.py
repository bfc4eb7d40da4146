"""A line of the kept log, and which ones somebody wants to see. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

LEVELS: Final = ("debug", "info", "warning", "error", "critical")
_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


class LogLine(msgspec.Struct, frozen=True):
    """`id` is its place in the stream; `fields` is everything else that it says."""

    id: str
    at: str
    level: str
    event: str
    module: str
    fields: dict[str, Any]

    @property
    def at_s(self) -> float:
        return datetime.fromisoformat(self.at).timestamp()


class LogFilter(msgspec.Struct, frozen=True, kw_only=True):
    """What is empty or None filters nothing. `level` is the least one."""

    level: str = ""
    module: str = ""
    """A module, or one that it stands in."""
    request_id: str = ""
    client: str = ""
    search: str = ""
    since_s: float | None = None
    until_s: float | None = None

    def fits(self, line: LogLine) -> bool:
        return (
            (not self.level or _rank(line.level) >= _rank(self.level))
            and (not self.module or line.module == self.module or line.module.startswith(f"{self.module}."))
            and self.request_id in ("", line.fields.get("request_id"))
            and self.client in ("", line.fields.get("client"))
            and (not self.search or self.search.casefold() in _text(line))
        )


def line_of(place: str, raw: bytes) -> LogLine | None:
    """None for what is no line."""
    try:
        found = _decode(raw)
        at, level, event, module = (str(found.pop(name)) for name in ("at", "level", "event", "logger"))
        datetime.fromisoformat(at)
    except (msgspec.MsgspecError, KeyError, ValueError):
        return None
    return LogLine(place, at, level, event, module, found)


def _rank(level: str) -> int:
    return LEVELS.index(level) if level in LEVELS else len(LEVELS)


def _text(line: LogLine) -> str:
    return f"{line.event} {line.module} {_values(line.fields)}".casefold()


def _values(fields: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in fields.items())
