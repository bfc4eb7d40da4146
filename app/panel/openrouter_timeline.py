"""What happened to one OpenRouter key and what comes: deeds, marks and trouble in one line of time, and how its credit
burns down. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import msgspec

from app.models.ledger import Entry
from app.panel.openrouter_rows import KeyRow
from app.panel.openrouter_traffic import is_served
from app.services.audit_chain import Deed
from app.services.forecast import Sample
from app.services.key_picture import MarkPicture

BY_HAND: Final = "by hand"
"""The reason of a mark that a person has set."""
_TOGETHER_S: Final = 600.0
_POINTS: Final = 60
_HOUR_S: Final = 3600.0
_FARTHEST_S: Final = 30 * 86_400.0
MOST_EVENTS: Final = 40


@dataclass(frozen=True, slots=True)
class Change:
    """`field` is empty where the deed changed the key as a whole."""

    field: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Event:
    """`kind`: deed, mark, or trouble. `count` tells how often the same trouble came in a short time."""

    at_s: float
    kind: str
    what: str
    by: str = ""
    changes: tuple[Change, ...] = ()
    request_id: str = ""
    count: int = 1
    mark: MarkPicture | None = None


def timeline(
    deeds: Iterable[Deed], marks: Iterable[MarkPicture], newest_first: Iterable[Entry], key_id: str
) -> list[Event]:
    """The newest first."""
    events = [
        Event(deed.at, "deed", deed.deed, deed.by, changes_of(deed.before, deed.after))
        for deed in deeds
        if deed.kind != "mark"
    ]
    # What was set by hand stands among the deeds.
    events += [
        Event(mark.at_s, "mark", mark.kind.value, mark.by, mark=mark) for mark in marks if mark.reason != BY_HAND
    ]
    events += _troubles(newest_first, key_id)
    return sorted(events, key=lambda event: -event.at_s)[:MOST_EVENTS]


def changes_of(before: str, after: str) -> tuple[Change, ...]:
    """Field by field where the audit tells it so, else as it is told."""
    old, new = _fields(before), _fields(after)
    if old is None or new is None:
        return (Change("", before, after),) if before or after else ()
    return tuple(Change(name, _told(old.get(name)), _told(new.get(name))) for name in (old | new))


def _fields(text: str) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError:
        return None


def _told(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)


def _troubles(newest_first: Iterable[Entry], key_id: str) -> list[Event]:
    """The same trouble again and again is one event."""
    found: list[Event] = []
    for entry in newest_first:
        for one in entry.tries:
            if one.key_id != key_id or is_served(one.result):
                continue
            last = found[-1] if found else None
            if last is not None and last.what == one.result and last.at_s - entry.at_s <= _TOGETHER_S:
                found[-1] = Event(last.at_s, "trouble", one.result, request_id=last.request_id, count=last.count + 1)
            else:
                found.append(Event(entry.at_s, "trouble", one.result, request_id=entry.request_id))
    return found


@dataclass(frozen=True, slots=True)
class Burn:
    """Credit over time, at even distances: what was left, and what will be at this rate. Amounts are nano-dollars."""

    starts_s: tuple[float, ...]
    left: tuple[int | None, ...]
    projected: tuple[int | None, ...]
    dry_s: float | None


def burn(row: KeyRow, samples: Sequence[Sample], now_s: float) -> Burn | None:
    """None where there is no limit, or too little is known for a line."""
    available, rate = row.picture.available_nano, row.picture.forecast.nano_per_h
    if available is None or len(samples) < 2:
        return None
    first_s, used = samples[0].at_s, samples[-1].usage_nano
    dry_in_s = row.picture.forecast.dry_in_s
    ahead_s = min(dry_in_s if dry_in_s is not None else now_s - first_s, _FARTHEST_S)
    end_s = now_s + max(ahead_s, _HOUR_S / 4)
    step_s = (end_s - first_s) / (_POINTS - 1)
    times = tuple(first_s + step_s * place for place in range(_POINTS))
    left = tuple(available + used - _used_at(samples, at_s) if at_s <= now_s else None for at_s in times)
    projected = tuple(
        None if rate is None or at_s < now_s - step_s else max(0, round(available - rate * (at_s - now_s) / _HOUR_S))
        for at_s in times
    )
    return Burn(times, left, projected, None if dry_in_s is None else now_s + dry_in_s)


def _used_at(samples: Sequence[Sample], at_s: float) -> int:
    """Between two probes as if it had been spent evenly."""
    for before, after in pairwise(samples):
        if at_s <= after.at_s:
            part = (at_s - before.at_s) / max(1e-9, after.at_s - before.at_s)
            return round(before.usage_nano + (after.usage_nano - before.usage_nano) * part)
    return samples[-1].usage_nano
