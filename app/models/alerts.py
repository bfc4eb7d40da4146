"""Something that a person should hear of, as it is kept and sent: events, and states with a begin and an end.

Holds no secret.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec


class AlertKind(StrEnum):
    """The first four are events, each told once; the others are states, which last until they end."""

    BUDGET = "budget"
    KEY_USED_ELSEWHERE = "key_used_elsewhere"
    BOOKS_DIFFER = "books_differ"
    TEST = "test"
    KEY_SPENT = "key_spent"
    KEY_DEAD = "key_dead"
    KEY_DISABLED = "key_disabled"
    KEY_EXPIRING = "key_expiring"
    POOL_LOW = "pool_low"
    UPSTREAM_INCIDENT = "upstream_incident"
    REDIS_AWAY = "redis_away"
    REDIS_UNSAFE = "redis_unsafe"
    REDIS_FULL = "redis_full"
    JOURNAL_GROWING = "journal_growing"
    ROTATION_FAILED = "rotation_failed"
    LOGIN_LOCKOUT = "login_lockout"

    @property
    def runbook(self) -> str:
        """Where the documentation says what it means and what to do."""
        return f"docs/alerts.md#{self.value}"


class Gravity(StrEnum):
    """How soon somebody must look. GOOD: a state has ended."""

    BAD = "bad"
    WARN = "warn"
    GOOD = "good"


class Alert(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`id` is the same for the same event, whoever notices it and however often. `subject` is the id it is about."""

    id: str
    kind: AlertKind
    at_s: float
    subject: str
    title: str
    text: str = ""
    gravity: Gravity = Gravity.WARN
    place: str = ""
    """The path of the panel where it is seen and mended."""
    until_s: float = 0.0
    """Until when an event is worth a look; 0: for its kind's usual time."""


class Condition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is not as it should be, as one look has found it. It must hold for `hold_s` before anybody is told."""

    kind: AlertKind
    subject: str
    title: str
    text: str = ""
    gravity: Gravity = Gravity.WARN
    place: str = ""
    hold_s: float = 0.0

    @property
    def id(self) -> str:
        return f"{self.kind.value}:{self.subject}"


class Episode(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A condition in time. It is kept for the cool-down after its end, so that the same is not told again."""

    condition: Condition
    since_s: float
    gone_s: float = 0.0
    """When it was first missing; 0: it holds."""
    is_open: bool = True
    is_told: bool = False
    """Whether anybody was told of this run of it."""
    told_s: float = 0.0
    told_gravity: Gravity | None = None
    number: int = 0
    """How often it was told."""


class ActiveAlert(msgspec.Struct, frozen=True, kw_only=True):
    """What is due now: a state that lasts, or an event that is still worth a look."""

    id: str
    kind: AlertKind
    subject: str
    title: str
    text: str
    gravity: Gravity
    place: str
    since_s: float
    is_told: bool
    silenced_until_s: float = 0.0
    """0: it is not silenced."""


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """`what`: the id of an alert, a kind, or ALL. Nothing of it is sent until then; it is seen all the same."""

    what: str
    until_s: float
    by: str = ""


ALL: Final = "all"
"""Every alert, for a silence."""
