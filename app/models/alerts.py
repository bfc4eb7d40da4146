"""Something that a person should hear of, as it is kept and sent. Holds no secret."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class AlertKind(StrEnum):
    BUDGET = "budget"
    KEY_USED_ELSEWHERE = "key_used_elsewhere"
    BOOKS_DIFFER = "books_differ"
    TEST = "test"


class Alert(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`id` is the same for the same event, whoever notices it and however often. `subject` is the id it is about."""

    id: str
    kind: AlertKind
    at_s: float
    subject: str
    title: str
    text: str = ""
