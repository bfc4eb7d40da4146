"""Tells an outage of OpenRouter's authentication from keys that died: many unrelated keys refused within a minute.

Pure: it is told of every 401 and of every probe that passed; what follows (nobody is disabled) is for others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

UNRELATED: Final = 3
WINDOW_S: Final = 60.0
QUIET_S: Final = 120.0
LONGEST_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class _Refusal:
    owner: str
    at_s: float


class Incidents:
    """An incident lasts until a refused key passes again, or 401s stop, or an hour has gone: what is still refused then
    is believed to be dead, and does not begin another one before it has passed.
    """

    __slots__ = ("_believed", "_last_s", "_refused", "_since_s")

    def __init__(self) -> None:
        self._refused: dict[str, _Refusal] = {}
        self._believed: set[str] = set()
        self._since_s: float | None = None
        self._last_s = 0.0

    def note(self, key_id: str, account: str, now_s: float) -> None:
        """A key was answered 401. Keys of one account may die together; where it is not known, each key counts."""
        self._end_if_over(now_s)
        if key_id in self._believed:
            return
        self._refused[key_id] = _Refusal(account or f"key:{key_id}", now_s)
        if self._since_s is not None:
            self._last_s = max(self._last_s, now_s)
            return
        self._refused = {key: one for key, one in self._refused.items() if now_s - one.at_s <= WINDOW_S}
        if len({one.owner for one in self._refused.values()}) >= UNRELATED:
            self._since_s = self._last_s = now_s

    def recovered(self, key_id: str, now_s: float) -> None:
        """A key passed. It ends the incident if it was refused before: others may have been well all the time."""
        self._end_if_over(now_s)
        self._believed.discard(key_id)
        refusal = self._refused.get(key_id)
        if refusal is None or now_s < refusal.at_s:
            return
        del self._refused[key_id]
        if self._since_s is not None:
            self._end()

    def upstream_incident(self, now_s: float) -> bool:
        """Whether 401s are not to be believed now."""
        self._end_if_over(now_s)
        return self._since_s is not None

    def _end_if_over(self, now_s: float) -> None:
        if self._since_s is None:
            return
        if now_s - self._since_s > LONGEST_S:
            self._believed.update(self._refused)
            self._end()
        elif now_s - self._last_s > QUIET_S:
            self._end()

    def _end(self) -> None:
        self._refused.clear()
        self._since_s = None
