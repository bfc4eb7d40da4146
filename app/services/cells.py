"""What a batch of ledger entries adds to the sums by time and dimension, and how those sums are named. Pure.

A settlement writes the whole batch as one counter (`HINCRBY fresh <the batch's sums as JSON> 1`): the field's name is
the fact, its number says how often the same fact came. `lua/cells.lua` merges the facts by mark and adds them to the
tables later, exactly once. It must never know who asks for the sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from functools import lru_cache
from struct import Struct
from typing import Any, Final

import msgspec

from app.models.ledger import CostKind, Entry, TryMade

Delta = tuple[tuple[str, ...], int, dict[str, int]]
"""Parts of a name for `keys.books(…)`, its life in seconds, and what is added to its fields."""

FRESH: Final = ("sums", "fresh")
DUE: Final = ("sums", "due")
"""Sums by mark that are merged, and not yet in the tables."""
BASE: Final = ("sums",)
OTHER: Final = "other"
SEPARATOR: Final = "\t"
_FRESH_KEPT_S: Final = 7 * 86_400
_ROWS: Final = 128
"""Most rows of one fact, so that merging it never holds Redis up for long."""
_LONGEST: Final = 80
_KEY_SIGNS: Final = 16
_LONGEST_CODE: Final = 24
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
    CODES = "codes"
    """What went wrong with tries, by key: counts instead of cells."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long a step's buckets are kept, and how many cells one holds before the rest is `other`. Without a life for
    the cube there is none.
    """

    kept_s: int
    cube_kept_s: int
    most: int


# A cell takes 180 to 350 bytes of Redis' memory: its name, 6 bytes for each sum up to the last that is not 0, and two
# to six for each bin that has a sample (1.5 kB where all 216 had). A thousand busy keys, a thousand clients and 300
# models take some 0.6 MB a day for three years, and as much for each hour of the last month; the cube up to `most`.
KEPT: Final = {
    Step.MINUTE: Keeping(2 * 3600, 0, 1100),
    Step.HOUR: Keeping(31 * _DAY_S, 31 * _DAY_S, 1100),
    Step.DAY: Keeping(1096 * _DAY_S, 400 * _DAY_S, 2000),
    Step.MONTH: Keeping(1096 * _DAY_S, 1096 * _DAY_S, 4000),
}
CODES_KEPT_S: Final = {Step.HOUR: 31 * _DAY_S, Step.DAY: 400 * _DAY_S}
STRIPS_KEPT_S: Final = 26 * 3600
"""Of a key that is always busy 13 kB: 8 bytes a minute."""
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
_ZEROS: Final = [0] * len(FIELDS)
_DOLLARS: Final = (FIELDS.index("cost_usd"), FIELDS.index("upstream_usd"))
_LANE_BYTES: Final = 6
_LANE_BITS: Final = 8 * _LANE_BYTES
_LANE: Final = (1 << _LANE_BITS) - 1
_LANES: Final = Struct("<" + "IH" * len(FIELDS))
_SIGNS_OF_LANES: Final = sum(1 << _LANE_BITS * place - 1 for place in range(1, len(FIELDS) + 1))
_NOTHING: Final = Figures()
_bins: Final = msgspec.msgpack.Decoder(list[int]).decode


class Measure(IntEnum):
    """What is counted by size, beside the sums. A sample is the measure's first bin and the size's place."""

    FIRST_TOKEN = 0
    DURATION = 72
    OVERHEAD = 144


BINS: Final = 72
"""Of each measure, four to the power of two: from 4 ms to 17 min; of the overhead, from 16 us to 4 s."""


ALPHABET: Final = "".join(chr(sign) for sign in range(35, 35 + BINS + 1) if chr(sign) != "\\")
"""How samples are written in facts: a sign for each bin."""
_NO_SAMPLE: Final = "~"


def _sign(size: int) -> str:
    length = size.bit_length()
    return ALPHABET[min(BINS - 1, (length << 2 | (size >> length - 3 & 3)) - 12) if size >= 4 else 0]


_SIGNS: Final = "".join(map(_sign, range(8192)))

_Mark = tuple[int, str, str, str, str, str, str]
_Row = tuple[str, list[int], str]
_Trouble = tuple[int, str, str, int]
_encode: Final = msgspec.json.Encoder().encode


def deltas(entries: Sequence[Entry], known: Callable[[str], bool] | None = None) -> list[Delta]:
    """What these entries add. `known` tells the models that may have a cell of their own: callers write any name."""
    sums: dict[_Mark, tuple[list[Any], list[str]]] = {}
    troubles: dict[_Trouble, int] = {}
    for entry in entries:
        minute = int(entry.at_s) // 60
        mark = (
            minute, entry.client_id, entry.group_id, entry.key_id, entry.account, entry.model or entry.model_asked,
            entry.provider,
        )  # fmt: skip
        row = sums.get(mark)
        if row is None:
            row = sums[mark] = (_ZEROS.copy(), [])
        _add(row[0], entry)
        if entry.key_id:
            row[1].append(_sample(entry))
        if (tries := entry.tries) and (len(tries) > 1 or tries[0].result[:1] not in _WENT_WELL):
            _note_troubles(troubles, minute, tries)
    bounded = _bounded({mark[5] for mark in sums}, known)
    return _facts([_row(mark, *row, bounded) for mark, row in sums.items()], troubles)


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


def _sample(entry: Entry) -> str:
    """Duration, overhead, first token; only of calls that have reached a key: what is refused at once tells nothing of
    how long calls take.
    """
    ms, units, first = int(entry.duration_ms), int(entry.overhead_ms * 250), int(entry.first_token_ms)
    return (
        (_SIGNS[ms] if ms < 8192 else _sign(ms))
        + (_SIGNS[units] if units < 8192 else _sign(units))
        + (_NO_SAMPLE if first <= 0 else _SIGNS[first] if first < 8192 else _sign(first))
    )


_WENT_WELL: Final = frozenset("123s")
"""What the word for a good try begins with: its status, or `served`."""


def _note_troubles(troubles: dict[_Trouble, int], minute: int, tries: Sequence[TryMade]) -> None:
    last = len(tries) - 1
    for place, one in enumerate(tries):
        code = one.result.partition(" ")[0][:_LONGEST_CODE]
        if code and code[0] not in _WENT_WELL:
            trouble = (minute, one.key_id[:_KEY_SIGNS], code, int(place < last))
            troubles[trouble] = troubles.get(trouble, 0) + 1


def corrected(entry: Entry, cost_nano: int, known: Callable[[str], bool] | None = None) -> list[Delta]:
    """What a proven cost adds to the sums that hold the entry as it stands in the ledger: no call, only the
    difference.
    """
    row = _ZEROS.copy()
    row[4] = cost_nano - entry.cost_nano
    row[15] = -(entry.cost_kind is CostKind.UNKNOWN)
    model = entry.model or entry.model_asked
    mark = (
        int(entry.at_s) // 60, entry.client_id, entry.group_id, entry.key_id, entry.account, model, entry.provider,
    )  # fmt: skip
    return _facts([_row(mark, row, [], _bounded({model}, known))], {})


def _bounded(models: Iterable[str], known: Callable[[str], bool] | None) -> dict[str, str]:
    return {model: model if known is None or not model or known(model) else OTHER for model in models}


def _row(mark: _Mark, row: list[Any], samples: list[str], bounded: dict[str, str]) -> _Row:
    """In whole numbers, money in two, the zeros at the end left out."""
    minute, client, group, key, account, model, provider = mark
    row[3], row[4] = divmod(row[4], _DOLLAR)
    row[5] = int(row[5] + 0.5)
    row[6] = int(1000 * row[6] + 0.5)
    row[7] = int(row[7] + 0.5)
    if row[17]:
        row[16], row[17] = divmod(row[17], _DOLLAR)
    else:
        last = 15
        while last and not row[last]:
            last -= 1
        del row[last + 1 :]
    name = f"{minute}\t{_pair(client, group)}\t{_pair(key[:_KEY_SIGNS], account)}\t{_pair(bounded[model], provider)}"
    return name, row, "".join(samples)


def _facts(rows: list[_Row], troubles: dict[_Trouble, int]) -> list[Delta]:
    facts: dict[str, int] = {}
    noted = [(*trouble, count) for trouble, count in troubles.items()]
    for place in range(0, len(rows), _ROWS):
        fact = _encode((rows[place : place + _ROWS], [] if place else noted)).decode()
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


def bin_ms(bin_: int) -> float:
    """The middle of what a bin of any measure holds, in milliseconds."""
    place = bin_ % BINS + 12
    size, part = place >> 2, place & 3
    middle = float((4 + part) * 2 ** (size - 3) + 2 ** (size - 4)) if size > 3 else float(4 + part)
    return middle / 250 if bin_ >= Measure.OVERHEAD else middle


def sums_in(cell: bytes) -> int:
    """A cell's sums as one number, a lane for each: such numbers add up, and are taken apart by `figures_in`."""
    return int.from_bytes(cell[1 : 1 + _LANE_BYTES * cell[0]], "little", signed=True)


