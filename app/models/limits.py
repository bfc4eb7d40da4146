"""What a client, a group or the whole gateway may use, as frozen facts. Sizes are whole; money is nano-dollars."""

from __future__ import annotations

import hashlib
from enum import StrEnum

import msgspec


class Unit(StrEnum):
    """What is counted. `TOKENS` are input and output together."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    INPUT_TOKENS = "input_tokens"
    OUTPUT_TOKENS = "output_tokens"
    CONCURRENT = "concurrent"
    USD = "usd"


class Span(StrEnum):
    """Over which time. Minute, hour and day of a rate slide; day, week (from Monday) and month of money are UTC's."""

    NOW = "now"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    TOTAL = "total"


class Limit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`size` is how much of a unit may be used in a span."""

    unit: Unit
    span: Span
    size: int
    models: str = ""
    """Counts only calls of models that fit this pattern; empty: all."""
    each_user: bool = False
    """Counts the calls of each end user (the body's `user`) apart."""
    shadow: bool = False
    """Measures and reports, and refuses nobody."""
    raised_to: int | None = None
    raised_until: float | None = None

    @property
    def id(self) -> str:
        """The same as long as the same is counted, whatever its size: nothing is forgotten when a limit changes."""
        counted = f"{self.unit}/{self.span}/{self.models}/{self.each_user}"
        return hashlib.sha256(counted.encode()).hexdigest()[:12]

    def size_at(self, now_s: float) -> int:
        if self.raised_to is not None and self.raised_until is not None and now_s < self.raised_until:
            return max(self.size, self.raised_to)
        return self.size


class Injection(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One value that the gateway writes into calls: `field` names a body field (`user`, `provider.order`, …) or a
    header (`header:x-title`), `value` is its raw JSON text, of a header a JSON string.
    """

    field: str
    value: str
    enforced: bool = False
    """Over what the caller sent; else only where the caller sent none."""


class Terms(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What clients and groups have in common. Where several hold terms, a call must meet all of them."""

    note: str = ""
    models_allowed: tuple[str, ...] = ()
    """Patterns in which * stands for anything; none: all models."""
    models_denied: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    """Classes of paths: chat, embeddings, images, …; none: all."""
    addresses: tuple[str, ...] = ()
    """Networks that calls may come from; none: anywhere."""
    limits: tuple[Limit, ...] = ()
    alerts_at: tuple[int, ...] | None = None
    """Percents of a money limit at which somebody is told; None: the setting's."""
    injections: tuple[Injection, ...] = ()
    clamp: bool = False
    """Lowers `max_tokens` to what the money left pays for, instead of refusing."""
    keep_bodies: bool = False
    """Keeps what is asked and answered, sealed, for a short time."""


GATEWAY_GROUP = "gateway"
"""The id of the group that every client belongs to."""


class Group(Terms, frozen=True, kw_only=True, omit_defaults=True):
    """Clients that share terms, limits above all."""

    id: str
    name: str
    created_at: float = 0.0
    rev: int = 0
