"""The pages of single calls: which ones, when, how they ended, and everything that is known of one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from app.models.exchange import Outcome
from app.models.ledger import Entry
from app.panel.call_story import TONES, chain, cost_kind, story
from app.panel.context import Context, PanelContext, SignedIn
from app.panel.entry import Access, ask_again
from app.panel.playground_call import PANEL_ID
from app.panel.problems import Problem
from app.panel.render import page, say
from app.services.audit_chain import Deed
from app.services.export import csv_lines, jsonl
from app.services.ledger_filter import Filter
from app.services.period import PeriodError, period

router: Final = APIRouter(include_in_schema=False)
PATH: Final = "/admin/requests"
_SIZE: Final = 50
_DAY_S: Final = 86_400
_NANO: Final = 10**9
_TEXTS: Final = ("period", "outcome", "status", "model", "client", "key", "provider", "stream", "ms", "usd", "id")
_NUMBERS: Final = ("status", "ms", "usd", "since", "until")
_SHOWN_BODY: Final = 100_000
PERIODS: Final = ("1h", "24h", "7d", "30d")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the address asks for, as it was written; `errors` tells what of it cannot be."""

    said: dict[str, str]
    filter: Filter
    errors: tuple[str, ...] = ()

    def url(self, path: str = PATH, **changes: str) -> str:
        """The same list with something changed, from its newest on."""
        said = {name: value for name, value in (self.said | changes).items() if value}
        return f"{path}?{urlencode(said)}" if said else path

    @property
    def pills(self) -> list[tuple[str, str]]:
        return [(name, value) for name, value in self.said.items() if name != "period"]


def wanted_of(query: Any, now_s: float) -> Wanted:
    said = {name: value.strip()[:200] for name in (*_TEXTS, "since", "until") if (value := query.get(name, "").strip())}
    errors: list[str] = []
    numbers = {name: _number(said.get(name, "")) for name in _NUMBERS}
    errors += [name for name in _NUMBERS if name in said and numbers[name] is None]
    since_s, until_s = numbers["since"], numbers["until"]
    if "period" in said and since_s is None:
        try:
            since_s, until_s = period(said["period"], now_s)
        except PeriodError:
            errors.append("period")
    if said.get("outcome", "served") not in list(Outcome):
        errors.append("outcome")
    found = Filter(
        since_s=since_s,
        until_s=until_s,
        outcome=said.get("outcome", "") if "outcome" not in errors else "",
        status=int(numbers["status"] or 0),
        model=said.get("model", ""),
        client_id=said.get("client", ""),
        key_id=said.get("key", ""),
        provider=said.get("provider", ""),
        stream={"yes": True, "no": False}.get(said.get("stream", "")),
        min_ms=numbers["ms"] or 0.0,
        min_nano=int((numbers["usd"] or 0.0) * _NANO),
        name=said.get("id", ""),
    )
    return Wanted(said, found, tuple(errors))


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < 1e13 else None


def names_of(ctx: PanelContext) -> dict[str, str]:
    """What people call the clients, groups and keys that stand in the ledger."""
    clients = {one.id: one.name for one in ctx.keys.client_keys.values()}
    groups = {one.id: one.name for one in ctx.keys.groups.values()}
    keys = {one.id: one.label or one.masked for one in ctx.keys.openrouter_keys.values()}
    return {PANEL_ID: "Playground"} | clients | groups | keys


@router.get(PATH)
async def show(request: Request, ctx: Context) -> Response:
    wanted = wanted_of(request.query_params, ctx.clock.wall_s())
    before = request.query_params.get("before", "")
    before = before if before.replace("-", "").isdecimal() else ""
    names = names_of(ctx)
    found = await ctx.ledger.page(wanted.filter, before=before, size=_SIZE)
    follows = request.query_params.get("follow") == "1"
    values: dict[str, Any] = {
        "wanted": wanted,
        "lines": found.lines,
        "older": found.older,
        "complete": found.complete,
        "before": before,
        "names": names,
        "follows": follows,
        "tones": TONES,
        "chain": chain,
        "periods": PERIODS,
        "outcomes": [one.value for one in Outcome],
        "key_names": sorted(
            ((one.id[:16], one.label or one.masked) for one in ctx.keys.openrouter_keys.values()),
            key=lambda one: one[1],
        )[:200],
    }
    if request.headers.get("hx-request-type") != "partial":
        shown = wanted.filter
        if shown.since_s is None:
            shown = msgspec.structs.replace(shown, since_s=ctx.clock.wall_s() - _DAY_S)
        values["histogram"] = await ctx.ledger.histogram(shown)
        values["extent"] = await ctx.ledger.extent()
        values["days"], values["most"] = ctx.settings.ledger_days, ctx.settings.ledger_entries
    return page(request, "calls.html", values, part="rows")


