"""What went over OpenRouter keys lately, read from the sums and from the newest calls. Asks in few questions, however
many keys there are; knows no page.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Final

from app.models.ledger import Entry
from app.panel.context import PanelContext
from app.panel.openrouter_rows import NO_TRAFFIC, KeyRow, Traffic, Trouble
from app.services.cells import Step, short_key
from app.services.insight_plan import Answer, Dimension, Query
from app.services.ledger_filter import Filter, Line

_HOUR_S: Final = 3600
_DAY_S: Final = 86_400
_NEWEST: Final = 1000
"""So many of the newest calls are looked through for trouble."""
_OF_KEY: Final = 2000


async def with_traffic(ctx: PanelContext, rows: Sequence[KeyRow]) -> list[KeyRow]:
    """The rows of a page with what went over their keys. Raises RedisUnavailable."""
    if not rows:
        return []
    now_s = ctx.clock.wall_s()
    hour = Query(
        since_s=now_s - _HOUR_S + 60,
        until_s=now_s,
        step=Step.MINUTE,
        by=(Dimension.KEY,),
        where={Dimension.KEY: tuple(short_key(row.id) for row in rows)},
        top=len(rows),
    )
    told = await ctx.insight.answer(hour)
    every = await ctx.insight.answer(Query(since_s=hour.since_s, until_s=now_s, step=Step.MINUTE))
    newest = await ctx.ledger.page(Filter(since_s=now_s - now_s % _DAY_S), size=_NEWEST)
    troubles = troubles_of(line.entry for line in newest.lines)
    found = traffic(told, every.total.requests)
    with_trouble = []
    for row in rows:
        own = found.get(short_key(row.id), NO_TRAFFIC)
        last, limited = troubles.get(row.id, (None, 0))
        own = dataclasses.replace(own, of_all=every.total.requests, trouble=last, limited_today=limited)
        with_trouble.append(dataclasses.replace(row, traffic=own))
    return with_trouble


def traffic(told: Answer, of_all: int) -> dict[str, Traffic]:
    """An answer by keys and minutes, by the short ids of the keys."""
    return {
        row.values[0]: Traffic(
            cells=[(one.served, one.rescued, one.failed) for one in row.series],
            requests=row.figures.requests,
            of_all=of_all,
        )
        for row in told.rows
    }


def troubles_of(newest_first: Iterable[Entry]) -> dict[str, tuple[Trouble | None, int]]:
    """By key: the last try that was in vain, and how many met a 429."""
    found: dict[str, tuple[Trouble | None, int]] = {}
    for entry in newest_first:
        for one in entry.tries:
            if is_served(one.result):
                continue
            last, limited = found.get(one.key_id, (None, 0))
            last = last or Trouble(one.result, entry.at_s, entry.request_id)
            found[one.key_id] = (last, limited + one.result.startswith("429"))
    return found


def is_served(result: str) -> bool:
    """Whether a try's result is a plain 2xx."""
    return len(result) >= 3 and result[0] == "2" and result[:3].isdecimal()


# ---- one key


async def calls_of(ctx: PanelContext, key_id: str) -> tuple[tuple[Line, ...], bool]:
    """The calls of a day that tried or used the key, the newest first, and whether that is all of them."""
    since_s = ctx.clock.wall_s() - _DAY_S
    page = await ctx.ledger.page(Filter(key_id=key_id, since_s=since_s), size=_OF_KEY)
    return page.lines, page.complete and len(page.lines) < _OF_KEY


def heat(entries: Iterable[Entry], key_id: str, now_s: float) -> list[list[tuple[int, int, int] | None]]:
    """24 hours of 60 minutes, the oldest hour first: served, served after trouble elsewhere, failed on this key."""
    first = int(now_s // _HOUR_S) - 23
    cells: list[list[list[int] | None]] = [[None] * 60 for _ in range(24)]
    for entry in entries:
        hour, minute = int(entry.at_s // _HOUR_S) - first, int(entry.at_s % _HOUR_S // 60)
        if not 0 <= hour < 24:
            continue
        for one in entry.tries:
            if one.key_id == key_id:
                cell = cells[hour][minute] = cells[hour][minute] or [0, 0, 0]
                cell[_place(entry, one.result)] += 1
    return [[None if cell is None else (cell[0], cell[1], cell[2]) for cell in row] for row in cells]


def _place(entry: Entry, result: str) -> int:
    if not is_served(result):
        return 2
    return 0 if len(entry.tries) == 1 else 1


@dataclasses.dataclass(frozen=True, slots=True)
class Latency:
    """By the hour, the oldest first; None where nothing was served."""

    starts_s: tuple[int, ...]
    p50_ms: tuple[float | None, ...]
    p95_ms: tuple[float | None, ...]

    @property
    def known(self) -> bool:
        return any(ms is not None for ms in self.p50_ms)


def latency(entries: Iterable[Entry], key_id: str, now_s: float) -> Latency:
    """Times to the first token, or to the end of an answer that is not streamed, of the calls that this key served."""
    first = int(now_s // _HOUR_S) - 23
    hours: list[list[float]] = [[] for _ in range(24)]
    for entry in entries:
        hour = int(entry.at_s // _HOUR_S) - first
        if entry.key_id == key_id and entry.outcome in ("served", "rescued") and 0 <= hour < 24:
            hours[hour].append(entry.first_token_ms or entry.duration_ms)
    return Latency(
        tuple((first + place) * _HOUR_S for place in range(24)),
        tuple(quantile(some, 0.5) for some in hours),
        tuple(quantile(some, 0.95) for some in hours),
    )


def quantile(values: Sequence[float], share: float) -> float | None:
    """The value that this share of them keeps."""
    if not values:
        return None
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def results(entries: Iterable[Entry], key_id: str) -> list[tuple[str, int]]:
    """How often which result came of this key, the most frequent first."""
    counts: dict[str, int] = {}
    for entry in entries:
        for one in entry.tries:
            if one.key_id == key_id:
                counts[one.result] = counts.get(one.result, 0) + 1
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
