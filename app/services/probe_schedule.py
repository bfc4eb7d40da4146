"""When which key is asked next: pace, jitter, back-off and the bound on the rate. Pure; it is told the time.

It knows keys by their ids and nothing of what a probe is.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_BACK_OFF_S: Final = 5.0
_CHECK_AT_MOST_S: Final = 60.0
_SPENT_S: Final = 60.0
_JITTER: Final = 0.2
_FAIR_EVERY: Final = 4  # each such turn goes by waiting time alone, or else urgent keys could starve the others


class Pace(StrEnum):
    """`CHECK`: a call was refused with 401, and it is asked at once whether that is true."""

    CHECK = "check"
    SPENT = "spent"
    ROUTINE = "routine"


_URGENCY: Final = {Pace.CHECK: 0, Pace.SPENT: 1, Pace.ROUTINE: 2}


@dataclass(frozen=True, slots=True)
class Watch:
    """What is wanted for a key. `known_s`: the last answer that anybody got; `asked_s`: when a check was asked for."""

    pace: Pace = Pace.ROUTINE
    known_s: float = 0.0
    asked_s: float = 0.0


@dataclass(slots=True)
class _Entry:
    watch: Watch
    due_s: float
    answered_s: float = 0.0
    failures: int = 0
    returns: int = 0
    rounds: int = 0
    running: bool = False


class ProbeSchedule:
    """`take` gives the key whose turn it is; it is asked once at a time, until `answered` or `failed`."""

    def __init__(self, interval_s: float, most_per_s: float) -> None:
        self._interval_s = interval_s
        self._gap_s = 1 / most_per_s
        self._free_at = 0.0
        self._turns = 0
        self._entries: dict[str, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def follow(self, watches: Mapping[str, Watch], now_s: float) -> None:
        """Takes over which keys there are and what is wanted for each."""
        for gone in self._entries.keys() - watches.keys():
            del self._entries[gone]
        for key_id, watch in watches.items():
            entry = self._entries.get(key_id)
            if entry is None:
                self._entries[key_id] = entry = _Entry(watch, now_s, answered_s=watch.known_s)
                if watch.known_s:
                    entry.due_s = watch.known_s + self._wait_s(key_id, entry)
            elif watch.pace is not entry.watch.pace:
                entry.watch = watch
                entry.due_s = min(entry.due_s, now_s + self._wait_s(key_id, entry))
            entry.watch = watch
            if watch.pace is Pace.CHECK and watch.asked_s > entry.answered_s:
                # A key that a probe finds well and calls do not is believed more slowly each time.
                doubt_s = min(_CHECK_AT_MOST_S, _BACK_OFF_S * 2.0 ** min(entry.returns, 20)) if entry.returns else 0.0
                entry.due_s = min(entry.due_s, now_s + doubt_s)

    def take(self, now_s: float) -> str | None:
        """The key to ask now, or None where none is due or the rate would be passed."""
        if now_s < self._free_at:
            return None
        due = [(key_id, entry) for key_id, entry in self._entries.items() if entry.due_s <= now_s and not entry.running]
        if not due:
            return None
        self._turns += 1
        fair = self._turns % _FAIR_EVERY == 0
        key_id, entry = min(due, key=lambda one: (0 if fair else _URGENCY[one[1].watch.pace], one[1].due_s))
        entry.running = True
        self._free_at = now_s + self._gap_s
        return key_id

    def wait_s(self, now_s: float) -> float:
        """How long nothing can be taken, as things are now."""
        due_s = min((entry.due_s for entry in self._entries.values() if not entry.running), default=float("inf"))
        return max(0.0, due_s - now_s, self._free_at - now_s)

    def soon(self, key_id: str, now_s: float) -> None:
        """Asks for a probe before its time."""
        if (entry := self._entries.get(key_id)) is not None:
            entry.due_s = min(entry.due_s, now_s)

    def answered(self, key_id: str, asked_s: float, now_s: float, *, returned: bool = False) -> None:
        """The key was described. `returned`: that brought it back; one that soon is spent again is asked less often."""
        if (entry := self._ended(key_id)) is not None:
            entry.answered_s = asked_s
            entry.failures = 0
            entry.returns = entry.returns + 1 if returned else entry.returns - (entry.watch.pace is Pace.ROUTINE)
            entry.returns = max(0, entry.returns)
            entry.due_s = now_s + self._wait_s(key_id, entry)

    def refused(self, key_id: str, now_s: float) -> None:
        """The answer was 401."""
        if (entry := self._ended(key_id)) is not None:
            entry.answered_s = now_s
            entry.failures += 1
            entry.due_s = now_s + self._wait_s(key_id, entry)

    def failed(self, key_id: str, now_s: float) -> None:
        """There was no answer that tells anything. Nothing happens where it has been told already what came out."""
        if (entry := self._ended(key_id)) is not None:
            entry.failures += 1
            entry.due_s = now_s + self._wait_s(key_id, entry)

    def _ended(self, key_id: str) -> _Entry | None:
        entry = self._entries.get(key_id)
        if entry is None or not entry.running:
            return None
        entry.running = False
        entry.rounds += 1
        return entry

    def _wait_s(self, key_id: str, entry: _Entry) -> float:
        """With up to a tenth more or less, by the key, so that keys added together are not asked together for ever."""
        part = zlib.crc32(f"{key_id} {entry.rounds}".encode()) / 2**32
        return self._plain_wait_s(entry) * (1 + _JITTER * (part - 0.5))

    def _plain_wait_s(self, entry: _Entry) -> float:
        if entry.failures:
            most_s = min(_CHECK_AT_MOST_S, self._interval_s) if entry.watch.pace is Pace.CHECK else self._interval_s
            return min(most_s, _BACK_OFF_S * 2.0 ** min(entry.failures - 1, 20))
        if entry.watch.pace is Pace.SPENT:
            return min(self._interval_s, _SPENT_S * 2.0 ** min(entry.returns, 20))
        return self._interval_s
