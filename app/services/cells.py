"""What a batch of ledger entries adds to the sums by time and dimension, and how those sums are named. Pure.

A settlement writes the whole batch as one counter (`HINCRBY fresh <the batch's sums as JSON> 1`): the field's name is
the fact, its number says how often the same fact came. `lua/cells.lua` adds the facts to the tables later, exactly
once. It must never know who asks for the sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

import msgspec

from app.models.ledger import CostKind, Entry

Delta = tuple[tuple[str, ...], int, dict[str, int]]
"""Parts of a name for `keys.books(…)`, its life in seconds, and what is added to its fields."""

FRESH: Final = ("cells", "fresh")
BASE: Final = ("cells",)
OTHER: Final = "other"
SEPARATOR: Final = "\t"
_FRESH_KEPT_S: Final = 7 * 86_400
_ROWS: Final = 64
"""Most rows of one fact, so that adding it to the tables never holds Redis up for long."""
_LONGEST: Final = 80
_KEY_SIGNS: Final = 16
_DAY_S: Final = 86_400
_DOLLAR: Final = 10**9


class Step(StrEnum):
    """How long a bucket of time is."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


class Table(StrEnum):
    """What the cells of a bucket are told apart by."""

    ALL = "all"
    CLIENTS = "clients"
    KEYS = "keys"
    MODELS = "models"
    CUBE = "cube"
    WAITS = "waits"
    """How often a first token took how long: counts instead of cells."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long a step's buckets are kept, and how many cells one holds before the rest is `other`. Without a life for
    the cube there is none.
    """

    kept_s: int
    cube_kept_s: int
    most: int


KEPT: Final = {
    Step.MINUTE: Keeping(2 * 3600, 0, 500),
    Step.HOUR: Keeping(31 * _DAY_S, 31 * _DAY_S, 1000),
    Step.DAY: Keeping(1096 * _DAY_S, 400 * _DAY_S, 2000),
    Step.MONTH: Keeping(1096 * _DAY_S, 0, 2000),
}
_SPAN_S: Final = {Step.MINUTE: 60, Step.HOUR: 3600, Step.DAY: _DAY_S}


class Figures(msgspec.Struct, frozen=True, array_like=True):
    """Sums of calls. The order is that of the stored cells, whose zeros at the end are left out; money is in dollars
    and the nano-dollars over, because scripts of Redis count exactly only to 2^53.
    """

    served: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: int = 0
    cost_rest: int = 0
    duration_ms: int = 0
    overhead_us: int = 0
    first_token_ms: int = 0
    first_tokens: int = 0
    """How many calls have a first token, and so a share in `first_token_ms`."""
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    rescued: int = 0
    failed: int = 0
    refused: int = 0
    left: int = 0
    unknown: int = 0
    """How many calls were charged without proof of their cost."""
    upstream_usd: int = 0
    upstream_rest: int = 0

    @property
    def requests(self) -> int:
        return self.served + self.rescued + self.failed + self.refused + self.left

    @property
    def cost_nano(self) -> int:
        return self.cost_usd * _DOLLAR + self.cost_rest

    @property
    def upstream_nano(self) -> int:
        return self.upstream_usd * _DOLLAR + self.upstream_rest


FIELDS: Final = Figures.__struct_fields__
_OUTCOMES: Final = {name: FIELDS.index(name) for name in ("served", "rescued", "failed", "refused", "left")}
_FAILED: Final = _OUTCOMES["failed"]

_Mark = tuple[int, str, str, str, str, str, str]
_Row = tuple[int, int, str, str, str, list[int]]
_encode: Final = msgspec.json.Encoder().encode


def deltas(entries: Sequence[Entry], known: Callable[[str], bool] | None = None) -> list[Delta]:
    """What these entries add. `known` tells the models that may have a cell of their own: callers write any name."""
    sums: dict[_Mark, list[Any]] = {}
    waits: dict[tuple[int, int], int] = {}
    for entry in entries:
        minute = int(entry.at_s) // 60
        mark = (
            minute, entry.client_id, entry.group_id, entry.key_id, entry.account, entry.model or entry.model_asked,
            entry.provider,
        )  # fmt: skip
        row = sums.get(mark)
        if row is None:
            row = sums[mark] = [0] * len(FIELDS)
        _add(row, entry)
        if entry.first_token_ms > 0:
            # Four bins to the power of two: a quantile is off by an eighth at most.
            ms = max(4, int(entry.first_token_ms))
            size = ms.bit_length()
            wait = (minute, size << 2 | (ms >> size - 3 & 3))
            waits[wait] = waits.get(wait, 0) + 1
    bounded = _bounded({mark[5] for mark in sums}, known)
    counted = [(minute, month_of(minute * 60), wait, count) for (minute, wait), count in waits.items()]
    return _facts([_row(mark, row, bounded) for mark, row in sums.items()], counted)


