"""What the tests of limits share: clients and limits, a clock by hand, and a plain model of what Redis' scripts do."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.core.clock import SystemClock
from app.core.errors import GatewayError
from app.core.redis import RedisManager, RedisOptions
from app.models.keys import ClientKey
from app.models.ledger import Entry
from app.models.limits import GATEWAY_GROUP, Group, Limit, Span, Unit
from app.services.limit_plan import PARTS, Check, Plan, amount_of
from app.services.limit_refusal import refusal
from app.services.limit_script import Batch, Settled
from app.services.limits import Limits
from app.services.local_limits import WithoutRedis
from app.services.money import NANO, Amounts, resets_at
from app.services.spending import Purse, held_name, period_of, purse_sums, spent_name, sums_of
from tests.redis_server import RedisServer

JOURNAL = "0123456789abcdef"
NOON = 1_795_521_600.0  # 2026-11-24 12:00 UTC, a Tuesday
CALL = Amounts()
USD = Amounts(nano=NANO // 100)


class HandClock:
    """Turned by hand."""

    def __init__(self, now_s: float = NOON) -> None:
        self.now_s = now_s

    def wall_s(self) -> float:
        return self.now_s

    def monotonic_s(self) -> float:
        return self.now_s


def limit(unit: Unit, span: Span, size: int, **more: Any) -> Limit:
    return Limit(unit=unit, span=span, size=size, **more)


def a_client(*limits: Limit, name: str = "ck_1", **more: Any) -> ClientKey:
    return ClientKey(id=name, name=name, digest="", masked="", limits=limits, **more)


def a_group(*limits: Limit, name: str = GATEWAY_GROUP, **more: Any) -> Group:
    return Group(id=name, name=name, limits=limits, **more)


def a_plan(*limits: Limit, **more: Any) -> Plan:
    return Plan(a_client(*limits, **more), None, None)


@contextlib.asynccontextmanager
async def patient(server: RedisServer) -> AsyncIterator[RedisManager]:
    """A manager that waits, however busy the machine is."""
    redis = RedisManager(RedisOptions(server.url, timeout_s=10), SystemClock())
    await redis.connect()
    try:
        yield redis
    finally:
        await redis.close()


@contextlib.asynccontextmanager
async def limits_on(redis: RedisManager, clock: Any, journal: str = JOURNAL, **more: Any) -> AsyncIterator[Limits]:
    # The machine may be busy: only tests of slowness hurry.
    more = {"without": WithoutRedis(), "patience_s": 20.0} | more
    limits = Limits(redis, clock, journal, **more)
    try:
        yield limits
    finally:
        await limits.close()


def an_entry(hold: str, at_s: float, cost_nano: int, client: str = "ck_1", group: str = "") -> Entry:
    return Entry(id=hold, request_id=hold, at_s=at_s, client_id=client, group_id=group, cost_nano=cost_nano)


def a_batch(
    after: int,
    *settled: tuple[Settled, Entry],
    journal: str = JOURNAL,
    purses: Sequence[tuple[Entry, Sequence[Purse]]] = (),
    **more: Any,
) -> Batch:
    sums = sums_of(entry for _, entry in settled) + purse_sums(purses)
    return Batch(journal, after, after + max(1, len(settled)), [item for item, _ in settled], sums, **more)


class Books:
    """Everything that stands in Redis, by the last parts of its name."""

    def __init__(self, redis: RedisManager) -> None:
        self._redis = redis
        self._prefix = redis.keys.books("")

    async def numbers(self, *kinds: str) -> dict[str, int]:
        """What is not zero."""
        found = [await self._redis.command("KEYS", f"{self._prefix}{kind}*") for kind in kinds]
        names = sorted([bytes(name).decode() for names in found for name in names])
        values = await self._redis.command("MGET", *names) if names else []
        counted = {n.removeprefix(self._prefix): int(value or 0) for n, value in zip(names, values, strict=True)}
        return {name: value for name, value in counted.items() if value}

    async def rates(self) -> dict[str, dict[int, int]]:
        names = sorted([bytes(name).decode() for name in await self._redis.command("KEYS", self._prefix + "rate:*")])
        hashes = await self._redis.pipeline([("HGETALL", name) for name in names])
        return {name.removeprefix(self._prefix): parts_of(found) for name, found in zip(names, hashes, strict=True)}

    async def holds(self, journal: str = JOURNAL) -> int:
        """How many. What they have in common is there as long as one of them is."""
        name = f"{self._prefix}holds:{journal}"
        held, shared = int(await self._redis.command("HLEN", name)), await self._shared(name + ":places")
        assert sum(shared) <= held
        assert all(count > 0 for count in shared)
        return held

    async def _shared(self, name: str) -> list[int]:
        """How many holds name each list of places."""
        found = await self._redis.command("HKEYS", name)
        counts = [bytes(one).decode() for one in found if bytes(one).endswith(b"#")]
        assert len(found) == 2 * len(counts)
        return [int(await self._redis.command("HGET", name, one)) for one in counts]


def parts_of(answer: Any) -> dict[int, int]:
    """The parts of a window, of HGETALL's answer: its sum is that of all that is stored."""
    pairs = answer.items() if isinstance(answer, dict) else zip(answer[::2], answer[1::2], strict=True)
    found = {bytes(name): int(value) for name, value in pairs}
    total, first = found.pop(b"sum"), found.pop(b"first")
    assert all(first <= int(part) for part in found)
    assert total == sum(found.values())
    return {int(part): count for part, count in found.items() if count}