def bins_in(cell: bytes) -> dict[int, int]:
    """How many samples of a cell fell into which bin."""
    place = 1 + _LANE_BYTES * cell[0]
    if place == len(cell):
        return {}
    flat = _bins(cell[place:])
    return dict(zip(flat[::2], flat[1::2], strict=True))


def lane_of(sums: int, place: int) -> int:
    """One lane of such a number, but for what it may have lent to the one before."""
    amount = sums >> _LANE_BITS * place & _LANE
    return amount - _LANE - 1 if amount > _LANE >> 1 else amount


def figures_in(sums: int) -> Figures:
    """Corrections may leave a lane below zero; its neighbour has lent for it."""
    if not sums:
        return _NOTHING
    amounts = []
    if sums > 0 and not sums & _SIGNS_OF_LANES:
        halves = _LANES.unpack(sums.to_bytes(_LANES.size, "little"))
        amounts = [low | high << 32 for low, high in zip(halves[::2], halves[1::2], strict=True)]
    for _ in FIELDS if not amounts else ():
        amount = sums & _LANE
        sums >>= _LANE_BITS
        if amount > _LANE >> 1:
            amount -= _LANE + 1
            sums += 1
        amounts.append(amount)
    for place in _DOLLARS:
        over, amounts[place + 1] = divmod(amounts[place + 1], _DOLLAR)
        amounts[place] += over
    return Figures(*amounts)


def rolling_plan() -> str:
    """What the script must know of steps: name, life, life of the cube, cells of a bucket, life of codes."""
    rows: Iterable[tuple[str, int, int, int, int]] = (
        (step, keeping.kept_s, keeping.cube_kept_s, keeping.most, CODES_KEPT_S.get(step, 0))
        for step, keeping in KEPT.items()
    )
    return _encode(list(rows)).decode()
