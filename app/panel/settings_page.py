"""The page of settings and of the system: what is set and where, what may be changed here, how this worker feels."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.panel.context import Context, PanelContext, SignedIn
from app.panel.entry import Access, ask_again, end_sessions
from app.panel.openrouter_forms import read_form
from app.panel.render import go, page, say
from app.panel.setting_rows import chosen, rows
from app.panel.settings_alerts import alerts_shown
from app.panel.system_view import persistence, readiness, service, tasks, warnings
from app.services.access import PanelAccess
from app.services.key_names import KeyRefused
from app.services.live_settings import LIVE, checked
from app.services.switches import Switch

router: Final = APIRouter(include_in_schema=False)
PATH: Final = "/admin/settings"


@router.get(PATH)
async def show(request: Request, ctx: Context, access: Access) -> Response:
    return await _page(request, ctx, access)


@router.post(PATH)
async def change(request: Request, ctx: Context, access: Access, person: SignedIn) -> Response:
    """One setting, in all workers within a second; with `default` the environment's counts again."""
    form = await read_form(request)
    name = form.get("name")
    if name not in list(Switch):
        raise KeyRefused("This setting is read at the start only.")
    switch = Switch(name)
    if form.has("default"):
        await switch_to(ctx, switch, None, by=person.by)
        return go(f"{PATH}#{name}", say(request, "%(name)s is what the environment says.", name=name.upper()))
    try:
        text = checked(switch, form.get("value"))
    except KeyRefused as refusal:
        typed = {name: form.get("value")[:1000]}
        return await _page(request, ctx, access, errors={name: str(refusal)}, typed=typed, status=422)
    await switch_to(ctx, switch, text, by=person.by)
    told = say(request, "%(name)s is %(value)s now, in all workers.", name=name.upper(), value=text)
    return go(f"{PATH}#{name}", told)


async def switch_to(ctx: PanelContext, switch: Switch, text: str | None, *, by: str) -> None:
    """A checked value, or None for what the environment says. What is so already is no deed."""
    if text != ctx.switches.get(switch) and (text is None or text != _given(ctx, switch)):
        await ctx.switches.set(switch, text, by)


def _given(ctx: PanelContext, switch: Switch) -> str | None:
    """What the environment says, where nobody has switched it: to say the same again is no deed."""
    if ctx.switches.get(switch) is not None:
        return None
    return next(row.value for _, own in rows(ctx.settings, {}) for row in own if row.name == switch.value)


@router.post(f"{PATH}/reset")
async def reset(request: Request, ctx: Context, access: Access, person: SignedIn) -> Response:
    """Everything that was switched is what the environment says again: a deed for each."""
    if (again := ask_again(request, access, PATH)) is not None:
        return again
    await reset_all(ctx, by=person.by)
    return go(PATH, say(request, "All settings are what the environment says."))


async def reset_all(ctx: PanelContext, *, by: str) -> None:
    for switch in LIVE:
        await switch_to(ctx, switch, None, by=by)


@router.post(f"{PATH}/sign-out")
async def sign_out(request: Request, ctx: Context, access: Access, person: SignedIn) -> Response:
    """Everybody but this session: one deed for each account that was signed in."""
    if (again := ask_again(request, access, PATH)) is not None:
        return again
    own = request.state.session
    for account in await access.accounts.every():
        await end_sessions(access, account.id, but="" if own is None else own.digest, by=person.by)
    return go(PATH, say(request, "Everybody else is signed out."))


async def _page(
    request: Request,
    ctx: PanelContext,
    access: PanelAccess,
    *,
    errors: Mapping[str, str] | None = None,
    typed: Mapping[str, str] | None = None,
    status: int = 200,
) -> Response:
    words = request.query_params.get("q", "").strip()[:100]
    only_set = request.query_params.get("show") == "set"
    groups = rows(ctx.settings, {switch: ctx.switches.get(switch) for switch in LIVE})
    values: dict[str, Any] = {
        "groups": chosen(groups, words, only_set=only_set),
        "switched": sum(row.source == "panel" for _, own in groups for row in own),
        "words": words,
        "only_set": only_set,
        "errors": errors or {},
        "typed": typed or {},
        **await _system(request, ctx),
        **await _people(request, access),
        **await alerts_shown(ctx),
    }
    return page(request, "settings.html", values, status=status, part="system")


async def _system(request: Request, ctx: PanelContext) -> dict[str, Any]:
    now_s, vitals = ctx.clock.wall_s(), ctx.vitals
    health, redis = await ctx.look(), await vitals.redis_facts()
    secure, host = bool(getattr(request.state, "secure", False)), request.url.hostname or ""
    probed_s = max((one.probed_at for one in ctx.facts.every.values()), default=0.0)
    return {
        "health": health,
        "ready_lines": readiness(health),
        "service_lines": service(health),
        "risks": warnings(ctx.settings, health, redis, secure=secure, host=host),
        "vitals": vitals,
        "redis": redis,
        "persists": persistence(redis, now_s),
        "workers": await vitals.workers(),
        "configured": ctx.settings.workers,
        "journals": await vitals.journals(),
        "tasks": tasks(vitals.beats.every, now_s),
        "extent": await ctx.ledger.extent(),
        "in_flight": sum(ctx.pool.in_flight().values()),
        "streams": len(request.app.state.news) if hasattr(request.app.state, "news") else 0,
        "dropped_bodies": ctx.bodies.dropped,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "upstream": f"{ctx.settings.upstream.scheme}://{ctx.settings.upstream.host}",
        "probed_s": probed_s,
        "embedded": ctx.settings.embedded_redis,
    }


async def _people(request: Request, access: PanelAccess) -> dict[str, Any]:
    """Who asks, with their own sessions; a token has none."""
    live = request.state.session
    return {
        "sessions": [] if live is None else await access.sessions.of_account(live.account.id),
        "current": "" if live is None else live.digest,
    }
