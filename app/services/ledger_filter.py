"""An entry of the ledger in its place, and which ones somebody wants to see. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from app.models.ledger import CostKind, Entry

_TEXTS: Final = ("client_id", "group_id", "account", "provider", "outcome", "route", "skin", "error", "user")


class Line(msgspec.Struct, frozen=True):
    """An entry and its place in the stream. An entry stands as it was booked; what it was charged without proof may
    have been corrected since.
    """

    place: str
    entry: Entry
    corrected_nano: int | None = None
    """What it costs since its correction; None where there was none."""

    @property
    def cost_nano(self) -> int:
        """As it counts now."""
        return self.entry.cost_nano if self.corrected_nano is None else self.corrected_nano


class Filter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is empty or None filters nothing. The period is that of the admissions."""

    since_s: float | None = None
    until_s: float | None = None
    client_id: str = ""
    group_id: str = ""
    key_id: str = ""
    """The key that served, or any that was tried; its id or the beginning of it."""
    account: str = ""
    model: str = ""
    """As asked or as served."""
    provider: str = ""
    outcome: str = ""
    route: str = ""
    skin: str = ""
    error: str = ""
    user: str = ""
    name: str = ""
    """The id of the entry, the request or the generation."""
    status: int = 0
    stream: bool | None = None
    cost_kind: CostKind | None = None
    flagged: bool = False
    min_ms: float = 0
    min_nano: int = 0

    @property
    def narrows(self) -> bool:
        return self != Filter(since_s=self.since_s, until_s=self.until_s)


class Sieve:
    """A filter, made ready for many entries."""

    def __init__(self, wanted: Filter) -> None:
        self._wanted = wanted
        self._texts = [(field, text) for field in _TEXTS if (text := getattr(wanted, field))]
        words = [text for _, text in self._texts] + [wanted.key_id, wanted.model, wanted.name]
        # An entry's texts stand in it as they are: what does not hold the words need not be decoded. JSON may write
        # other signs in another way.
        self._words = [word.encode() for word in words if word and word.isascii() and not set(word) & set('"\\')]

    def may_hold(self, raw: bytes) -> bool:
        return all(word in raw for word in self._words)

    def holds(self, entry: Entry) -> bool:
        wanted = self._wanted
        return (
            all(getattr(entry, field) == text for field, text in self._texts)
            and (wanted.since_s is None or entry.at_s >= wanted.since_s)
            and (wanted.until_s is None or entry.at_s < wanted.until_s)
            and (not wanted.status or entry.status == wanted.status)
            and (wanted.stream is None or entry.stream is wanted.stream)
            and (wanted.cost_kind is None or entry.cost_kind is wanted.cost_kind)
            and (not wanted.flagged or bool(entry.flags))
            and entry.duration_ms >= wanted.min_ms
            and entry.cost_nano >= wanted.min_nano
            and self._named(entry)
        )

    def _named(self, entry: Entry) -> bool:
        wanted = self._wanted
        if wanted.name and wanted.name not in (entry.id, entry.request_id, entry.generation_id):
            return False
        if wanted.model and wanted.model not in (entry.model, entry.model_asked):
            return False
        tried = (entry.key_id, *(one.key_id for one in entry.tries))
        return not wanted.key_id or any(key_id.startswith(wanted.key_id) for key_id in tried)
