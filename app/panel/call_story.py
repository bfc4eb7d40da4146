"""What became of one call, in a sentence, and what its cost is made of. Pure: texts are English, to be translated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from app.models.ledger import CostKind, Entry

TONES: Final = {"served": "ok", "rescued": "warn", "failed": "bad", "refused": "idle", "left": "idle"}


@dataclass(frozen=True, slots=True)
class Story:
    """`text` is a pattern with the names of `values`."""

    text: str
    values: Mapping[str, object]


def story(entry: Entry, names: Mapping[str, str]) -> Story:
    """`Served by prod-a after burst was rate-limited.`"""
    last = names.get(entry.key_id, "") or "a key that is gone"
    first = entry.tries[0] if entry.tries else None
    before = names.get(first.key_id, "a key that is gone") if first is not None else ""
    reason = {"error": entry.error or str(entry.status)}
    match entry.outcome:
        case "served":
            return Story("Served by %(key)s at the first try.", {"key": last})
        case "rescued" if first is not None:
            values = {"key": last, "first": before, "result": first.result, "tries": len(entry.tries)}
            return Story("Rescued: served by %(key)s after %(first)s had answered %(result)s.", values)
        case "rescued":
            return Story("Rescued: served by %(key)s.", {"key": last})
        case "refused" if not entry.tries:
            return Story("Refused by the gateway: %(error)s. No key was tried.", reason)
        case "refused":
            return Story("Refused by OpenRouter: %(error)s.", reason)
        case "left" if not entry.tries:
            return Story("The client left before a key was tried.", {})
        case "left":
            return Story("The client left; the call on %(key)s was ended.", {"key": last})
        case _ if not entry.tries:
            return Story("Failed: %(error)s. No key was tried.", reason)
        case _:
            return Story("Failed after %(tries)s tries: %(error)s.", {**reason, "tries": len(entry.tries)})


def cost_kind(kind: CostKind) -> str:
    """How sure the cost is."""
    return {
        CostKind.REPORTED: "as OpenRouter reported it in the answer",
        CostKind.LOOKED_UP: "asked for at OpenRouter afterwards",
        CostKind.NONE: "nothing was billed",
        CostKind.UNKNOWN: "not proven: charged at what was reserved, to be corrected by reconciliation",
    }[kind]


def chain(entry: Entry, names: Mapping[str, str]) -> str:
    """The keys tried, in their order: `burst → prod-a`."""
    return " → ".join(names.get(one.key_id, "?") for one in entry.tries)
