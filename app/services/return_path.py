"""Where a browser goes after signing in: only to an own page. Pure."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote

HOME: Final = "/admin"
_LONGEST: Final = 1000
# A page of the panel, plainly written: what two readers could take for another host has no place in it.
_OWN: Final = re.compile(r"/admin(?:/[A-Za-z0-9._~:@-]+)*/?(?:\?[A-Za-z0-9._~:@/?&=+%,;!*'()$-]*)?")


def return_path(wanted: str) -> str:
    """The wanted page if it is one of the panel, else the overview."""
    if len(wanted) > _LONGEST or not _OWN.fullmatch(wanted):
        return HOME
    path, _, query = wanted.partition("?")
    if any(part in (".", "..") for part in path.split("/")) or path.startswith("/admin/api"):
        return HOME
    # Decoded as often as anybody might: no line break and no other control character may come out.
    for _ in range(3):
        query = unquote(query)
        if not query.isprintable():
            return HOME
    return wanted


def login_path(path: str, query: str = "") -> str:
    """The login page, which leads back to where somebody wanted to go."""
    wanted = return_path(f"{path}?{query}" if query else path)
    return "/login" if wanted == HOME else f"/login?next={quote(wanted, safe='')}"
