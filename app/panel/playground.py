"""The playground: a page to try models out, through the gateway's own ways, limits and books."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from app.core.errors import GatewayError
from app.core.tasks import TaskSet
from app.models.keys import ClientKey, KeyState
from app.panel.context import Context, PanelContext, SignedIn
from app.panel.openrouter_forms import Form, read_form
from app.panel.playground_call import PageCaller, panel_client, run
from app.panel.problems import Problem
from app.panel.render import page, say
from app.services.key_manager import KeyRefused
from app.services.live_settings import value_of
from app.services.switches import Switch

router: Final = APIRouter(include_in_schema=False)
PATH: Final = "/admin/playground"
_FIELDS: Final = ("client", "key", "model", "system", "message", "temperature", "max_tokens", "tools")
_MOST_CLIENTS: Final = 500
_MOST_MODELS: Final = 1000
_SHOWN: Final = ("content-type", "x-generation-id", "x-gateway-trace", "x-request-id", "x-ratelimit-remaining")
_tasks: Final = TaskSet()


def is_on(ctx: PanelContext) -> bool:
    return bool(value_of(ctx.settings, ctx.switches.get, Switch.PLAYGROUND))


def _off(request: Request) -> Response:
    problem = Problem(404, "not-found", say(request, "The playground is switched off."), "PLAYGROUND=true")
    return page(request, "problem.html", {"problem": problem}, status=404)


@router.get(PATH)
async def show(request: Request, ctx: Context) -> Response:
    if not is_on(ctx):
        return _off(request)
    asked = {name: request.query_params.get(name, "")[:2000] for name in _FIELDS}
    return await _page(request, ctx, asked)


@router.post(PATH)
async def ask(request: Request, ctx: Context, person: SignedIn) -> Response:
    """Without a script: the whole answer on the page."""
    if not is_on(ctx):
        return _off(request)
    form = await read_form(request)
    typed = {name: form.get(name) for name in _FIELDS}
    try:
        caller = _begin(ctx, form, person.name, stream=False)
        await caller.begun()
    except (GatewayError, KeyRefused) as error:
        return await _page(request, ctx, typed, error=str(getattr(error, "message", error)))
    text = b"".join([piece async for piece in caller.pieces()]).decode("utf-8", "replace")
    return await _page(request, ctx, typed, status_told=caller.status, raw=text, said=_said(text))


@router.post(f"{PATH}/run")
async def stream(request: Request, ctx: Context, person: SignedIn) -> Response:
    """With a script: the answer as it comes, byte for byte; the tab that is closed ends the call."""
    if not is_on(ctx):
        return _off(request)
    form = await read_form(request)
    try:
        caller = _begin(ctx, form, person.name, stream=form.has("stream"))
        await caller.begun()
    except GatewayError as error:
        return JSONResponse({"error": {"code": error.status, "message": error.message}}, error.status)
    except KeyRefused as refusal:
        return JSONResponse({"error": {"code": 422, "message": str(refusal)}}, 422)
    named = {name.decode().lower(): value.decode("latin-1") for name, value in caller.headers}
    headers = {name: named[name] for name in _SHOWN if name in named} | {"cache-control": "no-store"}
    return StreamingResponse(_until_left(caller), caller.status, headers=headers)


async def _until_left(caller: PageCaller) -> AsyncIterator[bytes]:
    try:
        async for piece in caller.pieces():
            yield piece
    finally:
        caller.leave()


def _begin(ctx: PanelContext, form: Form, name: str, *, stream: bool) -> PageCaller:
    """Raises KeyRefused."""
    client = _client(ctx, form.get("client"), name)
    body = _body(form, stream=stream)
    caller = PageCaller(body)
    _tasks.spawn(run(ctx, caller, client, body, _key(ctx, form.get("key"))), "playground: call")
    return caller


def _client(ctx: PanelContext, client_id: str, name: str) -> ClientKey:
    if not client_id:
        return panel_client(name)
    found = ctx.keys.client_keys.get(client_id)
    if found is None:
        raise KeyRefused("There is no client key of that id.")
    return found


def _key(ctx: PanelContext, key_id: str) -> str:
    if not key_id:
        return ""
    found = [one for one in ctx.keys.openrouter_keys if one.startswith(key_id)] if len(key_id) >= 12 else []
    if len(found) != 1:
        raise KeyRefused("There is no OpenRouter key of that id.")
    return found[0]


def _body(form: Form, *, stream: bool) -> bytes:
    """The call as a program would send it."""
    messages = [{"role": "system", "content": form.get("system")}] if form.get("system").strip() else []
    messages.append({"role": "user", "content": form.get("message")})
    body: dict[str, Any] = {"model": form.get("model").strip(), "messages": messages}
    if not body["model"] or not form.get("message").strip():
        raise KeyRefused("A call needs a model and a message.")
    try:
        if text := form.get("temperature").strip():
            body["temperature"] = float(text)
        if text := form.get("max_tokens").strip():
            body["max_tokens"] = int(text)
        if text := form.get("tools").strip():
            body["tools"] = msgspec.json.decode(text)
    except (ValueError, msgspec.MsgspecError):
        raise KeyRefused("Temperature and max_tokens are numbers, and the tools are a JSON list.") from None
    if stream:
        body["stream"] = True
    return msgspec.json.encode(body)


def _said(text: str) -> str:
    """The words of a whole answer."""
    try:
        found = msgspec.json.decode(text)
        return str(found["choices"][0]["message"]["content"] or "")
    except (msgspec.MsgspecError, LookupError, TypeError):
        return ""


async def _page(
    request: Request,
    ctx: PanelContext,
    typed: dict[str, str],
    *,
    error: str = "",
    status_told: int = 0,
    raw: str = "",
    said: str = "",
) -> Response:
    clients = sorted(
        (one for one in ctx.keys.client_keys.values() if one.state is KeyState.ENABLED),
        key=lambda one: one.name.casefold(),
    )
    values = {
        "typed": typed,
        "error": error,
        "status_told": status_told,
        "raw": raw,
        "said": said,
        "models": await _models(ctx),
        "clients": clients[:_MOST_CLIENTS],
        "keys": [one for one in ctx.keys.openrouter_keys.values() if one.serves][:_MOST_CLIENTS],
        "base_url": (ctx.settings.public_url or str(request.base_url)).rstrip("/") + "/v1",
    }
    return page(request, "playground.html", values)


class _Pricing(msgspec.Struct):
    prompt: str = ""
    completion: str = ""


class _Model(msgspec.Struct):
    id: str
    context_length: int | None = None
    pricing: _Pricing = msgspec.field(default_factory=_Pricing)


class _Models(msgspec.Struct):
    data: list[_Model] = []


async def _models(ctx: PanelContext) -> list[dict[str, Any]]:
    """What the catalogue offers, with prices for a million tokens; nothing while it cannot be had."""
    try:
        async with asyncio.timeout(2):
            answer = await ctx.catalogue.answer(b"/v1/models", [])
        found = msgspec.json.decode(answer.body, type=_Models).data
    except (GatewayError, TimeoutError, msgspec.MsgspecError):
        return []
    return [{"id": one.id, "context": one.context_length, "told": _price(one)} for one in found[:_MOST_MODELS]]


def _price(model: _Model) -> str:
    try:
        prompt, completion = (float(text) * 1_000_000 for text in (model.pricing.prompt, model.pricing.completion))
    except ValueError:
        return ""
    return f"${prompt:.4g} → ${completion:.4g} / 1M"
