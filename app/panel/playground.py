"""The playground: a page to try models out, through the gateway's own ways, limits and books."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from app.core.tasks import TaskSet
from app.models.keys import ClientKey, KeyState
from app.models.people import Person
from app.panel.clients import base_url
from app.panel.context import Context, PanelContext, SignedIn
from app.panel.entry import Access
from app.panel.openrouter_forms import read_form
from app.panel.playground_answer import Way, way_of, words_of
from app.panel.playground_call import PlaygroundCall, panel_client
from app.panel.playground_form import ROLES, Draft, body_of, code_of, draft_of, draft_of_link
from app.panel.playground_models import models
from app.panel.problems import Problem
from app.panel.render import page, say
from app.services.access import PanelAccess
from app.services.audit_chain import Deed
from app.services.key_names import KeyRefused
from app.services.live_settings import value_of
from app.services.switches import Switch

router: Final = APIRouter(include_in_schema=False)
PATH: Final = "/admin/playground"
MOST_OFFERED: Final = 200
_ASK_EVERY_S: Final = 0.25
_NO_STORE: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}
_LINES: Final = "application/x-ndjson"
_tasks: Final = TaskSet()
"""Calls under way: each ends when its page leaves, at the latest when the server lets its request go."""


def is_on(ctx: PanelContext) -> bool:
    return bool(value_of(ctx.settings, ctx.switches.get, Switch.PLAYGROUND))


def _off(request: Request) -> Response:
    hint = say(request, "An administrator can switch it on under Settings: PLAYGROUND.")
    problem = Problem(404, "not-found", say(request, "The playground is switched off."), hint)
    return page(request, "problem.html", {"problem": problem}, status=404)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of a call, for a page without a script."""

    status: int
    error: str
    said: str
    raw: str
    headers: Mapping[str, str]
    way: Way
    names: Mapping[str, str]
    end: Mapping[str, Any]
    request_id: str


@router.get(PATH)
async def show(request: Request, ctx: Context) -> Response:
    if not is_on(ctx):
        return _off(request)
    return await _page(request, ctx, draft_of_link(request.query_params))


@router.post(PATH)
async def ask(request: Request, ctx: Context, access: Access, person: SignedIn) -> Response:
    """Without a script: the whole answer on the page. `more`: only room for one more message."""
    if not is_on(ctx):
        return _off(request)
    form = await read_form(request)
    draft = draft_of(form)
    if form.has("more"):
        return await _page(request, ctx, draft.longer(form.get("answered")))
    begun, errors = await _begin(request, ctx, access, person, draft)
    if begun is None:
        return await _page(request, ctx, draft, errors=errors, status=422)
    running = _tasks.spawn(begun.serve(), "playground: call")
    reading = _tasks.spawn(begun.whole(), "playground: read the answer")
    while not reading.done():
        await asyncio.wait([reading], timeout=_ASK_EVERY_S)
        if await request.is_disconnected():
            begun.caller.leave()
            reading.cancel()
    await asyncio.wait([running])
    raw = "" if reading.cancelled() else reading.result().decode("utf-8", "replace")
    return await _page(request, ctx, draft, answer=_answer(ctx, begun, raw))


def _answer(ctx: PanelContext, begun: PlaygroundCall, raw: str) -> Answer:
    end, error = begun.end(), begun.error
    return Answer(
        status=end["status"],
        error="" if error is None else " ".join(part for part in (error.message, error.hint) if part),
        said=words_of(raw),
        raw=raw,
        headers=dict(begun.headers),
        way=way_of(begun.call, ctx.clock.monotonic_s()),
        names=begun.names,
        end=end,
        request_id=begun.call.request_id,
    )


@router.post(f"{PATH}/run")
async def stream(request: Request, ctx: Context, access: Access, person: SignedIn) -> Response:
    """With a script: what happens, line by line as JSON. The page that leaves ends the call."""
    if not is_on(ctx):
        return _off(request)
    begun, errors = await _begin(request, ctx, access, person, draft_of(await read_form(request)))
    if begun is None:
        wrong = msgspec.json.encode({"is": "wrong", "errors": errors}) + b"\n"
        return Response(wrong, headers=_NO_STORE, media_type=_LINES)
    return StreamingResponse(_told(begun), headers=_NO_STORE, media_type=_LINES)