@dataclass
class ModelHold:
    checks: tuple[Check, ...]
    at_s: float
    nano: int
    amounts: Amounts
    client: str
    group: str
    runs: bool = True


@dataclass
class Model:
    """The limits as a plain program over lists."""

    now_s: float = NOON
    rates: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    numbers: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    holds: dict[str, ModelHold] = field(default_factory=dict)

    def admit(
        self, hold: str, client: ClientKey, plan: Plan, models: tuple[str, ...], user: str, asked: Amounts
    ) -> Any:
        """(granted, limits that would have refused), or what it is refused with."""
        checks = plan.checks(models, user).items
        nano = asked.nano
        shadows = []
        refused: GatewayError | None = None
        for check in checks:
            size = check.limit.size_at(self.now_s)
            amount = nano if check.limit.unit is Unit.USD else amount_of(check, asked)
            used = self.used(check)
            if used + amount <= size:
                continue
            if check.limit.shadow:
                shadows.append(check.limit)
            elif check.limit.unit is Unit.USD and plan.clamp and 0 < asked.least_nano <= size - used:
                nano = size - used
            elif refused is None:
                refused = self.refused(check, used, amount_of(check, asked))
        if refused is not None:
            return refused
        for check in checks:
            self.count(check, nano if check.limit.unit is Unit.USD else amount_of(check, asked))
        self.holds[hold] = ModelHold(checks, self.now_s, nano, asked, client.id, client.group)
        return nano, tuple(shadows)

    def used(self, check: Check) -> int:
        if check.limit.unit is Unit.USD:
            spent, held = self.names(check)
            return self.numbers[spent] + self.numbers[held]
        if check.limit.unit is Unit.CONCURRENT:
            return self.numbers[running(check)]
        return self.in_window(check, self.now_s)

    def in_window(self, check: Check, at_s: float) -> int:
        parts, part_s = PARTS[check.limit.span]
        return sum(n for part, n in self.rates[rate(check)] if part >= at_s // part_s - parts)

    def names(self, check: Check, at_s: float | None = None) -> tuple[str, str]:
        at_s = self.now_s if at_s is None else at_s
        names = spent_name(check.subject, check.limit.span, at_s), held_name(check.subject, check.limit.span, at_s)
        return ":".join(names[0]), ":".join(names[1])

    def count(self, check: Check, amount: int) -> None:
        if check.limit.unit is Unit.USD:
            self.numbers[self.names(check)[1]] += amount
        elif check.limit.unit is Unit.CONCURRENT:
            self.numbers[running(check)] += 1
        else:
            self.rates[rate(check)].append((int(self.now_s // PARTS[check.limit.span][1]), amount))

    def refused(self, check: Check, used: int, wanted: int) -> GatewayError:
        size, span = check.limit.size_at(self.now_s), check.limit.span
        fits_at_s = self.now_s
        if check.limit.unit is Unit.USD:
            return refusal(check, used, wanted, resets_at(span, self.now_s), self.now_s)
        if check.limit.unit is not Unit.CONCURRENT:
            parts, part_s = PARTS[span]
            moments = [(self.now_s // part_s + ahead) * part_s for ahead in range(1, parts + 2)]
            fitting = (at_s for at_s in moments if self.in_window(check, at_s) + wanted <= size)
            fits_at_s = next(fitting, moments[-1])
        return refusal(check, used, wanted, fits_at_s, self.now_s)

    def ended(self, hold: str) -> None:
        found = self.holds.get(hold)
        if found is not None and found.runs:
            found.runs = False
            for check in found.checks:
                if check.limit.unit is Unit.CONCURRENT:
                    self.numbers[running(check)] -= 1

    def settled(self, hold: str, item: Settled) -> None:
        self.ended(hold)
        found = self.holds.pop(hold)
        actual = Amounts(input_tokens=item.input_tokens, output_tokens=item.output_tokens)
        for check in found.checks:
            if check.limit.unit is Unit.USD:
                spent, held = self.names(check, found.at_s)
                self.numbers[held] -= found.nano
                self.numbers[spent] += item.cost_nano if check.own else 0
            elif check.limit.unit not in (Unit.CONCURRENT, Unit.REQUESTS):
                part = int(found.at_s // PARTS[check.limit.span][1])
                more = amount_of(check, actual) - amount_of(check, found.amounts)
                self.rates[rate(check)].append((part, more))
        for name in {f"c:{found.client}", f"g:{GATEWAY_GROUP}", *([f"g:{found.group}"] if found.group else [])}:
            for span in (Span.DAY, Span.WEEK, Span.MONTH, Span.TOTAL):
                self.numbers[f"spent:{name}:{period_of(span, found.at_s)}"] += item.cost_nano

    def rate_parts(self) -> dict[str, dict[int, int]]:
        """Those of all windows, whatever has slid out of them."""
        found: dict[str, dict[int, int]] = {}
        for name, counted in self.rates.items():
            parts = found.setdefault(name, defaultdict(int))
            for part, count in counted:
                parts[part] += count
        return found


def running(check: Check) -> str:
    return f"running:{check.subject}:{check.limit.id}"


def rate(check: Check) -> str:
    return f"rate:{check.subject}:{check.limit.id}"
