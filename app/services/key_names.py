"""How people name keys, and what they may call them. Pure; holds no key."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Final, TypeVar

from app.models.keys import ClientKey, OpenRouterKey

_LONGEST_NAME: Final = 200
_SHORTEST_ID: Final = 6
_UNFIT: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})

_Record = TypeVar("_Record", OpenRouterKey, ClientKey)


class KeyRefused(Exception):  # noqa: N818 - a condition
    """A key cannot be taken. The text is for people and holds nothing of the key."""


class Outdated(Exception):  # noqa: N818 - a condition
    """Somebody has changed the record since it was looked at."""


class NoSuchKey(Exception):  # noqa: N818 - a condition
    """No key, or more than one, answers to that name. The text is for people."""


def presentable(text: str, what: str, *, least: int) -> str:
    """Stripped, and fit for tables and logs: no control characters, line separators or half characters. Raises
    KeyRefused.
    """
    text = text.strip()
    if not least <= len(text) <= _LONGEST_NAME or any(unicodedata.category(sign) in _UNFIT for sign in text):
        raise KeyRefused(f"The {what} must have {least} to {_LONGEST_NAME} characters and no control characters.")
    return text


def named(name: str, records: Iterable[_Record]) -> _Record:
    """The one record of this id, beginning of an id, masked form, or label or name. Raises NoSuchKey."""
    found = [record for record in records if _answers_to(record, name)]
    if not found:
        raise NoSuchKey("No key answers to that name or id.")
    exact = [record for record in found if record.id == name]
    if len(found) > 1 and not exact:
        raise NoSuchKey(f"{len(found)} keys answer to that name: give the id.")
    return (exact or found)[0]


def _answers_to(record: OpenRouterKey | ClientKey, name: str) -> bool:
    if not name:
        return False
    own_name = record.label if isinstance(record, OpenRouterKey) else record.name
    return name in (record.id, record.masked, own_name) or (len(name) >= _SHORTEST_ID and record.id.startswith(name))
