"""Which class of endpoints a path belongs to, in the words of a client's terms. Pure; knows no client and no body."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote_to_bytes

from app.models.exchange import Route, RouteKind

ALL: Final = "all"
"""Stands in a list for every class that is not only given by name."""
WORKSPACE_TOOLS: Final = "workspace_tools"
"""Not a path: tools that see what all clients of a workspace keep there. Only given by name."""
ACCOUNT: Final = "account"
CATALOGUE: Final = "catalogue"
OTHER: Final = "other"
PRESETS: Final = "presets"

# By the first part of a path, but for what its names below say.
_BY_PART: Final[dict[str, str]] = {
    **dict.fromkeys(("chat", "completions", "responses", "messages", "cursor"), "chat"),
    "embeddings": "embeddings",
    "rerank": "rerank",
    "images": "images",
    "audio": "audio",
    "videos": "video",
    "batches": "batches",
    **dict.fromkeys(("systemone", "decisions"), "decisions"),
    "moderations": "moderation",
    "files": "files",
    "containers": "containers",
    "generation": "generations",
    "presets": PRESETS,
    **dict.fromkeys(("benchmarks", "classifications", "datasets"), "datasets"),
    **dict.fromkeys(("models", "model", "providers", "endpoints", "tools"), CATALOGUE),
    **dict.fromkeys(("key", "credits"), ACCOUNT),
}

OPEN: Final = frozenset({ACCOUNT, CATALOGUE})
"""Whoever has a key may ask for these: what models there are, and what the key itself may use."""
ENDPOINT_CLASSES: Final = frozenset({*_BY_PART.values(), OTHER, ALL, WORKSPACE_TOOLS})
"""What can stand in a list."""


def writes_preset(route: Route) -> bool:
    """`POST /presets/{slug}/chat/completions` and the like: it looks like inference, and stores the body for others."""
    if route.name != OTHER or endpoint_class(route) != PRESETS:
        return False
    below = [part.partition(b";")[0] for part in unquote_to_bytes(route.path).split(b"/")[3:]]
    return len(below) > 1 and below[1].lower() not in (b"", b"versions")


def endpoint_class(route: Route) -> str:
    if route.kind is RouteKind.CATALOGUE:
        return CATALOGUE
    if route.kind is RouteKind.ACCOUNT:
        return ACCOUNT
    if route.kind is RouteKind.REFUSED:
        return OTHER
    part = route.name.partition("/")[0]
    if part == OTHER:  # a name for logs: the path says more
        part = unquote_to_bytes(route.path).split(b"/", 3)[2].partition(b";")[0].decode("ascii", "replace").lower()
    return _BY_PART.get(part, OTHER)
