"""The page of settings and of the system: what is set and where, what may be changed here, how this worker feels."""

from __future__ import annotations

import platform
import sys
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.models.alerts import Alert, AlertKind
from app.panel.context import Context, PanelContext, SignedIn
from app.panel.openrouter_forms import read_form
from app.panel.render import go, page, say
from app.panel.setting_rows import rows
from app.services.key_manager import KeyRefused
from app.services.live_settings import LIVE, checked
from app.services.switches import Switch

router: Final = APIRouter(include_in_schema=False)
PATH: Final = "/admin/settings"
_MOST_ALERTS: Final = 10


@router.get(PATH)
async def show(request: Request, ctx: Context) -> Response:
    return await _page(request, ctx, {})


@router.post(PATH)
async def change(request: Request, ctx: Context, person: SignedIn) -> Response:
    """One setting, in all workers within a second; with `default` the environment's counts again."""
    form = await read_form(request)
    name = form.get("name")
    if name not in list(Switch):
        raise KeyRefused("This setting is read at the start only.")
    switch = Switch(name)
    if form.has("default"):
        await ctx.switches.set(switch, None, person.by)
        return go(f"{PATH}#{name}", say(request, "%(name)s is what the environment says.", name=name.upper()))
    try:
        text = checked(switch, form.get("value"))
    except KeyRefused as refusal:
        return await _page(request, ctx, {name: str(refusal)}, status=422)
    if text != ctx.switches.get(switch):
        await ctx.switches.set(switch, text, person.by)
    return go(
        f"{PATH}#{name}", say(request, "%(name)s is %(value)s now, in all workers.", name=name.upper(), value=text)
    )


@router.post(f"{PATH}/alerts/test")
async def try_alert(request: Request, ctx: Context, person: SignedIn) -> Response:
    now_s = ctx.clock.wall_s()
    title = f"Test by {person.name}"
    alert = Alert(id=f"test-{now_s:.0f}", kind=AlertKind.TEST, at_s=now_s, subject="gateway", title=title)
    problem = await ctx.alerts.try_out(alert)
    return go(f"{PATH}#alerts", problem or say(request, "The test was delivered."))


async def _page(request: Request, ctx: PanelContext, errors: dict[str, str], *, status: int = 200) -> Response:
    health = await ctx.look()
    values: dict[str, Any] = {
        "groups": rows(ctx.settings, {switch: ctx.switches.get(switch) for switch in LIVE}),
        "errors": errors,
        "health": health,
        "checks": _readiness(health),
        "vitals": ctx.vitals,
        "redis": await ctx.vitals.redis_facts(),
        "extent": await ctx.ledger.extent(),
        "in_flight": sum(ctx.pool.in_flight().values()),
        "workers": ctx.settings.workers,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "sealed": sys.flags.isolated,
        "alerts": await ctx.alerts.kept(_MOST_ALERTS),
        "waiting": await ctx.alerts.waiting(),
        "receiver": bool(ctx.settings.webhook_url),
        "upstream": f"{ctx.settings.upstream.scheme}://{ctx.settings.upstream.host}",
    }
    return page(request, "settings.html", values, status=status)


def _readiness(health: Any) -> list[tuple[str, bool]]:
    """What /readiness asks, line by line."""
    return [
        ("Redis answers", health.redis_ms is not None),
        ("The keys are loaded", health.loaded),
        ("Redis is the one that holds the keys", not health.store_reset),
        ("The gateway is not being stopped", not health.draining),
        ("An OpenRouter key is ready", health.openrouter_keys.get("ready", 0) > 0),
        ("OpenRouter refuses no good keys", not health.incident),
    ]
