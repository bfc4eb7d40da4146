"""What a client has used, as figures of one moment. Amounts are integer nano-dollars."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spent:
    """Costs that OpenRouter reported for a client's calls: in all, and since this day, week (Monday), month began."""

    total_nano: int = 0
    day_nano: int = 0
    week_nano: int = 0
    month_nano: int = 0
