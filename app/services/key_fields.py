"""What people may set on keys, and which values fit. Pure; holds no key."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, TypeVar

import msgspec

from app.models.keys import ClientKey, OpenRouterKey
from app.services.key_names import KeyRefused, presentable

_Record = TypeVar("_Record", OpenRouterKey, ClientKey)
MOST_PREDECESSORS: Final = 100
"""So many generations answer for what a key has made."""
_TAG: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,49}")
_ACCOUNT: Final = re.compile(r"[A-Za-z0-9][^\s\x00-\x1f]{0,99}")
_PATTERN: Final = re.compile(r"[^\s,]{1,200}")
_KEY_ID: Final = re.compile(r"[0-9a-f]{64}")
_MOST_TAGS: Final = 32
_MOST_PATTERNS: Final = 200
_MOST_WEIGHT: Final = 1000
_MOST_TIER: Final = 1000
_MOST_RPM: Final = 100_000
_MOST_IN_FLIGHT: Final = 100_000
_MOST_NANO: Final = 10**18

Check = Callable[[str, Any], Any]


def _line(least: int) -> Check:
    def check(what: str, value: Any) -> str:
        if not isinstance(value, str):
            raise KeyRefused(f"The {what} must be a text.")
        return presentable(value, what, least=least)

    return check


def _whole(least: int, most: int, *, optional: bool = False) -> Check:
    def check(what: str, value: Any) -> int | None:
        if value is None and optional:
            return None
        if type(value) is not int or not least <= value <= most:
            raise KeyRefused(f"The {what} must be a whole number from {least} to {most}.")
        return value

    return check


def _words(form: re.Pattern[str], most: int, allowed: str) -> Check:
    def check(what: str, value: Any) -> tuple[str, ...]:
        if isinstance(value, str) or not isinstance(value, Collection) or len(value) > most:
            raise KeyRefused(f"The {what} must be a list of at most {most}.")
        if not all(isinstance(word, str) and form.fullmatch(word) for word in value):
            raise KeyRefused(f"Each of the {what} must be {allowed}.")
        return tuple(dict.fromkeys(value))

    return check


def _account(what: str, value: Any) -> str:
    if value == "":
        return ""
    if not isinstance(value, str) or not _ACCOUNT.fullmatch(value) or value.startswith("key:"):
        raise KeyRefused(f"The {what} must be one word of at most 100 characters.")
    return value


def _flag(what: str, value: Any) -> bool:
    if type(value) is not bool:
        raise KeyRefused(f"The {what} must be true or false.")
    return value


_tags: Final = _words(_TAG, _MOST_TAGS, "a word of letters, digits and . _ : - with at most 50 characters")
_patterns: Final = _words(_PATTERN, _MOST_PATTERNS, "a model like openai/gpt-4o or a pattern like openai/*")

_OPENROUTER: Final[dict[str, Check]] = {
    "label": _line(0),
    "note": _line(0),
    "tags": _tags,
    "weight": _whole(0, _MOST_WEIGHT),
    "tier": _whole(0, _MOST_TIER),
    "models_allowed": _patterns,
    "models_denied": _patterns,
    "max_rpm": _whole(1, _MOST_RPM, optional=True),
    "max_in_flight": _whole(1, _MOST_IN_FLIGHT, optional=True),
    "max_day_nano": _whole(1, _MOST_NANO, optional=True),
    "account": _account,
    "predecessors": _words(_KEY_ID, MOST_PREDECESSORS, "an id of 64 hex digits"),
}
_CLIENT: Final[dict[str, Check]] = {"name": _line(1), "owner": _line(0), "tags": _tags, "trace": _flag}


def changed(record: _Record, changes: Mapping[str, Any]) -> _Record:
    """The record with these values. Raises KeyRefused for a field that nobody may set, or a value that does not fit."""
    checks = _OPENROUTER if isinstance(record, OpenRouterKey) else _CLIENT
    if unknown := sorted(changes.keys() - checks.keys()):
        raise KeyRefused(f"Of a key one can set {', '.join(checks)}, and not {', '.join(unknown)}.")
    checked = {field: checks[field](field.replace("_", " "), value) for field, value in changes.items()}
    return msgspec.structs.replace(record, **checked)


def difference(before: _Record, after: _Record) -> tuple[str, str]:
    """What differs of what people may set, as two texts for the audit."""
    fields = _OPENROUTER if isinstance(before, OpenRouterKey) else _CLIENT
    different = [field for field in fields if getattr(before, field) != getattr(after, field)]
    return _told(before, different), _told(after, different)


def _told(record: OpenRouterKey | ClientKey, fields: Collection[str]) -> str:
    return msgspec.json.encode({field: getattr(record, field) for field in fields}).decode() if fields else ""
