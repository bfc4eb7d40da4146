"""Whether a call may be tried once more: for its own sake and for everybody's. Pure.

Upstream has its own fallbacks and clients retry by themselves, so that every further try multiplies load. Tries are
bounded for each call by number and time, and for the whole worker by a share of the recent calls.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.models.marks import Move, Verdict


class RetryBudget:
    """Tokens for further tries: each call adds a share of one, and a few come by time, so that quiet hours can be
    rescued too.
    """

    MOST = 100.0
    PER_S = 1.0
    AT_FIRST = 10.0

    __slots__ = ("_at_s", "_tokens", "share")

    def __init__(self, share: float) -> None:
        self.share = share
        self._tokens = self.AT_FIRST if share > 0 else 0.0
        self._at_s = 0.0

    def add(self) -> None:
        """A call has begun."""
        self._tokens = min(self.MOST, self._tokens + self.share)

    def take(self, now_s: float) -> bool:
        """Pays for one further try, if there is enough."""
        if self.share <= 0:
            return False
        if self._at_s:
            self._tokens = min(self.MOST, self._tokens + (now_s - self._at_s) * self.PER_S)
        self._at_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


@dataclass(frozen=True, slots=True)
class Bounds:
    """For one call: so many tries, and none begun later than this after its beginning."""

    most_tries: int
    deadline_s: float


def helps(verdict: Verdict, *, repeatable: bool) -> bool:
    """Whether another try makes sense and does no harm. `repeatable`: nobody pays twice, whatever became of the try.

    Of a stream nothing is billed while no word of it has come; any other call must be proved unbilled.
    """
    return verdict.move is not Move.NONE and (repeatable or verdict.unbilled)


def in_time(bounds: Bounds, tries: int, spent_s: float) -> bool:
    return tries < bounds.most_tries and spent_s < bounds.deadline_s
