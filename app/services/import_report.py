"""What an import makes: a declarative document, and what could not be carried over, told at each entry. Pure."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from app.services.desired_state import VERSION
from app.services.desired_views import View
from app.services.key_names import KeyRefused
from app.services.limit_words import limit_of

_LONGEST: Final = 200
_UNFIT: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})


@dataclass(slots=True)
class Entry:
    """One entry in the making."""

    view: View = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def hold(self, reason: str) -> None:
        """It would be allowed more than it was: somebody has to look before it works."""
        self.view["state"] = "disabled"
        self.notes.append(f"disabled until you have looked: {reason}")

    def limit(self, words: str) -> None:
        """One more limit, if there can be such a one."""
        try:
            limit_of(words, 0.0)
        except KeyRefused as refusal:
            self.hold(f"the limit {words} cannot be: {refusal}")
            return
        limits: list[str] = self.view.setdefault("limits", [])
        if words not in limits:
            limits.append(words)


@dataclass(slots=True)
class Imported:
    """`lost` speaks of the whole; each entry of itself."""

    keys: list[Entry] = field(default_factory=list)
    groups: list[Entry] = field(default_factory=list)
    clients: list[Entry] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def document(self) -> View:
        """Only the sections that there is something for: `--prune` takes nothing from the others."""
        sections = {name: [entry.view for entry in entries] for name, entries in self._sections() if entries}
        return {"version": VERSION, **sections}

    def comments(self) -> dict[tuple[str, int], list[str]]:
        return {
            (name, place): list(dict.fromkeys(entry.notes))
            for name, entries in self._sections()
            for place, entry in enumerate(entries)
            if entry.notes
        }

    def counts(self) -> dict[str, int]:
        return {
            **{name: len(entries) for name, entries in self._sections()},
            "disabled": sum(entry.view.get("state") == "disabled" for entry in self.clients),
        }

    def told(self) -> list[dict[str, Any]]:
        """For programs: each entry that has notes."""
        return [
            {"section": name, "name": entry.view.get("name") or entry.view.get("label", ""), "notes": entry.notes}
            for name, entries in self._sections()
            for entry in entries
            if entry.notes
        ]

    def _sections(self) -> Sequence[tuple[str, list[Entry]]]:
        return (("openrouter_keys", self.keys), ("groups", self.groups), ("client_keys", self.clients))


def fit_line(text: object, fallback: str = "") -> str:
    """As a name or note can be: on one line, and not too long."""
    signs = (" " if unicodedata.category(sign) in _UNFIT else sign for sign in str(text or ""))
    return " ".join("".join(signs).split())[:_LONGEST].strip() or fallback


def tell_apart(entries: Iterable[Entry], suffixes: Iterable[str]) -> None:
    """Names that several have get something that only one has."""
    pairs = list(zip(entries, suffixes, strict=True))
    names = Counter(entry.view["name"] for entry, _ in pairs)
    for entry, suffix in pairs:
        if names[entry.view["name"]] > 1:
            entry.view["name"] = f"{entry.view['name'][: _LONGEST - len(suffix) - 3]} ({suffix})"
