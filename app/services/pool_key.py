"""One OpenRouter key at work: what the choice depends on, its running calls, its own caps. Knows no other key.

The caps hold for each worker by itself: to share every count would cost a round trip for every call.
"""

from __future__ import annotations

from collections import deque
from copy import copy
from itertools import count
from typing import Final, Self

from app.core.clock import Clock
from app.core.security import Secret
from app.models.key_facts import KeyFacts
from app.models.keys import OpenRouterKey
from app.services.gates import Gate
from app.services.key_rules import NO_RULE, ModelRule, rule_of

_MINUTE_S: Final = 60.0
DAY_S: Final = 86_400.0
_next_turn = count(1).__next__


class PerMinute:
    """Counts exactly: no 60 seconds hold more starts than the limit."""

    __slots__ = ("_clock", "_starts", "limit")

    def __init__(self, clock: Clock, limit: int) -> None:
        self.limit = limit
        self._clock = clock
        self._starts: deque[float] = deque(maxlen=limit)

    def note(self) -> None:
        self._starts.append(self._clock.monotonic_s())

    def wait_s(self) -> float:
        """Until the next one may start."""
        if len(self._starts) < self.limit:
            return 0.0
        return max(0.0, self._starts[0] + _MINUTE_S - self._clock.monotonic_s())


class Spending:
    """Of this UTC day: what a probe has seen, which counts every user of the key, and what was settled here since."""

    __slots__ = ("_day", "_seen_nano", "_since_nano")

    def __init__(self) -> None:
        self._day = -1
        self._seen_nano = 0
        self._since_nano = 0

    def add(self, nano: int, now_s: float) -> None:
        self._turn_to(now_s)
        self._since_nano += nano

    def see(self, nano: int, at_s: float) -> None:
        """What was settled before the probe is in what it has seen."""
        if self._turn_to(at_s):
            self._seen_nano, self._since_nano = nano, 0

    def nano(self, now_s: float) -> int:
        return self._seen_nano + self._since_nano if int(now_s // DAY_S) == self._day else 0

    def _turn_to(self, at_s: float) -> bool:
        """False for a day that is over."""
        day = int(at_s // DAY_S)
        if day > self._day:
            self._day, self._seen_nano, self._since_nano = day, 0, 0
        return day == self._day


class PoolKey:
    """Entered, it is leased: the call inside counts as in flight.

    A key behind half-open gates is leased as a twin that is on trial: the counts are those of its `home`. Inside the
    block `Pool.served` proves it; without that, the next call is on trial again.
    `authorization` is the ready header value; it shows itself only to the transport.
    """

    __slots__ = (
        "_authorization",
        "_passed",
        "account",
        "credit_nano",
        "facts",
        "gates",
        "home",
        "id",
        "in_flight",
        "leases",
        "masked",
        "max_day_nano",
        "max_in_flight",
        "per_minute",
        "probed_at",
        "rule",
        "spending",
        "tags",
        "tier",
        "turn",
        "weight",
        "workspace",
    )

    def __init__(self, record: OpenRouterKey, secret: Secret) -> None:
        self.id = record.id
        self.masked = record.masked
        self.home: PoolKey = self
        self.in_flight = 0
        self.leases = 0
        self.turn = 0
        self.gates: tuple[Gate, ...] = ()
        self._passed: list[Gate] = []
        self.tags: tuple[str, ...] = ()
        self.weight = 1
        self.tier = 0
        self.rule: ModelRule = NO_RULE
        self.account = self.workspace = f"key:{record.id}"
        self.credit_nano = float("inf")
        self.max_in_flight: int | None = None
        self.max_day_nano: int | None = None
        self.per_minute: PerMinute | None = None
        self.spending = Spending()
        self.facts: KeyFacts | None = None
        self.probed_at = 0.0
        self._authorization = b"Bearer " + secret.reveal().encode("ascii")

    def follow(self, record: OpenRouterKey, clock: Clock) -> None:
        """Takes over what people have set."""
        self.tags = record.tags
        self.weight = record.weight
        self.tier = record.tier
        self.rule = rule_of(record)
        self.max_in_flight = record.max_in_flight
        self.max_day_nano = record.max_day_nano
        if record.max_rpm is None:
            self.per_minute = None
        elif self.per_minute is None or self.per_minute.limit != record.max_rpm:
            self.per_minute = PerMinute(clock, record.max_rpm)

    def learn(self, account: str, facts: KeyFacts | None) -> None:
        """Takes over what is known of it. An unknown account or workspace is the key's own."""
        self.facts = facts
        own = f"key:{self.id}"
        self.account = account or own
        self.workspace = (facts.workspace if facts else "") or own
        if facts is None or facts.probed_at <= self.probed_at:
            return
        self.probed_at = facts.probed_at
        available = facts.available_nano
        self.credit_nano = float("inf") if available is None else available
        if facts.usage_daily_nano is not None:
            self.spending.see(facts.usage_daily_nano, facts.probed_at)

    @property
    def ruled(self) -> bool:
        """Whether it does not serve every model."""
        return self.rule is not NO_RULE

    @property
    def capped(self) -> bool:
        """Whether `full` can ever be true."""
        return self.max_in_flight is not None or self.per_minute is not None

    @property
    def full(self) -> bool:
        """Whether its own caps let no further call start at this moment."""
        if self.max_in_flight is not None and self.in_flight >= self.max_in_flight:
            return True
        return self.per_minute is not None and self.per_minute.wait_s() > 0

    def spent_today(self, now_s: float) -> bool:
        return self.max_day_nano is not None and self.spending.nano(now_s) >= self.max_day_nano

    def on_trial(self, gates: tuple[Gate, ...]) -> PoolKey:
        """The same key for one call that goes through half-open gates."""
        twin = copy(self)
        twin.in_flight = 0
        twin.gates = gates
        twin._passed = []  # noqa: SLF001 - its own class
        return twin

    def __enter__(self) -> Self:
        home = self.home
        home.in_flight += 1
        home.leases += 1
        home.turn = _next_turn()
        if home.per_minute is not None:
            home.per_minute.note()
        if self.gates:
            self._passed += [gate for gate in self.gates if gate.begin()]
        return self

    def __exit__(self, *_: object) -> None:
        self.home.in_flight -= 1
        if self._passed:
            self._leave(proved=False)

    def _leave(self, *, proved: bool) -> None:
        for gate in self._passed:
            if proved:
                gate.prove()
            else:
                gate.end()
        self._passed = []

    def prove(self) -> None:
        """Upstream has served a call on it."""
        if self._passed:
            self._leave(proved=True)

    def authorization(self) -> bytes:
        return self._authorization

    def __repr__(self) -> str:
        return f"<PoolKey {self.masked} {self.home.in_flight} in flight>"
