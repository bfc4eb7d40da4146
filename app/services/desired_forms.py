"""How each attribute is written in the declarative file. Pure; whether a value fits, key_fields decides."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from app.models.limits import Injection, Limit
from app.services.key_names import KeyRefused
from app.services.limit_words import limit_of
from app.services.money import to_nano
from app.services.yaml_reading import Node, Reader

_FROM_NOW: Final = re.compile(r"[0-9]+[mhdw]")
_ABSOLUTE: Final = "Write a time like 2026-12-01 or 2026-12-01T18:00Z: it must mean the same tomorrow."

Form = tuple[str, Callable[[Reader, Node, str], Any]]
"""The record's attribute, and what reads it."""


def _words(reader: Reader, node: Node, where: str) -> list[str] | None:
    words = [reader.text(one, where) for one in reader.items(node, where)]
    return None if None in words else [word for word in words if word is not None]


def _percents(reader: Reader, node: Node, where: str) -> list[int] | None:
    found = [reader.whole(one, where) for one in reader.items(node, where)]
    return None if None in found else [percent for percent in found if percent is not None]


def _limits(reader: Reader, node: Node, where: str) -> list[Limit] | None:
    found: list[Limit] = []
    faults = len(reader.faults)
    for one in reader.items(node, where):
        if (words := reader.text(one, where)) is None:
            continue
        if _FROM_NOW.fullmatch(words.partition("@")[2].partition(";")[0].strip()):
            reader.refuse(one, where, "This raise ends at another time each day.", _ABSOLUTE)
            continue
        try:
            found.append(limit_of(words, 0.0))  # a raise that is over is none, and no fault
        except KeyRefused as refusal:
            reader.refuse(one, where, str(refusal))
    return None if len(reader.faults) > faults else found


def _injections(*, enforced: bool) -> Callable[[Reader, Node, str], list[Injection] | None]:
    def read(reader: Reader, node: Node, where: str) -> list[Injection] | None:
        if not isinstance(getattr(node, "value", None), list) or (node.value and not isinstance(node.value[0], tuple)):
            reader.refuse(node, where, f"{where} must be a mapping: lines like user: team-a.")
            return None
        faults = len(reader.faults)
        found = [
            Injection(field=str(key.value).lower(), value=_json(reader.plain(value, where)), enforced=enforced)
            for key, value in node.value
        ]
        return None if len(reader.faults) > faults else found

    return read


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _instant(reader: Reader, node: Node, where: str) -> float | None:
    text = reader.text(node, where)
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text.strip())
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        reader.refuse(node, where, "This is no time.", _ABSOLUTE)
        return None


def _dollars(reader: Reader, node: Node, where: str) -> int | None:
    text = reader.number(node, where)
    try:
        nano = None if text is None else to_nano(text)
    except ValueError:
        nano = 0
    if nano is not None and nano <= 0:
        reader.refuse(node, where, f"{where} must be an amount of dollars.", "Leave it out where there is no cap.")
    return nano or None


def _text(reader: Reader, node: Node, where: str) -> str | None:
    return reader.text(node, where)


def _whole(reader: Reader, node: Node, where: str) -> int | None:
    return reader.whole(node, where)


def _flag(reader: Reader, node: Node, where: str) -> bool | None:
    return reader.flag(node, where)


TERMS: Final[dict[str, Form]] = {
    "note": ("note", _text),
    "models_allowed": ("models_allowed", _words),
    "models_denied": ("models_denied", _words),
    "endpoints": ("endpoints", _words),
    "addresses": ("addresses", _words),
    "limits": ("limits", _limits),
    "alerts_at": ("alerts_at", _percents),
    "inject": ("injections", _injections(enforced=False)),
    "enforce": ("injections", _injections(enforced=True)),
    "clamp": ("clamp", _flag),
    "keep_bodies": ("keep_bodies", _flag),
}
CLIENT: Final[dict[str, Form]] = {
    "owner": ("owner", _text),
    "expires_at": ("expires_at", _instant),
    "tags": ("tags", _words),
    "trace": ("trace", _flag),
    **TERMS,
}
KEY: Final[dict[str, Form]] = {
    "note": ("note", _text),
    "tags": ("tags", _words),
    "weight": ("weight", _whole),
    "tier": ("tier", _whole),
    "models_allowed": ("models_allowed", _words),
    "models_denied": ("models_denied", _words),
    "max_rpm": ("max_rpm", _whole),
    "max_in_flight": ("max_in_flight", _whole),
    "max_usd_day": ("max_day_nano", _dollars),
    "account": ("account", _text),
}
