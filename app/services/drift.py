"""What OpenRouter lists against what the pool knows: each difference, with one action. Pure; changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from app.models.keys import KeyKind, KeyState, OpenRouterKey
from app.models.renewal import Entry, ListedKey, ManagedKey
from app.services.renewal_plan import base_name


class Drift(StrEnum):
    UNKNOWN = "unknown"
    ORPHAN = "orphan"
    VANISHED = "vanished"
    DISABLED = "disabled"
    STILL_LIVE = "still_live"
    LIMIT = "limit"
    MOVED = "moved"
    NOT_MANAGED = "not_managed"
    NO_ADMIN = "no_admin"


class Action(StrEnum):
    ADD = "add"
    """By hand: nobody but its owner knows the secret."""
    DELETE_THERE = "delete_there"
    REMOVE_HERE = "remove_here"
    DISABLE_HERE = "disable_here"
    DISABLE_THERE = "disable_there"
    RESTORE_LIMIT = "restore_limit"
    ADOPT = "adopt"
    ADD_ADMIN = "add_admin"
    """By hand: a management key of its account is missing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`name` is what people may see of the key; `admin` the management key that can act, if any."""

    drift: Drift
    action: Action
    key: str
    name: str
    what: str
    admin: str = ""


def compare(
    listings: Mapping[str, Sequence[ListedKey]],
    pool: Iterable[OpenRouterKey],
    managed: Mapping[str, ManagedKey],
    entries: Iterable[Entry],
) -> tuple[Finding, ...]:
    """`listings` holds what each management key (by id) sees. Keys in the middle of a deed are left out."""
    entries, records = tuple(entries), {record.id: record for record in pool}
    listed = {key.id: (admin, key) for admin, keys in listings.items() for key in keys}
    busy = {key_id for entry in entries if entry.is_open for key_id in (entry.key, entry.successor)}
    found: list[Finding] = []
    for key_id, (admin, key) in listed.items():
        if key_id not in busy:
            found.extend(_there(admin, key, records.get(key_id), managed.get(key_id), entries))
    for key_id, record in records.items():
        if key_id not in listed and key_id not in busy and record.kind is not KeyKind.MANAGEMENT:
            found.extend(_not_there(record, managed.get(key_id), listings))
    return tuple(found)


def _there(
    admin: str, key: ListedKey, record: OpenRouterKey | None, managed: ManagedKey | None, entries: Iterable[Entry]
) -> Iterator[Finding]:
    if record is None:
        yield _unknown(admin, key, entries)
    elif key.disabled and record.state is KeyState.ENABLED:
        what = "It is disabled at OpenRouter, and serves here."
        yield Finding(Drift.DISABLED, Action.DISABLE_HERE, key.id, record.masked, what, admin)
    elif not key.disabled and record.state is KeyState.REVOKED:
        what = "It is revoked here, and alive at OpenRouter."
        yield Finding(Drift.STILL_LIVE, Action.DISABLE_THERE, key.id, record.masked, what, admin)
    elif managed is None:
        what = "It is in the pool, and not managed: it is not renewed by itself."
        yield Finding(Drift.NOT_MANAGED, Action.ADOPT, key.id, record.masked, what, admin)
    else:
        yield from _terms(admin, key, record, managed)


def _unknown(admin: str, key: ListedKey, entries: Iterable[Entry]) -> Finding:
    names = {entry.name for entry in entries if entry.name and not entry.is_open}
    shown = f"{key.name} ({key.label})" if key.label else key.name
    if key.name in names and base_name(key.name) != key.name:
        what = "A renewal made it, and nobody knows its secret."
        return Finding(Drift.ORPHAN, Action.DELETE_THERE, key.id, shown, what, admin)
    what = "OpenRouter lists it, and the pool does not know it."
    return Finding(Drift.UNKNOWN, Action.ADD, key.id, shown, what, admin)


def _terms(admin: str, key: ListedKey, record: OpenRouterKey, managed: ManagedKey) -> Iterator[Finding]:
    terms = managed.terms
    if (key.limit_nano, key.limit_reset) != (terms.limit_nano, terms.limit_reset):
        is_now, wanted = _limit(key.limit_nano, key.limit_reset), _limit(terms.limit_nano, terms.limit_reset)
        what = f"Its limit is {is_now}, not {wanted}."
        yield Finding(Drift.LIMIT, Action.RESTORE_LIMIT, key.id, record.masked, what, admin)
    if terms.workspace and key.workspace != terms.workspace:
        what = "It was moved to another workspace: adopt it anew."
        yield Finding(Drift.MOVED, Action.ADOPT, key.id, record.masked, what, admin)


def _not_there(
    record: OpenRouterKey, managed: ManagedKey | None, listings: Mapping[str, Sequence[ListedKey]]
) -> Iterator[Finding]:
    if managed is not None and managed.admin in listings:
        what = "It was deleted at OpenRouter."
        yield Finding(Drift.VANISHED, Action.REMOVE_HERE, record.id, record.masked, what, managed.admin)
    else:
        what = "No management key on file lists it: it cannot be renewed or revoked from here."
        yield Finding(Drift.NO_ADMIN, Action.ADD_ADMIN, record.id, record.masked, what)


def _limit(nano: int | None, reset: str) -> str:
    return "none" if nano is None else f"{nano / 1_000_000_000:g} USD {reset or 'for life'}"
