"""What people type about an OpenRouter key, as values for the key manager, and what of it does not fit. Pure but for
reading the form from the wire; keeps no key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from urllib.parse import parse_qsl

from fastapi import Request
from starlette.requests import ClientDisconnect

from app.core.errors import GatewayError
from app.models.keys import OpenRouterKey
from app.services.key_fields import changed
from app.services.key_names import KeyRefused

_NANO: Final = 10**9
_MOST_USD: Final = 10**9
MOST_BYTES: Final = 2_000_000
"""Room for ten thousand keys."""
_MOST_FIELDS: Final = 2000
_FORM: Final = "application/x-www-form-urlencoded"
_APART: Final = re.compile(r"[\s,]+")
TEXTS: Final = ("label", "note", "account")
LISTS: Final = ("tags", "models_allowed", "models_denied")
NUMBERS: Final = ("weight", "tier")
CAPS: Final = ("max_rpm", "max_in_flight")
DAY_USD: Final = "max_day_usd"
NEW_FIELDS: Final = ("label", "tags", "note")
FIELDS: Final = (*TEXTS, *LISTS, *NUMBERS, *CAPS, DAY_USD)


class Form:
    """The fields as they were sent; a field may come more than once."""

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._pairs = pairs

    def get(self, name: str) -> str:
        """The last one of that name, or nothing."""
        return next((value for key, value in reversed(self._pairs) if key == name), "")

    def all(self, name: str) -> list[str]:
        return list(dict.fromkeys(value for key, value in self._pairs if key == name))

    def has(self, name: str) -> bool:
        return any(key == name for key, _ in self._pairs)

    @property
    def rev(self) -> int | None:
        """The revision that somebody has seen."""
        return whole(self.get("rev"))


async def read_form(request: Request) -> Form:
    """Plain forms without files. Raises GatewayError."""
    body = bytearray()
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > MOST_BYTES:
                raise GatewayError(413, "payload_too_large", "The form is too large.", "Send less.", close=True)
    except ClientDisconnect:
        raise GatewayError(400, "invalid_request", "The form did not arrive whole.", "Send it again.") from None
    if body and request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise GatewayError(415, "unsupported_media_type", "Only plain forms are read here.", f"Send it as {_FORM}.")
    try:
        text = bytes(body).decode()
        return Form(parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict"))
    except ValueError:  # UnicodeDecodeError is one
        raise GatewayError(400, "invalid_request", "The form is not readable.", "Send it as UTF-8.") from None


def whole(text: str) -> int | None:
    """A plain number, or None."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None


def nano(text: str) -> int | None:
    """Dollars as they are typed: `12.5`, `$12.50`. None for what is no amount."""
    try:
        dollars = Decimal(text.strip().removeprefix("$").replace(",", ""))
    except InvalidOperation:
        return None
    return int(dollars * _NANO) if dollars.is_finite() and 0 <= dollars <= _MOST_USD else None


def typed_of(record: OpenRouterKey) -> dict[str, str]:
    """The fields as somebody would have typed them."""
    typed = {name: str(getattr(record, name)) for name in (*TEXTS, *NUMBERS)}
    typed |= {name: "\n".join(getattr(record, name)) for name in LISTS if name != "tags"}
    typed["tags"] = " ".join(record.tags)
    typed |= {name: "" if getattr(record, name) is None else str(getattr(record, name)) for name in CAPS}
    typed[DAY_USD] = "" if record.max_day_nano is None else f"{Decimal(record.max_day_nano) / _NANO:f}"
    return typed


@dataclass(frozen=True, slots=True)
class Read:
    """`changes` for the key manager, and sentences for the fields that do not fit."""

    changes: Mapping[str, Any]
    errors: Mapping[str, str] = field(default_factory=dict)


def read(form: Form, record: OpenRouterKey) -> Read:
    """Of the fields that were sent, those that differ from the record as values, each checked by itself."""
    changes: dict[str, Any] = {}
    errors: dict[str, str] = {}
    before = typed_of(record)
    for name in FIELDS:
        if not form.has(name) or form.get(name) == before[name]:
            continue
        attribute = "max_day_nano" if name == DAY_USD else name
        value = _value(name, form.get(name))
        try:
            changed(record, {attribute: value})
        except KeyRefused as refusal:
            errors[name] = "This must be an amount of dollars." if name == DAY_USD else str(refusal)
        else:
            changes[attribute] = value
    return Read(changes, errors)


def _value(name: str, text: str) -> Any:
    text = text.strip()
    if name in TEXTS:
        return text
    if name in LISTS:
        return [word for word in _APART.split(text) if word]
    if name in (*CAPS, DAY_USD) and text in ("", "0"):
        return None
    found = nano(text) if name == DAY_USD else whole(text)
    # What is no number is refused with the field's own sentence.
    return text if found is None else found


def typed(form: Form, names: Sequence[str] = FIELDS) -> dict[str, str]:
    """What was sent, to be shown again."""
    return {name: form.get(name) for name in names}
