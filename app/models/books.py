"""How the gateway's books compare with OpenRouter's, for one key and one day, as it is stored and shown."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Finding(StrEnum):
    """`ELSEWHERE`: more was spent than went through here. `TOO_MUCH`: the books say more than upstream does.
    `CORRECTED`: so they did, by calls whose cost was unknown. `NOT_COMPARED`: nobody told what upstream has booked.
    """

    AGREES = "agrees"
    ELSEWHERE = "elsewhere"
    TOO_MUCH = "too_much"
    CORRECTED = "corrected"
    NOT_COMPARED = "not_compared"


class Comparison(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Amounts are nano-dollars. `day` is a UTC day; `source` says where `theirs_nano` comes from."""

    day: str
    key_id: str
    finding: Finding
    own_nano: int = 0
    theirs_nano: int | None = None
    unknown_nano: int = 0
    """What of the own sum was charged without proof."""
    source: str = ""
    at_s: float = 0.0
