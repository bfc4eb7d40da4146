"""What calls have used, as figures of one moment. Amounts are integer nano-dollars."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer says that it cost. `cost_nano` is None where the answer names no cost; details are parts of input
    and output, not beside them.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    audio_tokens: int = 0
    image_tokens: int = 0
    cost_nano: int | None = None
    upstream_nano: int = 0
    """What the provider charges the owner of a key of his own (BYOK), beside `cost_nano`."""
    flags: tuple[str, ...] = ()
    """What was wrong with the figures, in short codes; what is flagged was replaced by rule."""


@dataclass(frozen=True, slots=True)
class Spent:
    """Costs that OpenRouter reported for a client's calls: in all, and since this day, week (Monday), month began."""

    total_nano: int = 0
    day_nano: int = 0
    week_nano: int = 0
    month_nano: int = 0
