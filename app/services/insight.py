"""Answers questions about usage from the tables of sums, and adds to them what settlements have left. Knows no single
call.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, Final

from app.core.clock import Clock
from app.core.redis import RedisManager, RedisReplyError, RedisUnavailable
from app.core.tasks import TaskSet
from app.services.cells import (
    ALPHABET,
    BASE,
    DUE,
    FRESH,
    STRIPS_KEPT_S,
    Step,
    Table,
    rolling_plan,
    starts_at,
    sums_in,
    table_name,
)
from app.services.insight_plan import Answer, Place, Plan, Query, plan
from app.services.insight_sheet import Sheet, answer

log = logging.getLogger(__name__)

_PAUSE_S: Final = 5.0
_SPREAD_EVERY_S: Final = 60.0
_ROWS_AT_ONCE: Final = 300
_MARKS_AT_ONCE: Final = 16
"""So few that the script holds Redis up for some milliseconds at most."""
_MOST_ROUNDS: Final = 2000
_HASHES_AT_ONCE: Final = 32
_CELLS_AT_ONCE: Final = 2000
"""So few that reading them does not hold up the calls of this worker."""
_MOST_DETAILS: Final = 60_000
_MOST_REMEMBERED: Final = 200_000
_MOST_MERGED: Final = 48
_CLOSED_AFTER_S: Final = 600.0
Closed = list[tuple[Place, bytes | None, dict[bytes, int]]]


class Insight:
    """One for each worker. Any number of them may roll at the same time: a fact is added once.

    Buckets that are over stand in memory once they were read, up to 200,000 cells (some 35 MB), and so do the sums of
    the last 48 questions over them; the script tells which have changed since.
    """

    def __init__(self, redis: RedisManager, tasks: TaskSet, clock: Clock) -> None:
        self._redis = redis
        self._tasks = tasks
        self._clock = clock
        self._plan = rolling_plan()
        self._rolled_s = float("-inf")
        self._rolling = asyncio.Lock()
        self._closed: OrderedDict[tuple[Table, Step, int], tuple[bytes | None, dict[bytes, int]]] = OrderedDict()
        self._remembered = 0
        self._names: dict[bytes, bytes] = {}
        self._merged: OrderedDict[tuple[Any, ...], Sheet] = OrderedDict()

    def start(self) -> None:
        self._tasks.spawn(self._keep_rolling(), "insight: add to the sums")

    async def answer(self, query: Query, *, stale_s: float = 0.0) -> Answer:
        """`stale_s`: so old may the sums be; 0: all that is booked is in them. Raises QueryError, RedisUnavailable."""
        asked = plan(query, self._clock.wall_s())
        await self.freshen(stale_s)
        sheet = await self._read(asked, query)
        before = await self._read(asked.before(), query, detail=False) if query.compare else None
        # Off the loop: the calls of this worker do not wait for a long sum.
        return await asyncio.to_thread(answer, query, sheet, before)

    async def freshen(self, stale_s: float = 0.0) -> None:
        """Rolls, unless this worker did so a moment ago; who comes meanwhile waits. Raises RedisUnavailable."""
        if not stale_s:
            await self.roll()
            return
        async with self._rolling:
            now_s = self._clock.monotonic_s()
            if now_s - self._rolled_s >= stale_s:
                await self.roll()
                self._rolled_s = now_s

    async def roll(self, *, spread: bool = True) -> int:
        """Adds everything fresh to the tables; how many facts that were. Without `spread`, the facts are only merged.
        Raises RedisUnavailable.
        """
        added = 0
        names = [self._redis.keys.books(*parts) for parts in (FRESH, DUE, BASE)]
        marks = _MARKS_AT_ONCE if spread else 0
        for _ in range(_MOST_ROUNDS):
            now_s = int(self._clock.wall_s())
            arguments = [now_s, _ROWS_AT_ONCE, marks, self._plan, STRIPS_KEPT_S, ALPHABET]
            taken, left, broken, due = await self._redis.script("cells", names, arguments)
            added += int(taken)
            if broken:
                log.error("usage facts unreadable", extra={"facts": int(broken)})
            if not left and not (due and spread):
                break
        return added

    # ---- reading

    async def _read(self, asked: Plan, query: Query, *, detail: bool = True) -> Sheet:
        sheet = Sheet(asked)
        if not asked.where and (detail or asked.table is Table.ALL):
            names = [self._redis.keys.books(*parts) for parts in asked.names(Table.ALL)]
            for cells in await self._hashes(names):
                sheet.put_all(cells, spans=query.spans or asked.table is Table.ALL)
        if asked.table is Table.ALL:
            return sheet
        closed, live = await self._cover(asked)
        sheet.go_on_from(await self._merged_of(asked, closed))
        for sums in live:
            sheet.put_sums(sums)
            await asyncio.sleep(0)
        if detail and (wanted := sheet.detailed(query)):
            await self._read_details(sheet, wanted, spans=query.spans)
        return sheet

    async def _read_details(self, sheet: Sheet, wanted: list[bytes], *, spans: bool) -> None:
        hashes = [(self._redis.keys.books(*parts), bucket) for parts, bucket in sheet.plan.names().items()]
        many = len(wanted) * len(hashes) > _MOST_DETAILS
        for place in range(0, len(hashes), _HASHES_AT_ONCE):
            some = hashes[place : place + _HASHES_AT_ONCE]
            commands = [("HGETALL", name) if many else ("HMGET", name, *wanted) for name, _ in some]
            for (_, bucket), cells in zip(some, await self._redis.pipeline(commands), strict=True):
                pairs: Iterable[Any] = cells.items() if many else zip(wanted, cells, strict=True)
                sheet.put_detail(bucket, pairs, spans=spans)
            await asyncio.sleep(0)

    async def _hashes(self, names: Sequence[str]) -> list[dict[bytes, bytes]]:
        found: list[dict[bytes, bytes]] = []
        for place in range(0, len(names), _HASHES_AT_ONCE):
            found += await self._redis.pipeline([("HGETALL", name) for name in names[place : place + _HASHES_AT_ONCE]])
        return found

    async def _merged_of(self, asked: Plan, closed: Closed) -> Sheet:
        """What is over is added up once for each question, until some of it changes or the period moves on."""
        name = (asked.table, asked.by, asked.where, tuple((place, turn) for place, turn, _ in closed))
        sheet = self._merged.pop(name, None)
        if sheet is None:
            sheet, unseen = Sheet(asked), 0
            for _, _, sums in closed:
                sheet.put_sums(sums)
                if (unseen := unseen + len(sums)) > _CELLS_AT_ONCE:
                    unseen = 0
                    await asyncio.sleep(0)
        self._merged[name] = sheet
        while len(self._merged) > _MOST_MERGED:
            self._merged.popitem(last=False)
        return sheet

    async def _cover(self, asked: Plan) -> tuple[Closed, list[dict[bytes, int]]]:
        """The sums of the buckets that cover the period: of those that are over, from memory where they are unchanged;
        and of the others.
        """
        places = asked.cover()
        changed = await self._changes(places)
        found = {place: self._held(asked.table, place, changed[place]) for place in places}
        missing = [place for place in places if found[place] is None]
        names = [self._redis.keys.books(*table_name(step, asked.table, bucket)) for step, bucket in missing]
        for at in range(0, len(names), _HASHES_AT_ONCE):
            for place, cells in zip(missing[at:], await self._hashes(names[at : at + _HASHES_AT_ONCE]), strict=False):
                sums = found[place] = await self._summed(cells)
                self._remember(asked.table, place, changed[place], sums)
        over = [
            (place, changed[place], sums) for place, sums in found.items() if sums is not None and self._over(place)
        ]
        return over, [sums for place, sums in found.items() if sums is not None and not self._over(place)]

    def _over(self, place: Place) -> bool:
        step, bucket = place
        return step is not Step.MINUTE and starts_at(step, bucket + 1) + _CLOSED_AFTER_S <= self._clock.wall_s()

    async def _summed(self, cells: dict[bytes, bytes]) -> dict[bytes, int]:
        sums, names = {}, self._names
        for count, (name, cell) in enumerate(cells.items(), 1):
            sums[names.setdefault(name, name)] = sums_in(cell)
            if not count % _CELLS_AT_ONCE:
                await asyncio.sleep(0)
        return sums

    async def _changes(self, places: list[Place]) -> dict[Place, bytes | None]:
        """What the script says of the last change of each, to be read before the cells."""
        fields = [f"{step}:{bucket}" for step, bucket in places]
        turns = await self._redis.command("HMGET", self._redis.keys.books(*BASE, "late"), *fields)
        return dict(zip(places, turns, strict=True))

    def _held(self, table: Table, place: Place, turn: bytes | None) -> dict[bytes, int] | None:
        name = (table, *place)
        if name not in self._closed or self._closed[name][0] != turn:
            return None
        self._closed.move_to_end(name)
        return self._closed[name][1]

    def _remember(self, table: Table, place: Place, turn: bytes | None, cells: dict[bytes, int]) -> None:
        if not self._over(place):
            return
        old = self._closed.pop((table, *place), None)
        self._closed[(table, *place)] = (turn, cells)
        self._remembered += len(cells) - (0 if old is None else len(old[1]))
        while self._remembered > _MOST_REMEMBERED:
            _, (_, gone) = self._closed.popitem(last=False)
            self._remembered -= len(gone)
        if len(self._names) > 2 * _MOST_REMEMBERED:
            self._names = {}

    # ---- rolling

    async def _keep_rolling(self) -> None:
        while True:
            await asyncio.sleep(_PAUSE_S)
            try:
                # One worker of all: the more facts are merged together, the less it costs.
                if await self._turn("merge", _PAUSE_S):
                    await self.roll(spread=await self._turn("spread", _SPREAD_EVERY_S))
            except (RedisUnavailable, RedisReplyError) as error:
                log.warning("usage sums waiting", extra={"reason": str(error)})

    async def _turn(self, name: str, every_s: float) -> bool:
        parts = (*BASE, "turn", name)
        life_ms = max(1, int(every_s * 900))
        return bool(await self._redis.command("SET", self._redis.keys.books(*parts), "1", "NX", "PX", life_ms))