async def _told(begun: PlaygroundCall) -> AsyncIterator[bytes]:
    _tasks.spawn(begun.serve(), "playground: call")
    try:
        async for event in begun.events():
            yield msgspec.json.encode(event) + b"\n"
    finally:
        begun.caller.leave()


@router.post(f"{PATH}/code")
async def code(request: Request, ctx: Context) -> Response:
    """The call as code for programs: as a page, or as JSON for the page's script."""
    if not is_on(ctx):
        return _off(request)
    draft = draft_of(await read_form(request))
    body, errors = body_of(draft)
    if "application/json" in request.headers.get("accept", ""):
        told = {"errors": _said(request, errors)} if errors else {"code": code_of(body, base_url(request, ctx))}
        return JSONResponse(told, headers=_NO_STORE)
    if errors:
        return await _page(request, ctx, draft, errors=_said(request, errors), status=422)
    return await _page(request, ctx, draft, codes=code_of(body, base_url(request, ctx)))


def _said(request: Request, errors: Mapping[str, str]) -> dict[str, str]:
    return {name: say(request, text) for name, text in errors.items()}


async def _begin(
    request: Request, ctx: PanelContext, access: PanelAccess, person: Person, draft: Draft
) -> tuple[PlaygroundCall | None, dict[str, str]]:
    """The call that was typed, or what is wrong with it. To act as somebody else is a deed, because they pay."""
    body, errors = body_of(draft)
    client = panel_client(person.name)
    try:
        client = _client(ctx, draft.client) or client
    except KeyRefused as refusal:
        errors["client"] = str(refusal)
    try:
        key_id = _key(ctx, draft.key)
    except KeyRefused as refusal:
        errors["key"] = str(refusal)
    if errors:
        return None, _said(request, errors)
    address = getattr(request.state, "address", "")
    begun = PlaygroundCall(ctx, client, msgspec.json.encode(body), key_id, address)
    if draft.client:
        after = msgspec.json.encode({"model": draft.model, "request": begun.call.request_id}).decode()
        deed = Deed(
            at=ctx.clock.wall_s(),
            by=person.by,
            deed="act as",
            kind="client",
            id=client.id,
            name=client.name,
            after=after,
        )
        await access.accounts.register.note(deed)
    return begun, {}


def _client(ctx: PanelContext, wanted: str) -> ClientKey | None:
    """By its id, or by a name that only one has. None: the panel itself. Raises KeyRefused."""
    if not wanted or wanted in ctx.keys.client_keys:
        return ctx.keys.client_keys.get(wanted)
    named = list(islice((one for one in ctx.keys.client_keys.values() if one.name == wanted), 2))
    if not named:
        raise KeyRefused("There is no client key of that name or id.")
    if len(named) > 1:
        raise KeyRefused("Several client keys have this name: give the id.")
    return named[0]


def _key(ctx: PanelContext, wanted: str) -> str:
    """By its id or the beginning of it. Raises KeyRefused."""
    if not wanted:
        return ""
    found = [one for one in ctx.keys.openrouter_keys if one.startswith(wanted)] if len(wanted) >= 12 else []
    if len(found) != 1:
        raise KeyRefused("There is no OpenRouter key of that id.")
    if not ctx.keys.openrouter_keys[found[0]].serves or ctx.pool.get(found[0]) is None:
        raise KeyRefused("This OpenRouter key serves no calls now: it is disabled, or not for calls.")
    return found[0]


async def _page(
    request: Request,
    ctx: PanelContext,
    draft: Draft,
    *,
    errors: Mapping[str, str] | None = None,
    answer: Answer | None = None,
    codes: Mapping[str, str] | None = None,
    status: int = 200,
) -> Response:
    clients = ctx.keys.client_keys
    few = len(clients) <= MOST_OFFERED
    offered = [one for one in clients.values() if one.state is KeyState.ENABLED] if few else []
    keys = [one for one in ctx.keys.openrouter_keys.values() if one.serves]
    choices = await models(ctx.catalogue)
    values = {
        "draft": draft,
        "errors": errors or {},
        "answer": answer,
        "codes": codes or {},
        "roles": ROLES,
        "models": choices,
        "model": next((one for one in choices if one.id == draft.model), None),
        "few": few,
        "clients": sorted(offered, key=lambda one: one.name.casefold()),
        "client": clients.get(draft.client),
        "keys": sorted(keys, key=lambda one: (one.label or one.masked).casefold())[:MOST_OFFERED],
        "base_url": base_url(request, ctx),
    }
    return page(request, "playground.html", values, status=status)
