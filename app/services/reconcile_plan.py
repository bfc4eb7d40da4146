"""What a difference between the gateway's books and OpenRouter's means, and what follows. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final

import msgspec

from app.models.alerts import Alert, AlertKind
from app.models.books import Comparison, Finding
from app.models.ledger import CostKind, Entry
from app.services.money import dollars, to_nano

_LEAST_NANO: Final = 10_000_000
"""A cent. A call around midnight may be booked on one day here and on the other there."""
_SHARE: Final = 200


class _Item(msgspec.Struct):
    usage: Decimal
    date: str = ""


class _Activity(msgspec.Struct):
    data: list[_Item]


_activity = msgspec.json.Decoder(_Activity)


def activity_nano(body: bytes, day: str) -> int | None:
    """What `GET /activity` says was spent on a day; None where it is no such answer."""
    try:
        items = _activity.decode(body).data
        return sum(to_nano(item.usage) for item in items if item.date[:10] == day)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
        return None


def tolerance_nano(theirs_nano: int) -> int:
    return max(_LEAST_NANO, theirs_nano // _SHARE)


def judged(own_nano: int, unknown_nano: int, theirs_nano: int | None) -> Finding:
    """Without unknown costs, a cent or half a percent may lie between the two."""
    if theirs_nano is None:
        return Finding.NOT_COMPARED
    if own_nano - unknown_nano > theirs_nano + tolerance_nano(theirs_nano):
        return Finding.TOO_MUCH
    if unknown_nano and own_nano > theirs_nano:
        return Finding.CORRECTED
    return Finding.ELSEWHERE if theirs_nano > own_nano + tolerance_nano(theirs_nano) else Finding.AGREES


def corrections(entries: Sequence[Entry], excess_nano: int) -> list[tuple[Entry, int]]:
    """What the unknown costs are to be: all less by the same share, until the excess is gone."""
    unknown = [entry for entry in entries if entry.cost_kind is CostKind.UNKNOWN and entry.cost_nano > 0]
    charged = sum(entry.cost_nano for entry in unknown)
    left = max(0, charged - excess_nano)
    found, before, given = [], 0, 0
    for entry in unknown:
        before += entry.cost_nano
        upto = before * left // charged  # by running sums, so that no nano-dollar is lost in rounding
        found.append((entry, upto - given))
        given = upto
    return found


def alerts_of(comparisons: Iterable[Comparison], names: dict[str, str], now_s: float) -> list[Alert]:
    """One for each key that was used elsewhere, and for books that say too much."""
    found = []
    for one in comparisons:
        name, theirs = names.get(one.key_id, one.key_id[:12]), one.theirs_nano or 0
        if one.finding is Finding.ELSEWHERE:
            title = f"OpenRouter key {name} is used elsewhere"
            text = f"${dollars(theirs - one.own_nano)} of {one.day} did not go through this gateway."
            kind = AlertKind.KEY_USED_ELSEWHERE
        elif one.finding is Finding.TOO_MUCH:
            title = f"The books of OpenRouter key {name} do not agree"
            text = f"They say ${dollars(one.own_nano)} for {one.day}, OpenRouter says ${dollars(theirs)}."
            kind = AlertKind.BOOKS_DIFFER
        else:
            continue
        identity = f"{kind.value}:{one.key_id}:{one.day}"
        place = f"/admin/openrouter-keys/{one.key_id}"
        found.append(Alert(id=identity, kind=kind, at_s=now_s, subject=one.key_id, title=title, text=text, place=place))
    return found
