"""The alerts on the page of settings: what is due, told and silenced, who hears of it, and the deeds on them."""

from __future__ import annotations

import math
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.models.alerts import ALL, AlertKind
from app.panel.context import Context, PanelContext, SignedIn
from app.panel.openrouter_forms import read_form
from app.panel.render import go, say
from app.services.alert_states import LONGEST_SILENCE_H, may_be_silenced
from app.services.key_names import KeyRefused
from app.services.live_settings import value_of
from app.services.switches import Switch

router: Final = APIRouter(include_in_schema=False)
PATH: Final = "/admin/settings/alerts"
_BACK: Final = "/admin/settings#alerts"
_MOST_ACTIVE: Final = 20
_MOST_KEPT: Final = 10
_HOURS: Final = (1, 4, 8, 24, 72, 168)


async def alerts_shown(ctx: PanelContext) -> dict[str, Any]:
    """The values of the section, for one round trip to Redis."""
    board = await ctx.alerts.board()
    return {
        "active": board.active[:_MOST_ACTIVE],
        "active_more": max(0, len(board.active) - _MOST_ACTIVE),
        "kept": board.kept[:_MOST_KEPT],
        "silences": board.silences,
        "waiting": board.waiting,
        "receivers": ctx.alerts.receivers,
        "alert_at": value_of(ctx.settings, ctx.switches.get, Switch.ALERT_AT),
        "silence_what": (ALL, *(kind.value for kind in AlertKind if kind is not AlertKind.TEST)),
        "silence_hours": _HOURS,
    }


@router.post(f"{PATH}/test")
async def try_alert(request: Request, ctx: Context, person: SignedIn) -> Response:
    """To one receiver, or to all."""
    receiver = (await read_form(request)).get("receiver")
    problem = await ctx.alerts.try_out(ctx.alerts.test_alert(person.name), receiver)
    return go(_BACK, problem or say(request, "The test was delivered."))


@router.post(f"{PATH}/silence")
async def silence(request: Request, ctx: Context, person: SignedIn) -> Response:
    """For so many hours; 0 end it."""
    form = await read_form(request)
    what, hours = form.get("what"), _hours(form.get("hours"))
    if hours and not may_be_silenced(what, await ctx.alerts.active()):
        raise KeyRefused("This is neither an alert that is due nor a kind of alert.")
    await ctx.alerts.silence(what, hours, by=person.by)
    if not hours:
        return go(_BACK, say(request, "%(what)s is told again.", what=what))
    return go(_BACK, say(request, "Nothing of %(what)s is sent for %(hours)s h.", what=what, hours=f"{hours:g}"))


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = math.nan
    if not 0 <= hours <= LONGEST_SILENCE_H:
        raise KeyRefused(f"Hours are a number from 0 to {LONGEST_SILENCE_H}.")
    return hours
