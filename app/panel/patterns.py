"""Every word and plot of the pages in every state, on one page, by day and by night: for whoever builds them."""

from __future__ import annotations

from collections.abc import Iterator
from math import pi, sin
from typing import Any, Final

from fastapi import APIRouter, Request
from msgspec.structs import replace
from starlette.responses import Response

from app.models.ledger import Entry, TryMade
from app.panel.context import Context
from app.panel.render import page

router: Final = APIRouter()

_HOUR_S: Final = 3600
_DAY_S: Final = 86_400
_NANO: Final = 10**9


@router.get("/admin/_patterns")
async def show(request: Request, ctx: Context) -> Response:
    return page(request, "patterns.html", specimens(ctx.clock.wall_s()))


def specimens(now_s: float) -> dict[str, Any]:
    """Samples that look like a life, the same each time but for the hour."""
    hour = now_s - now_s % _HOUR_S
    day = now_s - now_s % _DAY_S
    hours = [hour - _HOUR_S * (23 - place) for place in range(24)]
    waves = [40 + 25 * sin(place * pi / 12) for place in range(24)]
    return {
        "strips": {name: list(_minutes(trouble)) for name, trouble in (("calm", 0), ("burst", 9), ("old", 3))}
        | {"unused": [(0, 0, 0)] * 60},
        "steps": [
            (at_s, int(wave), int(wave / 9) if place % 5 == 0 else 1, 6 if place == 15 else 0, place % 3)
            for place, (at_s, wave) in enumerate(zip(hours, waves, strict=True))
        ],
        "nothing": [(at_s, 0, 0, 0, 0) for at_s in hours],
        "hours": hours,
        "waves": waves,
        "gaps": [None if 8 <= place <= 11 else wave * 1.6 for place, wave in enumerate(waves)],
        "calls": _calls(now_s),
        "names": {"k1": "burst", "k2": "prod-a"},
        "field": [
            (f"{hour_:02d}", [int(9 + 8 * sin(hour_ / 4 + day_)) if hour_ > 5 else 0 for day_ in range(24)])
            for hour_ in range(0, 24, 4)
        ],
        "minutes": [(f"{hour_:02d}:00", list(_minutes(hour_ * 2 + 1))) for hour_ in range(3)],
        "days": [(day - _DAY_S * place, (place * 37 % 11) * _NANO // 3) for place in range(84)],
    }


def _minutes(trouble: int) -> Iterator[tuple[int, int, int]]:
    for minute in range(60):
        hit = bool(trouble) and minute % trouble == 0
        yield (0, 0, 0) if minute % 17 == 3 else (12, int(hit), int(hit and minute % 2) * 3)


def _calls(now_s: float) -> list[tuple[str, Entry]]:
    first, answered = TryMade("k1", "429 rate_limited", 118.0), TryMade("k2", "200", 520.0)
    served = Entry(
        id="1-1", request_id="req_sample", at_s=now_s, client_id="c", overhead_ms=2.1, tries=(answered,),
        outcome="served", first_token_ms=523.0, duration_ms=1800.0,
    )  # fmt: skip
    in_vain = (first, TryMade("gone", "502 provider", 900.0))
    rescued = replace(served, tries=(first, answered), outcome="rescued", first_token_ms=642.0, duration_ms=2410.0)
    failed = replace(served, tries=in_vain, outcome="failed", first_token_ms=0.0, duration_ms=1021.0)
    refused = replace(served, tries=(), outcome="refused", first_token_ms=0.0, duration_ms=2.1)
    return [(entry.outcome, entry) for entry in (served, rescued, failed, refused)]
