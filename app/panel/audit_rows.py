"""A deed of the audit as it is shown: who, from where, on what page, and what changed, line by line. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from app.models.limits import Limit
from app.panel.figures import usd
from app.panel.plots import level
from app.services.audit_chain import Deed
from app.services.limit_words import words_of

_BY: Final = re.compile(r"(?P<name>.*) \((?P<how>[^()]*)\)", re.DOTALL)
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,200}")
_KEY: Final = re.compile(r"[0-9a-f]{64}")
_BY_ID: Final = {
    "client": "/admin/client-keys/",
    "group": "/admin/groups/",
    "request": "/admin/requests/",
    "setting": "/admin/settings#",
}
_WHOLE: Final = {
    "account": "/admin/people",
    "session": "/admin/account",
    "token": "/admin/tokens",  # nosec B105
    "gateway": "/admin/settings",
}
_MOST_LINES: Final = 400
_INSTANTS: Final = ("_at", "_s", "until")
# Seconds that are an instant, not a span: from 2001 on, and before the year 5138.
_EARLIEST_S: Final = 10**9
_LATEST_S: Final = 10**11


@dataclass(frozen=True, slots=True)
class Change:
    """One field before and after; empty where it was not set."""

    field: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class DiffLine:
    """`sign`: `+`, `-`, or a space for what has stayed."""

    sign: str
    text: str


@dataclass(frozen=True, slots=True)
class DayCell:
    """A day of the strip. `period`: how the filter calls it."""

    at_s: float
    count: int
    tone: str
    period: str


def who(by: str) -> tuple[str, str]:
    """The name, and how they came: `("ana", "panel, 10.0.0.5, 3f9a1c")`."""
    found = _BY.fullmatch(by)
    return (found["name"], found["how"]) if found else (by, "")


def page_of(deed: Deed) -> str:
    """Where what it was done to is shown; nothing for what has no page."""
    if deed.kind in ("openrouter", "mark"):
        return f"/admin/openrouter-keys/{deed.id[:16]}" if _KEY.fullmatch(deed.id) else ""
    if deed.kind in _BY_ID:
        return f"{_BY_ID[deed.kind]}{deed.id}" if _NAME.fullmatch(deed.id) else ""
    return _WHOLE.get(deed.kind, "")


def changes(deed: Deed) -> list[Change]:
    """Field by field where both texts are objects, those within them by their path; else as they stand."""
    before, after = _object(deed.before), _object(deed.after)
    if before is None or after is None:
        return [Change("", deed.before, deed.after)] if deed.before or deed.after else []
    old, new = (dict(_fields("", record, deed.at)) for record in (before, after))
    return [
        Change(name, old.get(name, ""), new.get(name, ""))
        for name in dict.fromkeys((*old, *new))
        if old.get(name) != new.get(name) or not deed.before
    ]


def _fields(path: str, value: Mapping[str, Any], at_s: float) -> Iterable[tuple[str, str]]:
    for name, found in value.items():
        if isinstance(found, dict) and found:
            yield from _fields(f"{path}{name}.", found, at_s)
        else:
            yield f"{path}{name}", _text(name, found, at_s)


def diff(deed: Deed) -> list[DiffLine]:
    """Both texts as lines, with what has gone and what has come."""
    lines = difflib.ndiff(_lines(deed.before), _lines(deed.after))
    return [DiffLine(line[0], line[2:]) for line in lines if line[0] != "?"][:_MOST_LINES]


def _lines(text: str) -> list[str]:
    if not text:
        return []
    try:
        return msgspec.json.format(text, indent=2).splitlines()[:_MOST_LINES]
    except msgspec.MsgspecError:
        return text.splitlines()[:_MOST_LINES]


def _object(text: str) -> dict[str, Any] | None:
    if not text:
        return {}
    try:
        found = msgspec.json.decode(text)
    except msgspec.MsgspecError:
        return None
    return found if isinstance(found, dict) else None


def _text(name: str, value: Any, at_s: float) -> str:
    """As people read it: money and instants go by their field's name, limits by the words that they are set with."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number(name, value)
    if name == "limits" and (limits := _limits(value)) is not None:
        return ", ".join(words_of(limit, at_s) for limit in limits)
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return ", ".join(value)
    return msgspec.json.encode(value).decode()


def _number(name: str, value: float) -> str:
    if name.endswith("_nano") and isinstance(value, int):
        return usd(value, exact=True)
    if name.endswith(_INSTANTS) and _EARLIEST_S < value < _LATEST_S:
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return msgspec.json.encode(value).decode()


def _limits(value: Any) -> tuple[Limit, ...] | None:
    try:
        return msgspec.convert(value, tuple[Limit, ...])
    except msgspec.ValidationError:
        return None


def strip(days: Sequence[tuple[float, int]]) -> list[DayCell]:
    """The oldest day first."""
    most = max((count for _, count in days), default=0)
    return [
        DayCell(at_s, count, f"h-{level(count, most)}", str(datetime.fromtimestamp(at_s, UTC).date()))
        for at_s, count in days
    ]
