"""Whose money a call was, and to which days, weeks and months its cost belongs. Pure; knows no limit.

A cost belongs to the time at which its call was admitted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from functools import lru_cache
from typing import Final

from app.models.ledger import CostKind, Entry
from app.models.limits import Span
from app.services.limit_plan import GATEWAY_SUBJECT, client_subject, group_subject

Parts = tuple[str, ...]
"""Of a name for `keys.books(…)`."""
Purse = tuple[str, Span]
"""A budget with a sum of its own, beside those of its holder: of certain models, or of one end user. (subject, span)"""

_DAY_S: Final = 86_400
LIVES_S: Final = {Span.DAY: 40 * _DAY_S, Span.WEEK: 70 * _DAY_S, Span.MONTH: 430 * _DAY_S, Span.TOTAL: 0}
"""How long a period's sum is kept, in seconds; 0: for good."""


@lru_cache(maxsize=16)
def _periods_of(day: int) -> dict[Span, str]:
    today = date(1970, 1, 1) + timedelta(days=day)
    monday = today - timedelta(days=today.weekday())
    return {Span.DAY: f"d:{today}", Span.WEEK: f"w:{monday}", Span.MONTH: f"m:{today:%Y-%m}", Span.TOTAL: "total"}


def period_of(span: Span, at_s: float) -> str:
    """The name of the day, week or month in UTC."""
    return _periods_of(int(at_s // _DAY_S))[span]


def spent_name(subject: str, span: Span, at_s: float) -> Parts:
    return ("spent", subject, period_of(span, at_s))


def held_name(subject: str, span: Span, at_s: float) -> Parts:
    """Where money is counted that running calls have reserved."""
    return ("held", subject, period_of(span, at_s))


Sum = tuple[Parts, int, int]
"""A name, its life in seconds, and the nano-dollars to be added."""


def purse_sums(spent: Iterable[tuple[Entry, Sequence[Purse]]]) -> list[Sum]:
    """What entries add to budgets with sums of their own."""
    # Calls of one form share their purses: those are looked at once.
    alike: dict[tuple[int, int], int] = defaultdict(int)
    known: dict[int, Sequence[Purse]] = {}
    for entry, purses in spent:
        if purses and entry.cost_nano > 0:
            known[id(purses)] = purses
            alike[id(purses), int(entry.at_s // _DAY_S)] += entry.cost_nano
    sums: defaultdict[tuple[Parts, int], int] = defaultdict(int)
    for (which, day), nano in alike.items():
        for subject, span in known[which]:
            sums[("spent", subject, _periods_of(day)[span]), LIVES_S[span]] += nano
    return [(name, life_s, nano) for (name, life_s), nano in sums.items()]


def purses_name(entry_id: str) -> Parts:
    """Where the purses of a call stand whose cost was charged without proof."""
    return ("reconcile", "purses", entry_id)


def purse_notes(spent: Iterable[tuple[Entry, Sequence[Purse]]]) -> list[tuple[Parts, int, dict[str, int]]]:
    """Name, life and fields of a hash: the entry does not know its purses, and a correction has to find them."""
    return [
        (purses_name(entry.id), LIVES_S[Span.DAY], {f"{subject} {span}": 1 for subject, span in purses})
        for entry, purses in spent
        if purses and entry.cost_nano > 0 and entry.cost_kind is CostKind.UNKNOWN
    ]


def noted_purses(fields: Iterable[bytes]) -> tuple[Purse, ...]:
    """Of such a hash."""
    parts = [field.decode().rpartition(" ") for field in fields]
    return tuple((subject, Span(span)) for subject, _, span in parts)


def sums_of(entries: Iterable[Entry]) -> list[Sum]:
    """What the entries add to the sums of clients, groups and the gateway."""
    by_day: defaultdict[tuple[str, int], int] = defaultdict(int)
    for entry in entries:
        if entry.cost_nano > 0:
            day = int(entry.at_s // _DAY_S)
            by_day[client_subject(entry.client_id), day] += entry.cost_nano
            by_day[GATEWAY_SUBJECT, day] += entry.cost_nano
            if entry.group_id:
                by_day[group_subject(entry.group_id), day] += entry.cost_nano
    return [
        (("spent", subject, _periods_of(day)[span]), life_s, nano)
        for (subject, day), nano in by_day.items()
        for span, life_s in LIVES_S.items()
    ]
