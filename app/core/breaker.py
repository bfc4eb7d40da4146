"""A circuit breaker as pure state: told what happened, it says whether to try. It knows no Redis and no event loop."""

from __future__ import annotations

from enum import IntEnum, StrEnum

from app.core.clock import Clock


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Ticket(IntEnum):
    """What a call was admitted as, handed back with its outcome: a late call cannot pass for the probe."""

    REFUSED = 0
    CALL = 1
    PROBE = 2


class Breaker:
    """Opens after some failures in a row; then lets exactly one probe through each time the pause has passed.

    Whoever was admitted must end with `succeeded`, `failed` or, when it was cancelled and learnt nothing, `abandoned`.
    """

    __slots__ = ("_clock", "_failures", "_first_pause_s", "_longest_pause_s", "_opened_at", "_pause_s", "_probing",
                 "_threshold")  # fmt: skip

    def __init__(
        self, clock: Clock, *, threshold: int = 5, first_pause_s: float = 1.0, longest_pause_s: float = 30.0
    ) -> None:
        self._clock = clock
        self._threshold = threshold
        self._first_pause_s = first_pause_s
        self._longest_pause_s = longest_pause_s
        self._failures = 0
        self._pause_s = 0.0  # 0 while closed
        self._opened_at = 0.0
        self._probing = False

    @property
    def state(self) -> BreakerState:
        if not self._pause_s:
            return BreakerState.CLOSED
        return BreakerState.HALF_OPEN if self._probing or self._pause_is_over() else BreakerState.OPEN

    @property
    def refuses(self) -> bool:
        """Whether `admit` would refuse now."""
        return self._pause_s > 0 and (self._probing or not self._pause_is_over())

    def admit(self) -> Ticket:
        """In the half-open state the first to ask becomes the probe."""
        if not self._pause_s:
            return Ticket.CALL
        if self.refuses:
            return Ticket.REFUSED
        self._probing = True
        return Ticket.PROBE

    def succeeded(self) -> bool:
        """Any answer proves that it lives. Returns whether this closed the breaker."""
        was_open = self._pause_s > 0
        self._failures = 0
        self._pause_s = 0.0
        self._probing = False
        return was_open

    def failed(self, ticket: Ticket) -> bool:
        """Returns whether this opened the breaker, for the first time or again."""
        if self._pause_s and ticket is not Ticket.PROBE:
            return False  # a straggler from before it opened
        self._failures += 1
        if not self._pause_s and self._failures < self._threshold:
            return False
        self._pause_s = min(self._pause_s * 2, self._longest_pause_s) if self._pause_s else self._first_pause_s
        self._opened_at = self._clock.monotonic_s()
        self._probing = False
        return True

    def abandoned(self, ticket: Ticket) -> None:
        """The call ended without news: if it was the probe, the next one to ask becomes it."""
        if ticket is Ticket.PROBE:
            self._probing = False

    def _pause_is_over(self) -> bool:
        return self._clock.monotonic_s() >= self._opened_at + self._pause_s

    def __repr__(self) -> str:
        return f"<Breaker {self.state}, {self._failures} failures in a row>"