def _add(row: list[Any], entry: Entry) -> None:
    """By place, and zeros passed over: this runs for each call of the gateway."""
    row[_OUTCOMES.get(entry.outcome, _FAILED)] += 1
    row[1] += entry.input_tokens
    row[2] += entry.output_tokens
    row[4] += entry.cost_nano
    row[5] += entry.duration_ms
    row[6] += entry.overhead_ms
    if entry.first_token_ms > 0:
        row[7] += entry.first_token_ms
        row[8] += 1
    if entry.cached_tokens:
        row[9] += entry.cached_tokens
    if entry.reasoning_tokens:
        row[10] += entry.reasoning_tokens
    if entry.upstream_nano:
        row[17] += entry.upstream_nano
    if entry.cost_kind is CostKind.UNKNOWN:
        row[15] += 1


def corrected(entry: Entry, cost_nano: int, known: Callable[[str], bool] | None = None) -> list[Delta]:
    """What a proven cost adds to the sums that hold the entry as it stands in the ledger: no call, only the
    difference.
    """
    row = [0] * len(FIELDS)
    row[4] = cost_nano - entry.cost_nano
    row[15] = -(entry.cost_kind is CostKind.UNKNOWN)
    model = entry.model or entry.model_asked
    mark = (
        int(entry.at_s) // 60, entry.client_id, entry.group_id, entry.key_id, entry.account, model, entry.provider,
    )  # fmt: skip
    return _facts([_row(mark, row, _bounded({model}, known))], [])


def _bounded(models: Iterable[str], known: Callable[[str], bool] | None) -> dict[str, str]:
    return {model: model if known is None or not model or known(model) else OTHER for model in models}


def _row(mark: _Mark, row: list[Any], bounded: dict[str, str]) -> _Row:
    """In whole numbers, money in two, the zeros at the end left out."""
    minute, client, group, key, account, model, provider = mark
    row[3], row[4] = divmod(row[4], _DOLLAR)
    row[5] = round(row[5])
    row[6] = round(1000 * row[6])
    row[7] = round(row[7])
    if row[17]:
        row[16], row[17] = divmod(row[17], _DOLLAR)
    else:
        del row[16:]
        while row and not row[-1]:
            row.pop()
    who, where = _pair(client, group), _pair(key[:_KEY_SIGNS], account)
    return minute, _month_of_day(minute // 1440), who, where, _pair(bounded[model], provider), row


def _facts(rows: list[_Row], waits: list[tuple[int, int, int, int]]) -> list[Delta]:
    facts: dict[str, int] = {}
    for place in range(0, len(rows), _ROWS):
        fact = _encode((rows[place : place + _ROWS], [] if place else waits)).decode()
        facts[fact] = facts.get(fact, 0) + 1
    return [(FRESH, _FRESH_KEPT_S, facts)] if facts else []


@lru_cache(maxsize=20_000)
def _pair(first: str, second: str) -> str:
    """The name of a cell, on one line and of bounded length."""
    return SEPARATOR.join(" ".join(text.split())[:_LONGEST] for text in (first, second))


def short_key(key_id: str) -> str:
    """As much of an OpenRouter key's id as cells are named by: no two keys share 64 bits of a hash."""
    return key_id[:_KEY_SIGNS]


def month_of(at_s: float) -> int:
    """The number of a month, counted from the year 0."""
    return _month_of_day(int(at_s // _DAY_S))


@lru_cache(maxsize=4096)
def _month_of_day(day: int) -> int:
    date = datetime.fromtimestamp(day * _DAY_S, UTC)
    return date.year * 12 + date.month - 1


def bucket_of(step: Step, at_s: float) -> int:
    """The number of the bucket that a time falls into."""
    return month_of(at_s) if step is Step.MONTH else int(at_s // _SPAN_S[step])


def starts_at(step: Step, bucket: int) -> int:
    """The first second of a bucket."""
    if step is Step.MONTH:
        return int(datetime(bucket // 12, bucket % 12 + 1, 1, tzinfo=UTC).timestamp())
    return bucket * _SPAN_S[step]


def table_name(step: Step, table: Table, bucket: int) -> tuple[str, ...]:
    """Parts of the name of the hash that holds a bucket's cells. All calls together are one cell, so the table `all`
    holds the buckets of the next longer step in one hash, under the bucket's number.
    """
    if table is not Table.ALL:
        return (*BASE, step, table, str(bucket))
    return (*BASE, step, table, "" if step is Step.MONTH else str(container_of(step, bucket)))


def container_of(step: Step, bucket: int) -> int:
    if step is Step.DAY:
        return month_of(bucket * _DAY_S)
    return bucket // (60 if step is Step.MINUTE else 24)


def wait_ms(bin_: int) -> float:
    """The middle of what a bin of first-token times holds."""
    size, part = bin_ >> 2, bin_ & 3
    return float((4 + part) * 2 ** (size - 3) + 2 ** (size - 4)) if size > 3 else float(4 + part)


def rolling_plan() -> str:
    """What the script must know of steps: name, life, life of the cube, cells of a bucket."""
    rows: Iterable[tuple[str, int, int, int]] = (
        (step, keeping.kept_s, keeping.cube_kept_s, keeping.most) for step, keeping in KEPT.items()
    )
    return _encode(list(rows)).decode()
