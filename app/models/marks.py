"""What an outcome says about whom, as frozen facts: verdicts of the judge and the marks that follow from them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec


class Scope(StrEnum):
    """What a mark is about. Its subject: a key's id, an account, a workspace, `<account> <family>`, a model's slug."""

    KEY = "key"
    ACCOUNT = "account"
    WORKSPACE = "workspace"
    FAMILY = "family"
    MODEL = "model"


class MarkKind(StrEnum):
    """`COOL` returns by time, `SPENT` by time or when a probe sees money, `DISABLED` by hand, `CHECK` asks a probe."""

    COOL = "cool"
    SPENT = "spent"
    DISABLED = "disabled"
    CHECK = "check"


class Blame(StrEnum):
    """Whose fault an outcome is."""

    NOBODY = "nobody"
    CLIENT = "client"
    GATEWAY = "gateway"
    KEY = "key"
    ACCOUNT = "account"
    PROVIDER = "provider"
    NETWORK = "network"


class Move(StrEnum):
    """Where the same call may be tried next, before anything of the answer went to the caller."""

    NONE = "none"
    KEY = "key"
    """Another key, of the same account or another one."""
    WORKSPACE = "workspace"
    """A key of another workspace."""
    ACCOUNT = "account"
    """A key of another account."""
    AGAIN = "again"
    """The same key or another one: nothing was sent, or upstream says that a plain retry helps."""


class Family(StrEnum):
    """Models that share one quota of an account."""

    PAID = "paid"
    FREE = ":free"


@dataclass(frozen=True, slots=True)
class Ban:
    """A mark before it is known whom it hits: the judge knows scopes, the pool knows names. `until_s` is wall-clock
    seconds since the epoch.
    """

    scope: Scope
    kind: MarkKind
    until_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason` is a short code for logs and traces; `retry_after_s` is what upstream asks of callers."""

    move: Move = Move.NONE
    bans: tuple[Ban, ...] = ()
    blame: Blame = Blame.NOBODY
    reason: str = "served"
    retry_after_s: float | None = None
    unbilled: bool = False
    """The outcome proves that nothing was billed, so that a call may be repeated."""


class Mark(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A ban in force, as it is stored and shared. Times are wall-clock seconds since the epoch."""

    scope: Scope
    subject: str
    kind: MarkKind
    until_s: float
    reason: str
    at_s: float
    by: str = ""
