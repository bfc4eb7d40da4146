"""Renewal of OpenRouter keys as frozen facts: what OpenRouter lists, what a key is to have, what the journal holds.

Money is in nano-dollars, instants are wall-clock seconds since the epoch. A secret stands here only sealed.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from app.models.keys import USUAL_WEIGHT, KeyState


class ListedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key as OpenRouter's management API describes it. `id` is the SHA-256 that OpenRouter calls its hash."""

    id: str
    name: str
    label: str = ""
    disabled: bool = False
    limit_nano: int | None = None
    limit_remaining_nano: int | None = None
    limit_reset: str = ""
    include_byok: bool = False
    created_at: float = 0.0
    expires_at: float | None = None
    creator: str = ""
    workspace: str = ""


class Terms(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a key is created with. `name` is without a renewal's mark; a life time instead of an instant, so that a
    successor lives as long as its predecessor did.
    """

    name: str
    limit_nano: int | None = None
    limit_reset: str = ""
    include_byok: bool = False
    workspace: str = ""
    lifetime_s: float | None = None
    guardrail: str = ""
    creator: str = ""
    """Only for keys of an organization, where the member who creates a key decides about budgets."""


class Kind(StrEnum):
    """What an entry of the journal is about."""

    RENEW = "renew"
    CREATE = "create"
    RETIRE = "retire"
    REVOKE = "revoke"


class Step(StrEnum):
    """What is to be done next."""

    CREATE = "create"
    GUARD = "guard"
    VERIFY = "verify"
    INTRODUCE = "introduce"
    SHIFT = "shift"
    DRAIN = "drain"
    DISABLE = "disable"
    QUARANTINE = "quarantine"
    DELETE = "delete"
    REVOKE = "revoke"
    UNDO = "undo"
    CLEAR = "clear"
    DONE = "done"
    UNDONE = "undone"


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How fast a renewal goes on."""

    stage_s: float = 60.0
    quarantine_s: float = 86_400.0


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One deed that takes several steps. `key` leaves, `successor` comes; either may be missing."""

    kind: Kind
    step: Step
    key: str = ""
    admin: str = ""
    """The id of the management key that may do it."""
    terms: Terms | None = None
    name: str = ""
    """What the successor is called at OpenRouter: no other key ever has this name."""
    successor: str = ""
    sealed: str = ""
    """The successor's secret, until it is in the pool."""
    weight: int = USUAL_WEIGHT
    state: KeyState = KeyState.ENABLED
    """What the leaving key was before."""
    stage: int = 0
    pace: Pace = Pace()
    by: str = ""
    began_s: float = 0.0
    since_s: float = 0.0
    due_s: float = 0.0
    failures: int = 0
    problem: str = ""
    """Why it does not go on at the moment."""
    reason: str = ""
    """Why it was taken back."""
    owner: str = ""
    owned_until_s: float = 0.0
    rev: int = 0

    @property
    def id(self) -> str:
        """One deed of a kind at a time for each key."""
        return f"{self.kind.value}:{self.key or self.name}"

    @property
    def is_open(self) -> bool:
        return self.step not in {Step.DONE, Step.UNDONE}


class ManagedKey(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A pool key that the gateway may renew unattended, and the terms that it is to keep."""

    id: str
    admin: str
    terms: Terms
    created_at: float
    expires_at: float | None = None
    by: str = ""
    rev: int = 0
