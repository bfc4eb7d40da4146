"""The facts of one proxied request, frozen, as they pass from phase to phase."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Skin(StrEnum):
    """Which API's error shape a caller understands."""

    OPENROUTER = "openrouter"
    ANTHROPIC = "anthropic"


class RouteKind(StrEnum):
    """What the gateway does with a path."""

    FORWARD = "forward"
    CATALOGUE = "catalogue"
    ACCOUNT = "account"
    REFUSED = "refused"


class Outcome(StrEnum):
    """How a request ended for its caller."""

    SERVED = "served"
    RESCUED = "rescued"
    REFUSED = "refused"
    FAILED = "failed"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class Route:
    """A path of the gateway, understood.

    `path` is the upstream path below the base's prefix, such as `/v1/chat/completions`; `name` is its template, safe
    for logs and metrics. `owned` names the kind of object whose id (`object_id`) only its creator may use, `creates`
    the kind that a successful answer brings into the world, `lists` the kind whose objects it names.
    """

    kind: RouteKind
    path: bytes
    name: str
    skin: Skin
    inference: bool = False
    owned: str = ""
    object_id: str = ""
    creates: str = ""
    relinked: bool = False
    lists: str = ""
