"""The page of one call, which its list shows in a drawer; and what was said in it, for whoever may read that."""

from __future__ import annotations

from typing import Final

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from app.models.ledger import Entry
from app.models.limits import GATEWAY_GROUP
from app.models.people import Person
from app.panel.clients import base_url
from app.panel.context import Context, PanelContext, SignedIn
from app.panel.entry import Access, ask_again
from app.panel.problems import Problem
from app.panel.render import page, say
from app.panel.requests_address import PATH, place_of
from app.panel.requests_list import names_of
from app.panel.requests_story import TONES, cost_kind, curl, story, tokens_per_s
from app.services.access import PanelAccess
from app.services.audit_chain import Deed
from app.services.bodies import Body
from app.services.client_terms import ClientTerms
from app.services.ledger_filter import Filter, Line

router: Final = APIRouter(include_in_schema=False)
_ONE: Final = f"{PATH}/{{name}}"


@router.get(_ONE)
async def show(request: Request, ctx: Context, name: str) -> Response:
    """By the id of the request, the generation or the entry. `at`: its place in the ledger, where the page knows it."""
    line = await _found(ctx, name, place_of(request.query_params.get("at", "")))
    if line is None:
        return _missing(request, say(request, "The ledger has no such call."))
    entry, names = line.entry, names_of(ctx, (line.entry,))
    told = story(entry, names)
    client = ctx.keys.client_keys.get(entry.client_id)
    values = {
        "line": line,
        "entry": entry,
        "names": names,
        "headline": say(request, told.text, **{**told.values, "why": say(request, told.why) if told.why else ""}),
        "cost_kind": say(request, cost_kind(entry.cost_kind)),
        "tone": TONES.get(entry.outcome, "idle"),
        "client": client,
        "keeps_bodies": keeps_bodies(ctx, entry),
        "curl": curl(entry, base_url(request, ctx)),
        "per_s": tokens_per_s(entry),
        "in_drawer": request.headers.get("hx-request-type") == "partial",
    }
    return page(request, "requests_call.html", values, part="call")


async def _found(ctx: PanelContext, name: str, place: str) -> Line | None:
    """At its place, else wherever it is: the search goes through all that is kept."""
    if place:
        number, _, count = place.partition("-")
        page_ = await ctx.ledger.page(Filter(name=name), before=f"{number}-{int(count) + 1}", size=1, most_read=1)
        if page_.lines:
            return page_.lines[0]
    return await ctx.ledger.find(name)


def _missing(request: Request, sentence: str) -> Response:
    problem = Problem(404, "not-found", sentence, say(request, "Only the last days are kept."))
    return page(request, "problem.html", {"problem": problem}, status=404)


def keeps_bodies(ctx: PanelContext, entry: Entry) -> bool:
    """Whether what the client of a call says is kept by now; it may not have been when it called."""
    client = ctx.keys.client_keys.get(entry.client_id)
    if client is None:
        return False
    groups = ctx.keys.groups
    return ClientTerms(client, groups.get(client.group), groups.get(GATEWAY_GROUP)).keeps_bodies


@router.post(f"{_ONE}/body")
async def show_body(request: Request, ctx: Context, access: Access, person: SignedIn, name: str) -> Response:
    """What was asked and answered, if it is kept. These are somebody's words: each look is noted before it is had."""
    if (again := ask_again(request, access, f"{PATH}/{name}")) is not None:
        return again
    found = await looked_at(ctx, access, person, name)
    if found is None:
        return _missing(request, say(request, "What was said in this call is not kept, or not any more."))
    entry, kept = found
    values = {
        "entry": entry,
        "asked": readable(kept.asked),
        "answered": readable(kept.answered),
        "asked_cut": kept.asked_cut,
        "answered_cut": kept.answered_cut,
    }
    return page(request, "requests_body.html", values)


async def looked_at(ctx: PanelContext, access: PanelAccess, person: Person, name: str) -> tuple[Entry, Body] | None:
    """A call with what was said in it, once the look is noted; None where that is not kept."""
    line = await ctx.ledger.find(name)
    kept = None if line is None else await ctx.bodies.read(line.entry.request_id)
    if line is None or kept is None:
        return None
    entry = line.entry
    client = ctx.keys.client_keys.get(entry.client_id)
    deed = Deed(
        at=ctx.clock.wall_s(),
        by=person.by,
        deed="read body",
        kind="request",
        id=entry.request_id,
        name="" if client is None else client.name,
    )
    await access.accounts.register.note(deed)
    return entry, kept


def readable(said: bytes) -> str:
    """JSON with its lines broken; anything else as it is."""
    try:
        return msgspec.json.format(said, indent=2).decode()
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return said.decode("utf-8", "replace")
