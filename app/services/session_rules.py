"""Whether a session still counts, and how freshly its person has proved who they are. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from app.models.accounts import Account, SessionRecord

TOUCH_EVERY_S: Final = 60
PROOF_LASTS_S: Final = 600
"""How long after a password or a passkey the next one is not asked for."""


class End(StrEnum):
    """Why a session no longer counts."""

    IDLE = "idle"
    OLD = "old"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """`idle_s` since the last request, `absolute_s` since the sign-in."""

    idle_s: float
    absolute_s: float


def timed_out(session: SessionRecord, timeouts: Timeouts, now_s: float) -> End | None:
    if now_s - session.created_s >= timeouts.absolute_s:
        return End.OLD
    # A session is seen at most once a minute, so that what was seen may be a minute older than what was.
    if now_s - session.seen_s >= timeouts.idle_s:
        return End.IDLE
    return None


def belongs(session: SessionRecord, account: Account | None) -> bool:
    """Whether the account still is the one that signed in: there, enabled, and unchanged since."""
    return account is not None and not account.disabled and account.epoch == session.epoch


def recently_proved(session: SessionRecord, now_s: float) -> bool:
    return now_s - session.proved_s < PROOF_LASTS_S


def touch_due(session: SessionRecord, now_s: float) -> bool:
    return now_s - session.seen_s >= TOUCH_EVERY_S
