"""What went over OpenRouter keys lately: minutes, trouble, how long calls took. Read from the sums in few questions,
however many keys there are, and from the newest calls; knows no page.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from app.models.ledger import Entry
from app.panel.context import PanelContext
from app.panel.openrouter_rows import KeyRow, Traffic, Trouble
from app.services.cells import Figures, Step, short_key
from app.services.insight_plan import Answer, Dimension, Quantiles, Query
from app.services.ledger_filter import Filter, Line
from app.services.strips import Minute, Strips

_HOUR_S: Final = 3600
_DAY_S: Final = 86_400
_NEWEST: Final = 1000
"""So many of the newest calls are looked through for the last trouble."""
_OF_KEY: Final = 200
_MOST_READ: Final = 5000
_STALE_S: Final = 2.0
Cell = tuple[int, int, int]
"""Calls served on the key, tries that failed on it and were rescued elsewhere, calls that failed on it."""


# ---- many keys


async def with_traffic(ctx: PanelContext, rows: Sequence[KeyRow]) -> list[KeyRow]:
    """The rows of a page with what went over their keys. Raises RedisUnavailable."""
    if not rows:
        return []
    await ctx.insight.freshen()
    strips = Strips(ctx.redis, ctx.clock)
    minutes = await strips.key_minutes()
    codes = await strips.key_codes(ctx.clock.wall_s())
    troubles = await _last_troubles(ctx, [row.id for row in rows if codes.get(short_key(row.id))])
    of_all = sum(requests(minute) for one in minutes.values() for minute in one)
    return [
        dataclasses.replace(
            row, traffic=traffic(minutes.get(name, ()), codes.get(name, {}), of_all, troubles.get(row.id))
        )
        for row in rows
        for name in (short_key(row.id),)
    ]


def traffic(
    minutes: Sequence[Minute], codes: Mapping[str, int], of_all: int, trouble: Trouble | None = None
) -> Traffic:
    """The last hour of a key, and what went wrong today by codes."""
    return Traffic(
        cells=[cell(minute) for minute in minutes],
        requests=sum(map(requests, minutes)),
        of_all=of_all,
        limited_today=sum(count for code, count in codes.items() if code.startswith("429")),
        trouble=trouble,
    )


def requests(minute: Minute) -> int:
    """Calls that ended on the key."""
    return minute.served + minute.rescued + minute.failed


def cell(minute: Minute) -> Cell:
    return minute.served + minute.rescued, minute.moved, minute.failed


async def _last_troubles(ctx: PanelContext, key_ids: Sequence[str]) -> dict[str, Trouble]:
    """Where there was trouble today, the last one, if it is not long ago."""
    if not key_ids:
        return {}
    newest = await ctx.ledger.page(Filter(), size=_NEWEST)
    return troubles_of(line.entry for line in newest.lines)


def troubles_of(newest_first: Iterable[Entry]) -> dict[str, Trouble]:
    """By key: the last try that was in vain."""
    found: dict[str, Trouble] = {}
    for entry in newest_first:
        for one in entry.tries:
            if one.key_id not in found and not is_served(one.result):
                found[one.key_id] = Trouble(one.result, entry.at_s, entry.request_id)
    return found


def is_served(result: str) -> bool:
    """Whether a try's result is a plain 2xx."""
    return len(result) >= 3 and result[0] == "2" and result[:3].isdecimal()


# ---- one key


@dataclasses.dataclass(frozen=True, slots=True)
class Latency:
    """By the hour, the oldest first; None where nothing was measured. `whole`: to the end of the answer, because no
    call on this key was streamed.
    """

    starts_s: tuple[int, ...]
    p50_ms: tuple[float | None, ...]
    p95_ms: tuple[float | None, ...]
    of_day: Quantiles | None
    whole: bool = False

    @property
    def known(self) -> bool:
        return self.of_day is not None


@dataclasses.dataclass(frozen=True, slots=True)
class KeyDay:
    """A key's last 24 hours. `results` are (code, count), served first; `calls` the newest ones that touched it."""

    sums: Figures
    before: Figures | None
    of_all: int
    heat: tuple[tuple[Cell | None, ...], ...]
    latency: Latency
    results: tuple[tuple[str, int], ...]
    limited_today: int
    calls: tuple[Line, ...]


async def day_of(ctx: PanelContext, key_id: str) -> KeyDay:
    """Raises RedisUnavailable."""
    now_s = ctx.clock.wall_s()
    name = short_key(key_id)
    since_s = now_s - _DAY_S + _HOUR_S
    where = {Dimension.KEY: (name,)}
    query = Query(since_s=since_s, until_s=now_s, step=Step.HOUR, where=where, compare=True, spans=True)
    own = await ctx.insight.answer(query)
    every = await ctx.insight.answer(Query(since_s=since_s, until_s=now_s, step=Step.HOUR), stale_s=_STALE_S)
    strips = Strips(ctx.redis, ctx.clock)
    _, hours = await strips.key_day(key_id)
    codes = (await strips.key_codes(since_s, step=Step.HOUR)).get(name, {})
    today = (await strips.key_codes(now_s)).get(name, {})
    page = await ctx.ledger.page(Filter(key_id=key_id, since_s=now_s - _DAY_S), size=_OF_KEY, most_read=_MOST_READ)
    return KeyDay(
        sums=own.total,
        before=own.before,
        of_all=every.total.requests,
        heat=tuple(tuple(map(_heat, minutes)) for minutes in hours),
        latency=latency(own),
        results=results(own.total, codes),
        limited_today=traffic((), today, 0).limited_today,
        calls=page.lines,
    )


def _heat(minute: Minute) -> Cell | None:
    found = cell(minute)
    return found if any(found) else None


def latency(told: Answer) -> Latency:
    """Times to the first token, or where there are none, to the end of the answer."""
    whole = told.spans.first_token is None
    by_hour = [one.duration if whole else one.first_token for one in told.span_series]
    return Latency(
        told.starts_s,
        tuple(None if one is None else one.p50_ms for one in by_hour),
        tuple(None if one is None else one.p95_ms for one in by_hour),
        told.spans.duration if whole else told.spans.first_token,
        whole,
    )


def results(sums: Figures, codes: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    """How often tries of the key went well, and how often which trouble came, the most frequent first."""
    served = sums.served + sums.rescued + sums.left
    troubles = sorted(codes.items(), key=lambda item: (-item[1], item[0]))
    return (*((("2xx", served),) if served else ()), *troubles)
