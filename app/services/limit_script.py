"""How admissions and settlements are put for the scripts `admit` and `settle`, and how their answers are read.

Knows names in Redis and forms; sends nothing and decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

import msgspec

from app.core.keyspace import Keyspace
from app.core.redis import RedisManager
from app.models.limits import Unit
from app.services.limit_plan import PARTS, Check, Checks
from app.services.money import Amounts
from app.services.spending import LIVES_S, Parts, held_name, spent_name

_RATE, _MONEY, _RUNNING = 1, 2, 3
_UNIT_CODES: Final = {Unit.REQUESTS: 1, Unit.TOKENS: 2, Unit.INPUT_TOKENS: 3, Unit.OUTPUT_TOKENS: 4}
_DAY_S: Final = 86_400


class Admission(msgspec.Struct, frozen=True):
    """A call that asks to be let in, and what it may use at most; `clamp`: or less, where only the money is short.
    `at_s`: when it came, by this gateway's clock.
    """

    hold: str
    checks: Checks
    amounts: Amounts
    at_s: float
    clamp: bool = False


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """`failed` is the place of the check that refuses, from 1; 0: let in. `used`: of that check. `shadows`: places of
    checks that only measure and would have refused it.
    """

    granted: float
    failed: int
    fits_in_s: float
    used: float
    shadows: list[int]


class Answers(msgspec.Struct, frozen=True, array_like=True):
    """`at_s`: the time by Redis' clock. `used`: of each check of each form, after all calls. `calls`: nano-dollars
    where one gets all that it asks for; empty where the question came too late.
    """

    at_s: float
    used: list[list[float]]
    calls: list[float | Answer]


class Question(msgspec.Struct, frozen=True):
    """`firsts` are the first calls of each form, `forms` says which one each call has, from 1."""

    command: tuple[Any, ...]
    firsts: list[Admission]
    forms: list[int]


class Settled(msgspec.Struct, frozen=True, array_like=True):
    """What a call with a hold has really used."""

    hold: str
    input_tokens: int
    output_tokens: int
    cost_nano: int


class Batch(msgspec.Struct, frozen=True):
    """Entries of one journal, to be booked together or not at all; the journal's mark moves from `after` to `upto`."""

    journal: str
    after: int
    upto: int
    items: Sequence[Settled] = ()
    sums: Sequence[tuple[Parts, int, int]] = ()
    entries: Sequence[bytes] = ()
    deltas: Sequence[tuple[Parts, int, dict[str, int]]] = ()
    spenders: Sequence[str] = ()


_pack = msgspec.msgpack.Encoder().encode
_answers = msgspec.msgpack.Decoder(Answers)


def read_answers(packed: bytes) -> Answers:
    return _answers.decode(packed)


def holds_name(keys: Keyspace, journal: str) -> str:
    return keys.books("holds", journal)


class LimitScript:
    """Writes the commands. `now_s` 0: the clock of Redis counts; a test may put its own in its place."""

    now_s: float = 0

    def __init__(self, redis: RedisManager, ledger_entries: int) -> None:
        self._redis = redis
        self._ledger_entries = ledger_entries
        self.marks = redis.keys.books("applied")
        self._ledger = redis.keys.books("ledger")
        self._spenders = redis.keys.books("spenders")

    def admission(self, journal: str, calls: Sequence[Admission], latest_s: float = 0) -> Question:
        """`latest_s`: by Redis' clock; later than that it does nothing. 0: whenever it comes."""
        wires: list[object] = []
        firsts: list[Admission] = []
        forms: list[int] = []
        places: dict[int, int] = {}
        asked = []
        for call in calls:
            checks, amounts = call.checks, call.amounts
            # At midnight, calls of yesterday and of today may go together.
            if not checks.wire_from_s <= call.at_s < checks.wire_until_s:
                self._write_form(checks, call.at_s)
            place = places.get(id(checks.wire))
            if place is None:
                wires.append(checks.wire)
                firsts.append(call)
                place = places[id(checks.wire)] = len(wires)
            forms.append(place)
            asked.append((
                place, call.hold, amounts.nano, amounts.input_tokens, amounts.output_tokens,
                amounts.least_nano if call.clamp else 0,
            ))  # fmt: skip
        names = (holds_name(self._redis.keys, journal),)
        packed = _pack((self.now_s, 0 if self.now_s else latest_s, wires, asked))
        return Question(self._redis.script_call("admit", names, (packed,)), firsts, forms)

    def settlement(self, journal: str, ended: Sequence[str], batch: Batch | None = None) -> tuple[Any, ...]:
        names = (holds_name(self._redis.keys, journal), self.marks, self._ledger, self._spenders)
        form = False if batch is None else self._batch_form(batch)
        asked = _pack((journal, ended, form, self.now_s))
        return self._redis.script_call("settle", names, (asked, *(() if batch is None else batch.entries)))

    def _batch_form(self, batch: Batch) -> object:
        books = self._redis.keys.books
        return (
            batch.after,
            batch.upto,
            batch.items,
            [(books(*name), life_s, nano) for name, life_s, nano in batch.sums],
            [(books(*name), life_s, *chain.from_iterable(fields.items())) for name, life_s, fields in batch.deltas],
            batch.spenders,
            self._ledger_entries,
        )

    def _write_form(self, checks: Checks, at_s: float) -> None:
        """Names and sizes hold until the day ends, or a raise does. Clocks may be set back."""
        day_s = at_s // _DAY_S * _DAY_S
        ends = [check.limit.raised_until for check in checks.items if check.limit.raised_until is not None]
        checks.wire_from_s = max([day_s, *(end for end in ends if end <= at_s)])
        checks.wire_until_s = min([day_s + _DAY_S, *(end for end in ends if end > at_s)])
        checks.wire = [self._check_form(check, at_s) for check in checks.items]

    def _check_form(self, check: Check, at_s: float) -> tuple[object, ...]:
        books, limit, subject = self._redis.keys.books, check.limit, check.subject
        size, shadow = limit.size_at(at_s), int(limit.shadow)
        if limit.unit is Unit.USD:
            spent, held = spent_name(subject, limit.span, at_s), held_name(subject, limit.span, at_s)
            return (_MONEY, books(*spent), size, shadow, books(*held), LIVES_S[limit.span])
        if limit.unit is Unit.CONCURRENT:
            return (_RUNNING, books("running", subject, limit.id), size, shadow)
        parts, part_s = PARTS[limit.span]
        return (_RATE, books("rate", subject, limit.id), size, shadow, _UNIT_CODES[limit.unit], parts, part_s)
