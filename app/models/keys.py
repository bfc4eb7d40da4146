"""The two kinds of keys as frozen facts, as they are stored. No secret in plain ever stands here."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from app.models.limits import Terms


class KeyState(StrEnum):
    ENABLED = "enabled"
    DISABLED = "disabled"
    REVOKED = "revoked"


class KeyKind(StrEnum):
    """What `GET /key` said of an OpenRouter key. Only inference and not yet verified keys serve calls."""

    UNVERIFIED = "unverified"
    INFERENCE = "inference"
    MANAGEMENT = "management"


USUAL_WEIGHT: Final = 100
"""So high that a tenth of it can be expressed."""


class OpenRouterKey(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A key of the pool. `id` is the SHA-256 of the whole key in lower-case hex: OpenRouter's own id for it."""

    id: str
    sealed: str
    masked: str
    label: str = ""
    note: str = ""
    state: KeyState = KeyState.ENABLED
    kind: KeyKind = KeyKind.UNVERIFIED
    added_at: float = 0.0
    tags: tuple[str, ...] = ()
    """Clients that are bound to tags may use the keys that have one of them."""
    weight: int = USUAL_WEIGHT
    """Its share of the calls, up to 1000. 0: only where no other key can serve."""
    tier: int = 0
    """With the strategy of tiers, the lowest goes first."""
    models_allowed: tuple[str, ...] = ()
    """Patterns in which * stands for anything; none: all models."""
    models_denied: tuple[str, ...] = ()
    max_rpm: int | None = None
    max_in_flight: int | None = None
    max_day_nano: int | None = None
    account: str = ""
    """Set by hand; else probes find out."""
    predecessors: tuple[str, ...] = ()
    """The keys that were renewed into this one, the last one last: it answers for what they have made."""
    rev: int = 0

    @property
    def serves(self) -> bool:
        """Whether calls may run on it."""
        return self.state is KeyState.ENABLED and self.kind is not KeyKind.MANAGEMENT


class OldSecret(msgspec.Struct, frozen=True):
    """A secret that was replaced, and goes on being good until a time."""

    digest: str
    masked: str
    until_s: float


class ClientKey(Terms, frozen=True, kw_only=True, omit_defaults=True):
    """A caller of the gateway. `digest` is the keyed hash (hex) of its secret, `masked` what people may see."""

    id: str
    name: str
    digest: str
    masked: str
    owner: str = ""
    group: str = ""
    """A group's id, or empty."""
    state: KeyState = KeyState.ENABLED
    created_at: float = 0.0
    expires_at: float | None = None
    old_secrets: tuple[OldSecret, ...] = ()
    tags: tuple[str, ...] = ()
    """Its calls run only on keys with one of these tags; none: on any key."""
    trace: bool = False
    """Whether its answers tell which keys were tried."""
    rev: int = 0
