"""A deed of the audit as a row: who, from where, on what page, and what changed. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from app.services.audit_chain import Deed

_BY: Final = re.compile(r"(?P<name>.*) \((?P<how>[^()]*)\)")
_PAGES: Final = {
    "client": "/admin/client-keys/",
    "group": "/admin/groups/",
    "request": "/admin/requests/",
}


@dataclass(frozen=True, slots=True)
class Change:
    """One field before and after; empty where it was not set."""

    field: str
    before: str
    after: str


def who(by: str) -> tuple[str, str]:
    """The name, and how they came: `("ana", "panel, 10.0.0.5, 3f9a1c")`."""
    found = _BY.fullmatch(by)
    return (found["name"], found["how"]) if found else (by, "")


def page_of(deed: Deed) -> str:
    """Where what it was done to is shown; nothing for what has no page."""
    if deed.kind in ("openrouter", "mark") and re.fullmatch(r"[0-9a-f]{64}", deed.id):
        return f"/admin/openrouter-keys/{deed.id[:16]}"
    base = _PAGES.get(deed.kind, "")
    return f"{base}{deed.id}" if base and re.fullmatch(r"[A-Za-z0-9_.-]{1,200}", deed.id) else ""


def changes(deed: Deed) -> list[Change]:
    """Field by field where both texts are objects; else as they stand."""
    before, after = _fields(deed.before), _fields(deed.after)
    if before is None or after is None:
        return [Change("", deed.before, deed.after)] if deed.before or deed.after else []
    names = dict.fromkeys((*before, *after))
    return [Change(name, _text(before.get(name)), _text(after.get(name))) for name in names]


def _fields(text: str) -> dict[str, Any] | None:
    if not text:
        return {}
    try:
        found = msgspec.json.decode(text)
    except msgspec.MsgspecError:
        return None
    return found if isinstance(found, dict) else None


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
