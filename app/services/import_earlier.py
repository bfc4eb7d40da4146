"""What of an earlier middleware's keys can be carried over: all that was set of them, and no secret. Pure."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from app.services.import_report import Entry, Imported, fit_line

_HASH: Final = re.compile(r"[0-9a-f]{64}")
_SHORT: Final = 8
_FALSE: Final = frozenset({"false", "0", "no", "none", ""})
_ENDPOINTS: Final = {
    "chat.completions": "chat",
    "completions": "chat",
    "models.list": "catalogue",
    "embeddings": "embeddings",
    "images.generate": "images",
}
_NEW_SECRETS: Final = (
    "Client keys: only a plain SHA-256 of each was kept, and they have no prefix and no checksum, so they cannot go on",
    "working here. `apply` makes a new secret for each client: hand those out before you switch.",
    "Rate limits and permissions were shown and never enforced. Here they hold: look at them before you apply.",
)


@dataclass(slots=True)
class Earlier:
    """The records as they were stored, by their hashes."""

    clients: dict[str, dict[str, str]] = field(default_factory=dict)
    keys: dict[str, dict[str, str]] = field(default_factory=dict)
    active: set[str] = field(default_factory=set)


def imported_from(earlier: Earlier) -> Imported:
    """The keys of OpenRouter are only told of: whoever has them adds them."""
    users = Counter(_user(record) for record in earlier.clients.values())
    ordered = sorted(earlier.clients.items(), key=lambda pair: (pair[1].get("created_at", ""), pair[0]))
    clients = [_client(digest, record, alone=users[_user(record)] == 1) for digest, record in ordered]
    return Imported(clients=clients, lost=[*_lost_keys(earlier), *(_NEW_SECRETS if clients else ())])


def _client(digest: str, record: Mapping[str, str], *, alone: bool) -> Entry:
    user = _user(record)
    name = user if user and alone else f"{user or 'client'} ({digest[:_SHORT]})"
    entry = Entry({"name": name, "state": "enabled" if _is_on(record) else "disabled"})
    if user:
        entry.view["owner"] = user
    entry.view["note"] = fit_line(f"from the earlier middleware: key {digest[:_SHORT]}… of {_when(record) or 'old'}")
    limit = record.get("rate_limit", "").strip()
    if limit.isdecimal() and int(limit):
        entry.limit(f"requests/hour={int(limit)}")
    elif limit and limit.lower() not in _FALSE:
        entry.hold(f"its rate limit was {fit_line(limit)!r}")
    _permit(entry, record.get("permissions", ""))
    used = record.get("usage_count", "0")
    if used not in ("", "0"):
        entry.notes.append(f"it was used {fit_line(used)} times, last {fit_line(record.get('last_used'), 'unknown')}")
    return entry


def _permit(entry: Entry, text: str) -> None:
    given = _listed(text)
    classes = [_ENDPOINTS[one] for one in given if one in _ENDPOINTS]
    unknown = [one for one in given if one not in _ENDPOINTS]
    if classes:
        entry.view["endpoints"] = sorted(set(classes))
    elif not given:
        entry.notes.append("no permissions were set, and none were enforced: it may use every path")
    if unknown:
        entry.notes.append(f"permissions of another name are left out: {fit_line(', '.join(unknown))}")
        if not classes:
            entry.hold("none of its permissions is known here")


def _lost_keys(earlier: Earlier) -> list[str]:
    digests = sorted({*earlier.keys, *(one for one in earlier.active if _HASH.fullmatch(one))})
    if not digests:
        return []
    told = [
        f"{len(digests)} OpenRouter keys: only their SHA-256 was kept, and no key can be made from that.",
        "Add them from where you have them (`keys import`), or make new ones. The SHA-256 is the id of the key, at",
        "OpenRouter and here (`keys list --json`):",
    ]
    for digest in digests:
        record = earlier.keys.get(digest)
        words = [digest, "active" if digest in earlier.active else "not active"]
        if record is None:
            words.append("without a record")
        elif added := _when(record):
            words.append(f"of {added}")
        told.append("  " + ", ".join(words))
    return told


def _user(record: Mapping[str, str]) -> str:
    return fit_line(record.get("user_id") or record.get("user"))


def _is_on(record: Mapping[str, str]) -> bool:
    return record.get("is_active", record.get("active", "true")).strip().lower() not in _FALSE


def _when(record: Mapping[str, str]) -> str:
    return fit_line(record.get("created_at") or record.get("added_at"))[:10]


def _listed(text: str) -> list[str]:
    """A list as JSON, as Python prints it, or between commas."""
    text = text.strip()
    found: Any = None
    if text[:1] in ("[", "(", "{"):
        try:
            found = msgspec.json.decode(text)
        except msgspec.DecodeError:
            try:
                found = ast.literal_eval(text)
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                found = None
    words = found if isinstance(found, list | tuple | set) else text.strip("[](){}").split(",")
    return [word for one in words if (word := str(one).strip().strip("\"'"))]
