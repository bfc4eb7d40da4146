"""What a restore would change, told by names and never by secrets: records of each kind that come, change and go, and
how much there is of everything else. Knows stored forms; sends nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from app.core.security import KeyRing
from app.services import backup_form as form
from app.services.backup_seals import comparable, record_of

KINDS: Final = {
    form.OPENROUTER_KEYS: "OpenRouter key",
    form.CLIENT_KEYS: "client key",
    form.GROUPS: "group",
    form.ACCOUNTS: "account",
    form.TOKENS: "admin token",
    form.MANAGED: "managed key",
    form.RENEWALS: "renewal",
    form.SETTINGS: "setting",
}
_OTHERS: Final = (
    (b":{books}:ledger", "calls"),
    (form.AUDIT, "audit entries"),
    (b":{books}:log", "log lines"),
    (b":{books}:spent:", "sums of limits"),
    (b":{books}:rate:", "rates of limits"),
    (b":{books}:sums:", "tables of usage"),
    (b":owner:", "owners of objects"),
    (b":generations:", "hours of generations"),
)
_REST: Final = "other names"
_SHOWN: Final = frozenset({"state", "kind", "role", "disabled"})
"""Fields whose values are told, because somebody has to know."""


class Sign(StrEnum):
    COMES = "added"
    CHANGES = "changed"
    GOES = "removed"


@dataclass(frozen=True, slots=True)
class Change:
    """`fields` are those that differ, some with both values: `state enabled → revoked`."""

    sign: Sign
    kind: str
    id: str
    name: str
    fields: tuple[str, ...] = ()
    revives: bool = False
    """What was revoked, disabled or deleted by hand here would be good again."""


@dataclass
class Difference:
    """What there is `now` and `then`, and the records that differ."""

    changes: list[Change] = field(default_factory=list)
    now: Counter[str] = field(default_factory=Counter)
    then: Counter[str] = field(default_factory=Counter)

    @property
    def counts(self) -> Mapping[tuple[str, Sign], int]:
        return Counter((one.kind, one.sign) for one in self.changes)

    def others(self) -> list[tuple[str, int, int]]:
        """Of what is only counted: what it is, how many there are now, and in the backup."""
        labels = [label for _, label in _OTHERS] + [_REST]
        return [(label, self.now[label], self.then[label]) for label in labels if self.now[label] or self.then[label]]


def counted_as(name: bytes) -> str:
    """How everything that is no record is called. Of streams the rows count, of the rest the names."""
    for begin, label in _OTHERS:
        if name == begin or (begin.endswith(b":") and name.startswith(begin)):
            return label
    return _REST


def compared(
    name: bytes, rows: Iterable[tuple[form.Row, bytes | None]], theirs: KeyRing, ours: KeyRing
) -> Iterable[Change]:
    """Rows of a backup's hash, each with what stands here in its place; `theirs` opens the ones, `ours` the others."""
    for row, here in rows:
        record_id = row[0].decode("utf-8", "replace")
        if here is None:
            yield Change(Sign.COMES, KINDS[name], record_id, name_of(row), revives=False)
            continue
        before, after = comparable(name, (row[0], here), ours), comparable(name, row, theirs)
        if before != after:
            fields, revives = _differing(before, after)
            yield Change(Sign.CHANGES, KINDS[name], record_id, name_of(row), fields, revives)


def gone(name: bytes, row: form.Row) -> Change:
    """What stands here, and not in the backup."""
    return Change(Sign.GOES, KINDS[name], row[0].decode("utf-8", "replace"), name_of(row))


def name_of(row: form.Row) -> str:
    """What people call it."""
    record = record_of(row[1]) or {}
    names = (record.get(word) for word in ("label", "name", "masked", "public"))
    return next((str(one) for one in names if one), row[0].decode("utf-8", "replace")[:24])


def _differing(before: Any, after: Any) -> tuple[tuple[str, ...], bool]:
    if not isinstance(before, dict) or not isinstance(after, dict):
        return (), False
    told = []
    for word in sorted(before.keys() | after.keys()):
        old, new = before.get(word), after.get(word)
        if old != new:
            told.append(f"{word} {_plain(word, old)} → {_plain(word, new)}" if word in _SHOWN else word)
    held = before.get("state", "enabled") != "enabled" and after.get("state", "enabled") == "enabled"
    return tuple(told), held or bool(before.get("disabled") and not after.get("disabled"))


def _plain(word: str, value: Any) -> str:
    """A field that has its usual value is not stored."""
    return str(value) if value is not None else "enabled" if word == "state" else "-"
