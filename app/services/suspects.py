"""The OpenRouter keys that may be worth a word: those that are off, that something has hit, or that end soon.

A pool may have a thousand keys and is looked at every few seconds: those that are well cost next to nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from app.core.clock import Clock
from app.models.keys import KeyState, OpenRouterKey
from app.models.marks import Mark, Scope
from app.services.key_facts import FactStore
from app.services.key_picture import KeyPicture, key_pictures
from app.services.marks import Marks

_AT_ONCE: Final = 100
_WHOLE: Final = (Scope.ACCOUNT, Scope.WORKSPACE, Scope.FAMILY)

Records = Callable[[], Mapping[str, OpenRouterKey]]


class Suspects:
    """`soon_s`: how long before its end a key is looked at."""

    def __init__(self, records: Records, facts: FactStore, marks: Marks, clock: Clock, soon_s: float) -> None:
        self._records = records
        self._facts = facts
        self._marks = marks
        self._clock = clock
        self._soon_s = soon_s

    async def pictures(self) -> list[KeyPicture]:
        """In parts, so that calls are not held up however many there are."""
        marks = self._marks.in_force()
        suspects = self._suspects(marks)
        found: list[KeyPicture] = []
        for begin in range(0, len(suspects), _AT_ONCE):
            found += self._drawn(suspects[begin : begin + _AT_ONCE], marks)
            await asyncio.sleep(0)
        return found

    def find(self, key_id: str) -> KeyPicture | None:
        """Whatever it is good for; none where it was deleted."""
        record = self._records().get(key_id)
        return None if record is None else self._drawn([record], self._marks.in_force())[0]

    def _suspects(self, marks: tuple[Mark, ...]) -> list[OpenRouterKey]:
        hit = {mark.subject for mark in marks if mark.scope is Scope.KEY}
        # What hits more than one key is rare: then all of them are looked at.
        everybody = any(mark.scope in _WHOLE for mark in marks)
        until_s = self._clock.wall_s() + self._soon_s
        return [
            record
            for record in self._records().values()
            if everybody or record.state is not KeyState.ENABLED or record.id in hit or self._ends(record.id, until_s)
        ]

    def _ends(self, key_id: str, until_s: float) -> bool:
        facts = self._facts.get(key_id)
        return facts is not None and facts.expires_at is not None and facts.expires_at < until_s

    def _drawn(self, records: list[OpenRouterKey], marks: tuple[Mark, ...]) -> tuple[KeyPicture, ...]:
        return key_pictures(records, self._facts.every, marks, self._facts.samples, self._clock.wall_s())
