"""Providers that stand out on a model, by errors or by slowness: for information only, it takes nothing down. Pure; it
is told the time, and forgets after ten minutes.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Final

_SLOT_S: Final = 60.0
_SLOTS: Final = 10
_MOST_PAIRS: Final = 5000
_LEAST_CALLS: Final = 20
_LEAST_ERROR_SHARE: Final = 0.2
_TIMES_OTHERS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Outlier:
    """What stands out beside what the model's other providers do (None: there are none)."""

    model: str
    provider: str
    calls: int
    error_share: float
    others_error_share: float | None
    first_token_s: float | None
    others_first_token_s: float | None
    failing: bool
    slow: bool


@dataclass(slots=True)
class _Slot:
    number: int
    calls: int = 0
    errors: int = 0
    timed: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class _Window:
    slots: deque[_Slot] = field(default_factory=lambda: deque(maxlen=_SLOTS))

    def slot(self, number: int) -> _Slot:
        if not self.slots or self.slots[-1].number < number:
            self.slots.append(_Slot(number))
        return self.slots[-1]

    def sums(self, oldest: int) -> _Slot:
        total = _Slot(oldest)
        for slot in self.slots:
            if slot.number >= oldest:
                total.calls += slot.calls
                total.errors += slot.errors
                total.timed += slot.timed
                total.seconds += slot.seconds
        return total


class Outliers:
    """`note` costs little and is called for each call; `find` is for whoever looks."""

    def __init__(self) -> None:
        self._windows: OrderedDict[tuple[str, str], _Window] = OrderedDict()

    def note(self, model: str, provider: str, now_s: float, *, failed: bool, first_token_s: float | None) -> None:
        """`failed`: the provider's fault. `first_token_s`: how long the first token took, where one came."""
        pair = (model, provider)
        window = self._windows.get(pair)
        if window is None:
            window = self._windows[pair] = _Window()
            if len(self._windows) > _MOST_PAIRS:
                self._windows.popitem(last=False)
        slot = window.slot(int(now_s // _SLOT_S))
        slot.calls += 1
        slot.errors += failed
        if first_token_s is not None:
            slot.timed += 1
            slot.seconds += first_token_s

    def find(self, now_s: float) -> tuple[Outlier, ...]:
        """The worst first."""
        by_model: dict[str, dict[str, _Slot]] = {}
        oldest = int(now_s // _SLOT_S) - _SLOTS + 1
        for (model, provider), window in self._windows.items():
            if (sums := window.sums(oldest)).calls:
                by_model.setdefault(model, {})[provider] = sums
        found = [one for model, providers in by_model.items() for one in _of_model(model, providers)]
        return tuple(sorted(found, key=lambda one: (not one.failing, -one.error_share, one.model, one.provider)))


def _of_model(model: str, providers: dict[str, _Slot]) -> Iterator[Outlier]:
    for provider, own in providers.items():
        if own.calls < _LEAST_CALLS:
            continue
        others = [sums for name, sums in providers.items() if name != provider]
        calls = sum(sums.calls for sums in others)
        error_share = own.errors / own.calls
        others_share = sum(sums.errors for sums in others) / calls if calls else None
        first_s = own.seconds / own.timed if own.timed else None
        times = [sums.seconds / sums.timed for sums in others if sums.timed]
        others_s = median(times) if times else None
        failing = error_share >= max(_LEAST_ERROR_SHARE, _TIMES_OTHERS * (others_share or 0.0))
        slow = first_s is not None and others_s is not None and first_s >= _TIMES_OTHERS * others_s > 0
        if failing or slow:
            yield Outlier(
                model, provider, own.calls, error_share, others_share, first_s, others_s, failing=failing, slow=slow
            )
