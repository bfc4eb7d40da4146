"""Which stored records hold a sealed secret, and how they are carried from one ring of keys to another. Pure but for
the ciphers; sends nothing.

Whatever else a record holds stays as it is, what this release does not know included.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import msgspec

from app.core.security import KeyRing, SealBroken
from app.services import backup_form as form
from app.services import openrouter_keys, renewal_steps, second_factor


@dataclass(frozen=True, slots=True)
class Sealed:
    """`context` makes what a value is bound to from the field's name in Redis and the record."""

    field: str
    context: Callable[[str, dict[str, Any]], str]


SEALED: Final = {
    form.OPENROUTER_KEYS: Sealed("sealed", lambda name, _: openrouter_keys.sealed_context(name)),
    form.ACCOUNTS: Sealed("totp", lambda name, _: second_factor.sealed_context(name)),
    form.RENEWALS: Sealed("sealed", lambda _, record: renewal_steps.sealed_context(str(record.get("successor", "")))),
}
"""By the name of the hash, without the prefix."""


class Carrier:
    """`broken` are the ids of records whose secret the first ring does not open: they are carried as they are."""

    def __init__(self, source: KeyRing, target: KeyRing) -> None:
        self._source = source
        self._target = target
        self.carried = 0
        self.broken: list[str] = []

    def row(self, name: bytes, row: form.Row) -> form.Row:
        """Of a hash: field and value."""
        sealed = SEALED.get(name)
        record = record_of(row[1]) if sealed is not None else None
        if sealed is None or record is None or not record.get(sealed.field):
            return row
        field = row[0].decode("utf-8", "replace")
        context = sealed.context(field, record)
        try:
            secret = self._source.unseal(str(record[sealed.field]), context=context)
        except SealBroken:
            self.broken.append(field)
            return row
        self.carried += 1
        record[sealed.field] = self._target.seal(secret.reveal(), context=context)
        rev, _, _ = row[1].partition(b"\n")
        return (row[0], rev + b"\n" + msgspec.json.encode(record))


def comparable(name: bytes, row: form.Row, ring: KeyRing) -> Any:
    """The record without its revision, and with a fingerprint in the place of its secret: equal where nothing has
    changed, whoever has sealed it. A value that is no record is itself.
    """
    record = record_of(row[1])
    if record is None:
        return row[1]
    sealed = SEALED.get(name)
    if sealed is not None and record.get(sealed.field):
        context = sealed.context(row[0].decode("utf-8", "replace"), record)
        try:
            secret = ring.unseal(str(record[sealed.field]), context=context).reveal()
            record[sealed.field] = sha256(f"{context}\n{secret}".encode()).hexdigest()
        except SealBroken:
            record[sealed.field] = "does not open"
    record.pop("rev", None)
    return record


def record_of(stored: bytes) -> dict[str, Any] | None:
    """Of `<revision>\\n<JSON>`."""
    rev, _, text = stored.partition(b"\n")
    if not rev.isdigit():
        return None
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError:
        return None