@router.get(f"{PATH}/export")
async def export(request: Request, ctx: Context, access: Access) -> Response:
    """Everything that fits, the oldest first, as it is read. Asked for once more: it leaves the house."""
    if (again := ask_again(request, access)) is not None:
        return again
    wanted = wanted_of(request.query_params, ctx.clock.wall_s())
    form = "csv" if request.query_params.get("format") == "csv" else "jsonl"
    lines = ctx.ledger.lines(wanted.filter)
    pieces = csv_lines(lines) if form == "csv" else jsonl(lines)
    headers = {"content-disposition": f'attachment; filename="requests.{form}"', "cache-control": "no-store"}
    return StreamingResponse(
        pieces, headers=headers, media_type="text/csv" if form == "csv" else "application/x-ndjson"
    )


@router.get(f"{PATH}/{{name}}")
async def show_one(request: Request, ctx: Context, name: str) -> Response:
    """One call, by the id of the request, the generation or the entry."""
    line = await ctx.ledger.find(name)
    if line is None:
        problem = Problem(
            404, "not-found", say(request, "The ledger has no such call."), say(request, "Only the last days are kept.")
        )
        return page(request, "problem.html", {"problem": problem}, status=404)
    entry, names = line.entry, names_of(ctx)
    told = story(entry, names)
    client = ctx.keys.client_keys.get(entry.client_id)
    return page(
        request,
        "call.html",
        {
            "line": line,
            "entry": entry,
            "names": names,
            "story": say(request, told.text, **told.values),
            "cost_kind": say(request, cost_kind(entry.cost_kind)),
            "tone": TONES.get(entry.outcome, "idle"),
            "client": client,
            "keeps_bodies": client is not None and client.keep_bodies,
            "curl": curl_of(entry, ctx),
            "body": None,
        },
    )


@router.post(f"{PATH}/{{name}}/body")
async def show_body(request: Request, ctx: Context, access: Access, person: SignedIn, name: str) -> Response:
    """What was asked and answered, if it is kept. Each look is noted: these are somebody's words."""
    if (again := ask_again(request, access)) is not None:
        return again
    line = await ctx.ledger.find(name)
    kept = None if line is None else await ctx.bodies.read(line.entry.request_id)
    if line is None or kept is None:
        problem = Problem(404, "not-found", say(request, "What was said in this call is not kept, or not any more."))
        return page(request, "problem.html", {"problem": problem}, status=404)
    deed = Deed(
        at=ctx.clock.wall_s(), by=person.by, deed="read body", kind="request", id=line.entry.request_id, name=""
    )
    await access.accounts.register.note(deed)
    asked, answered = (text[:_SHOWN_BODY].decode("utf-8", "replace") for text in (kept.asked, kept.answered))
    return page(request, "call_body.html", {"entry": line.entry, "asked": asked, "answered": answered})


def curl_of(entry: Entry, ctx: PanelContext) -> str:
    """The same kind of call again; what was said in it is not known."""
    base = ctx.settings.public_url.rstrip("/") or f"http://localhost:{ctx.settings.port}"
    return (
        f"curl {base}/v1/{entry.route or 'chat/completions'} \\\n"
        '  -H "Authorization: Bearer $GATEWAY_KEY" -H "Content-Type: application/json" \\\n'
        f'  -d \'{{"model": "{entry.model_asked or entry.model}", "stream": {str(entry.stream).lower()}, '
        '"messages": [{"role": "user", "content": "…"}]}\''
    )
