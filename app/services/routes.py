"""What each path means to the gateway: one pure table from a request path to a `Route`.

Owns the map of OpenRouter's API as the gateway sees it. Knows no client, no key and no body. A path that is in no
table is forwarded: OpenRouter adds endpoints without notice.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from urllib.parse import parse_qsl, unquote_to_bytes

from app.core.errors import GatewayError
from app.models.exchange import Route, RouteKind, Skin
from app.services.skins import skin_of

# Where the data plane answers, and what stands in its place upstream (below the base URL's `/api`).
_MOUNTS: tuple[tuple[bytes, bytes], ...] = (
    (b"/api/v1/", b"/v1/"),
    (b"/v1/", b"/v1/"),
    (b"/openrouter/api/v1/", b"/v1/"),
    (b"/openrouter/v1/", b"/v1/"),
    (b"/openrouter/api/alpha/", b"/alpha/"),
    (b"/openrouter/api/beta/", b"/beta/"),
    (b"/openrouter/alpha/", b"/alpha/"),
    (b"/openrouter/beta/", b"/beta/"),
    (b"/openrouter/", b"/v1/"),
    (b"/api/alpha/", b"/alpha/"),
    (b"/api/beta/", b"/beta/"),
    (b"/alpha/", b"/alpha/"),
    (b"/beta/", b"/beta/"),
)

_INFERENCE = frozenset({
    b"chat/completions", b"completions", b"responses", b"messages", b"embeddings", b"rerank", b"images",
    b"audio/speech", b"audio/transcriptions", b"videos", b"batches", b"systemone", b"decisions",
    b"cursor/chat/completions", b"images/generations",
})  # fmt: skip

# Answered by the gateway itself: with a pool key they would show the pool's account.
_ACCOUNT = frozenset({b"key", b"auth/key", b"credits"})

_CATALOGUE = re.compile(
    rb"models|models/count|models/[^/]+/[^/]+/endpoints|model/[^/]+/[^/]+|embeddings/models|images/models"
    rb"|images/models/[^/]+/[^/]+/endpoints|videos/models|providers|endpoints/zdr"
)

_WHOSE_ACCOUNT = "This path administers the OpenRouter account behind the gateway, so it is closed to client keys."
_WHOSE_SECRETS = "This path hands out or stores credentials of the OpenRouter account, so it is closed to client keys."
_REFUSED: dict[bytes, str] = {
    **dict.fromkeys(
        (
            b"keys", b"activity", b"analytics", b"workspaces", b"guardrails", b"byok", b"observability",
            b"organization", b"scim", b"external-users", b"private-endpoints", b"interns",
        ),
        _WHOSE_ACCOUNT,
    ),
    **dict.fromkeys((b"auth", b"oauth", b"vault"), _WHOSE_SECRETS),
}  # fmt: skip
_REFUSED_EXACT: dict[bytes, str] = {
    b"generation/feedback": _WHOSE_ACCOUNT,
    b"credits/coinbase": _WHOSE_ACCOUNT,
}

# Objects that live in the pool's workspaces: only the client that made one may use it.
_OWNED: dict[bytes, str] = {b"files": "file", b"batches": "batch", b"videos": "video", b"containers": "container"}
_CREATES: dict[bytes, str] = {b"files": "file", b"batches": "batch", b"videos": "video"}
# Makes a lasting file of one in a container.
_PROMOTES = re.compile(rb"[^/]+/files/.+/promote")
_RELINKED = frozenset({b"videos", b"batches"})


def is_data_plane(path: str) -> bool:
    """Whether a path belongs to the proxy rather than to the panel."""
    return path.startswith(("/v1/", "/api/", "/openrouter/", "/alpha/", "/beta/"))


def usual_routes() -> dict[bytes, Route]:
    """Where inference without side effects is asked for, by the exact path, with any mount."""
    return {
        mount + leaf: _route("POST", upstream + leaf, leaf)
        for mount, upstream in _MOUNTS
        if upstream == b"/v1/"
        for leaf in _INFERENCE
        if leaf not in _CREATES
    }


def route_of(method: str, raw_path: bytes, query: bytes = b"") -> Route | None:
    """The meaning of a data-plane path, or None where no mount matches. `raw_path` has passed the guard."""
    route = _route_at(method, raw_path)
    if route is not None and route.owned == "generation":
        return replace(route, object_id=_query_id(query))
    return route


@lru_cache(maxsize=2048)
def _route_at(method: str, raw_path: bytes) -> Route | None:
    for mount, upstream in _MOUNTS:
        if raw_path.startswith(mount):
            leaf = raw_path[len(mount) :]
            return _route(method, upstream + leaf, _plain(leaf)) if leaf else None
    return None


def _plain(leaf: bytes) -> bytes:
    """The path as upstream may read it: one decode, no path parameters, no trailing slash.

    The bytes that are sent stay as they came; only the judgement of what they mean is made here.
    """
    return b"/".join(part.partition(b";")[0] for part in unquote_to_bytes(leaf).split(b"/")).rstrip(b"/")


def _route(method: str, path: bytes, leaf: bytes) -> Route:
    known = leaf.lower()
    first, _, _ = known.partition(b"/")
    skin = skin_of("/" + known.decode("utf-8", "replace"))
    if known in _ACCOUNT:
        return Route(RouteKind.ACCOUNT, path, known.decode(), skin)
    if known in _REFUSED_EXACT or first in _REFUSED:
        return Route(RouteKind.REFUSED, path, _REFUSED_EXACT.get(known) or _REFUSED[first], skin)
    if method in ("GET", "HEAD") and _CATALOGUE.fullmatch(known):
        return Route(RouteKind.CATALOGUE, path, first.decode(), skin)
    if method == "POST" and known in _INFERENCE:
        creates = _CREATES.get(first, "")
        return Route(
            RouteKind.FORWARD, path, known.decode(), skin, inference=True, creates=creates, relinked=first in _RELINKED
        )
    if known in (b"generation", b"generation/content"):
        return Route(RouteKind.FORWARD, path, known.decode(), skin, owned="generation")
    if first in _OWNED:
        return _owned_route(method, path, first, leaf.partition(b"/")[2], skin)
    return Route(RouteKind.FORWARD, path, _template(known), skin)


def _owned_route(method: str, path: bytes, first: bytes, rest: bytes, skin: Skin) -> Route:
    """Below `/files`, `/batches`, `/videos` and `/containers`: the list, the creation, or one object by its id."""
    creates = _CREATES.get(first, "") if method == "POST" and not rest else ""
    if method == "POST" and first == b"containers" and _PROMOTES.fullmatch(rest.lower()):
        creates = "file"
    return Route(
        RouteKind.FORWARD,
        path,
        f"{first.decode()}/{{id}}" if rest else first.decode(),
        skin,
        owned=_OWNED[first] if rest else "",
        object_id=rest.partition(b"/")[0].decode("utf-8", "replace"),
        creates=creates,
        relinked=first in _RELINKED,
        lists=_OWNED[first] if method == "GET" and not rest else "",
    )


_KNOWN_LEAVES = frozenset({
    b"models/user", b"messages/count_tokens", b"presets", b"tools", b"benchmarks", b"classifications/task",
    b"datasets/app-rankings", b"datasets/rankings-daily", b"datasets/session-cost",
})  # fmt: skip


def _template(leaf: bytes) -> str:
    """A name fit for logs and metrics: nothing a caller invents may become a label."""
    return leaf.decode() if leaf in _KNOWN_LEAVES else "other"


def _query_id(query: bytes) -> str:
    ids = [value for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True) if name.lower() == "id"]
    # Two ids would leave it to upstream which one counts: then nobody owns the question.
    return ids[0] if len(ids) == 1 else ""


def refusal(route: Route) -> GatewayError:
    """The 403 for a path that is closed to client keys."""
    return GatewayError(403, "permission_denied", route.name, "Ask the people who run the gateway, or use its panel.")
