"""`/admin/api/openrouter-keys`: the pool. A key comes in and never goes out again."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field, SecretStr
from starlette.responses import Response

from app.core.security import SealBroken, openrouter_key_id
from app.models.keys import KeyKind, KeyState, OpenRouterKey
from app.panel.api.conventions import (
    After,
    ApiProblem,
    Id,
    IfMatch,
    Limit,
    Listed,
    Once,
    OnceKey,
    Strict,
    answered,
    instant,
    listed,
    seen_rev,
)
from app.panel.context import Context, PanelContext, SignedIn
from app.panel.problems import Problem
from app.services.key_import import MOST_LINES, ImportReport, candidates
from app.services.key_names import NoSuchKey, Outdated
from app.services.key_picture import KeyPicture, Standing, key_pictures
from app.services.upstream_api import ProbeFailed

router: Final = APIRouter(prefix="/admin/api/openrouter-keys", tags=["OpenRouter keys"])
_MOST_FILE_BYTES: Final = 2_000_000

Words = Annotated[list[str], Field(max_length=200)]


class MarkOut(BaseModel):
    """Why a key rests; `until` is null where only people end it."""

    scope: str
    kind: str
    reason: str
    at: datetime | None
    until: datetime | None
    by: str


class OpenRouterKeyOut(BaseModel):
    """A key of the pool. Amounts are whole nano-dollars; null: nobody knows."""

    id: str
    masked: str
    label: str
    note: str
    state: KeyState
    kind: KeyKind
    standing: Standing
    tags: list[str]
    weight: int
    tier: int
    models_allowed: list[str]
    models_denied: list[str]
    max_rpm: int | None
    max_in_flight: int | None
    max_day_nano: int | None
    account: str
    marks: list[MarkOut]
    in_flight: int
    limit_nano: int | None
    limit_reset: str
    available_nano: int | None
    balance_nano: int | None
    usage_nano: int | None
    outlook: list[str]
    added_at: datetime | None
    probed_at: datetime | None
    expires_at: datetime | None
    rev: int


class KeyAttributes(Strict):
    """What may be set of a key; what is not named stays as it is. For caps null means none."""

    label: str | None = None
    note: str | None = None
    tags: Words | None = None
    weight: int | None = Field(None, ge=0, le=1000)
    tier: int | None = Field(None, ge=0, le=1000)
    models_allowed: Words | None = None
    models_denied: Words | None = None
    max_rpm: int | None = Field(None, ge=1, le=100_000)
    max_in_flight: int | None = Field(None, ge=1, le=100_000)
    max_day_nano: int | None = Field(None, ge=1, le=10**18)
    account: str | None = None


class KeyIn(KeyAttributes):
    api_key: SecretStr = Field(min_length=8, max_length=600, description="The OpenRouter key: sk-or-…")


class KeyChange(KeyAttributes):
    state: KeyState | None = Field(None, strict=False, description="A revoked key stays revoked.")


class TestOut(BaseModel):
    """`available_nano` is what may still be spent with it, where OpenRouter says so."""

    good: bool
    detail: str = ""
    ms: float | None = None
    available_nano: int | None = None


class ImportLineOut(BaseModel):
    """`masked` is empty where the line does not look like a key."""

    line: int
    masked: str
    outcome: str


class ImportOut(BaseModel):
    lines: list[ImportLineOut]
    counts: dict[str, int]


_CAPS: Final = frozenset({"max_rpm", "max_in_flight", "max_day_nano"})


def pictures(ctx: PanelContext) -> dict[str, KeyPicture]:
    """Every key as it stands now, by id."""
    found = key_pictures(
        ctx.keys.openrouter_keys.values(),
        ctx.facts.every,
        ctx.marks.in_force(),
        ctx.facts.samples,
        ctx.clock.wall_s(),
    )
    return {picture.id: picture for picture in found}


def _shown(record: OpenRouterKey, picture: KeyPicture, in_flight: int) -> OpenRouterKeyOut:
    return OpenRouterKeyOut(
        id=record.id,
        masked=record.masked,
        label=record.label,
        note=record.note,
        state=record.state,
        kind=record.kind,
        standing=picture.standing,
        tags=list(record.tags),
        weight=record.weight,
        tier=record.tier,
        models_allowed=list(record.models_allowed),
        models_denied=list(record.models_denied),
        max_rpm=record.max_rpm,
        max_in_flight=record.max_in_flight,
        max_day_nano=record.max_day_nano,
        account=picture.account,
        marks=[
            MarkOut(
                scope=mark.scope,
                kind=mark.kind,
                reason=mark.reason,
                at=instant(mark.at_s),
                until=instant(mark.until_s),
                by=mark.by,
            )
            for mark in picture.marks
        ],
        in_flight=in_flight,
        limit_nano=picture.limit_nano,
        limit_reset=picture.limit_reset,
        available_nano=picture.available_nano,
        balance_nano=picture.balance_nano,
        usage_nano=picture.usage_nano,
        outlook=list(picture.outlook),
        added_at=instant(record.added_at),
        probed_at=instant(picture.probed_at),
        expires_at=instant(picture.expires_at),
        rev=record.rev,
    )


def record_of(ctx: PanelContext, key_id: str) -> OpenRouterKey:
    """Raises NoSuchKey. An id, and no other name: programs should not guess."""
    record = ctx.keys.openrouter_keys.get(key_id)
    if record is None:
        raise NoSuchKey("There is no OpenRouter key of that id.")
    return record


def seen_record(ctx: PanelContext, key_id: str, if_match: str | None) -> OpenRouterKey:
    """If it still is what somebody has seen. Raises NoSuchKey, Outdated, ApiProblem."""
    record = record_of(ctx, key_id)
    if seen_rev(if_match) not in (None, record.rev):
        raise Outdated
    return record


def key_out(ctx: PanelContext, key_id: str) -> OpenRouterKeyOut:
    """Raises NoSuchKey."""
    record = record_of(ctx, key_id)
    return _shown(record, pictures(ctx)[key_id], ctx.pool.in_flight().get(key_id, 0))


@router.get("")
async def list_keys(
    ctx: Context,
    limit: Limit = 100,
    after: After = "",
    state: KeyState | None = None,
    tag: Annotated[str, Query(max_length=50)] = "",
    q: Annotated[str, Query(max_length=200, description="Part of a label, note or masked key.")] = "",
) -> Listed[OpenRouterKeyOut]:
    """The keys, the newest first."""
    wanted = q.casefold()
    fitting = [
        record
        for record in ctx.keys.openrouter_keys.values()
        if (state is None or record.state is state)
        and (not tag or tag in record.tags)
        and (not wanted or any(wanted in text.casefold() for text in (record.label, record.note, record.masked)))
    ]
    shown, further = listed(fitting, lambda record: (record.added_at, record.id), after, limit)
    now, running = pictures(ctx), ctx.pool.in_flight()
    return Listed(data=[_shown(one, now[one.id], running.get(one.id, 0)) for one in shown], next=further)


@router.post("", status_code=201, response_model=OpenRouterKeyOut)
async def add_key(request: Request, body: KeyIn, ctx: Context, person: SignedIn, once: OnceKey = None) -> Response:
    """Takes a key into the pool, after asking OpenRouter about it. A known key is left as it is: 200."""

    async def create() -> tuple[Response, dict[str, object]]:
        changes = _changes(body, {"api_key", "label"})
        added = await ctx.keys.add_openrouter_key(
            body.api_key.get_secret_value(), label=body.label or "", by=person.by, changes=changes
        )
        shown = key_out(ctx, added.record.id)
        place = f"{router.prefix}/{added.record.id}"
        answer = answered(shown, added.record.rev, status=200 if added.known else 201, location=place)
        return answer, {"id": added.record.id}

    return await Once(ctx.redis, person, once).run(request, create)


@router.post("/bulk-import")
async def import_keys(request: Request, ctx: Context, person: SignedIn) -> ImportOut:
    """Takes a list: text/plain, or a form with `file`. One key a line or between commas; # begins a comment."""
    return _reported(await ctx.keys.import_openrouter_keys(await _text(request), by=person.by))


@router.post("/preview", description="What a list holds, without taking anything. Nothing of a key is shown.")
async def preview_keys(request: Request, ctx: Context) -> ImportOut:
    lines, counts = [], {"new": 0, "known": 0, "duplicate": 0, "invalid": 0}
    for candidate in candidates(await _text(request)):
        known = candidate.outcome is None and openrouter_key_id(candidate.key) in ctx.keys.openrouter_keys
        outcome = candidate.outcome.value if candidate.outcome else ("known" if known else "new")
        counts[outcome] += 1
        lines.append(ImportLineOut(line=candidate.number, masked=candidate.masked, outcome=outcome))
    return ImportOut(lines=lines[:MOST_LINES], counts=counts)


@router.get("/{key_id}", response_model=OpenRouterKeyOut)
async def get_key(key_id: Id, ctx: Context) -> Response:
    shown = key_out(ctx, key_id)
    return answered(shown, shown.rev)


@router.patch("/{key_id}", response_model=OpenRouterKeyOut)
async def change_key(key_id: Id, body: KeyChange, ctx: Context, person: SignedIn, if_match: IfMatch = None) -> Response:
    """Sets what is named. State and attributes are two deeds, in this order."""
    rev = seen_rev(if_match)
    record_of(ctx, key_id)
    if body.state is not None:
        record = await ctx.keys.set_openrouter_state(key_id, body.state, by=person.by, rev=rev)
        rev = None if rev is None else record.rev
    if changes := _changes(body, {"state"}):
        await ctx.keys.update_openrouter_key(key_id, changes, by=person.by, rev=rev)
    shown = key_out(ctx, key_id)
    return answered(shown, shown.rev)


@router.post("/{key_id}/test")
async def test_key(key_id: Id, ctx: Context) -> TestOut:
    """Asks OpenRouter about the key, which costs nothing and changes nothing."""
    record_of(ctx, key_id)
    began_s = ctx.clock.monotonic_s()
    try:
        facts = await ctx.probe.describe(ctx.keys.secret_of(key_id))
    except SealBroken:
        return TestOut(good=False, detail="Its stored secret cannot be opened: replace it.")
    except ProbeFailed as failure:
        told = "OpenRouter does not know it (401)." if failure.unknown_key else f"No usable answer: {failure.reason}."
        return TestOut(good=False, detail=told, ms=_ms_since(began_s, ctx))
    return TestOut(good=True, ms=_ms_since(began_s, ctx), available_nano=facts.available_nano)


@router.delete("/{key_id}", status_code=204)
async def delete_key(key_id: Id, ctx: Context, person: SignedIn, if_match: IfMatch = None) -> None:
    """Forgets the key here; at OpenRouter it stays what it is."""
    record_of(ctx, key_id)
    await ctx.keys.delete_openrouter_key(key_id, by=person.by, rev=seen_rev(if_match))


def _ms_since(began_s: float, ctx: PanelContext) -> float:
    return round((ctx.clock.monotonic_s() - began_s) * 1000, 1)


def _changes(body: KeyAttributes, without: set[str]) -> dict[str, object]:
    named = body.model_dump(exclude_unset=True, exclude=without)
    return {field: value for field, value in named.items() if value is not None or field in _CAPS}


async def _text(request: Request) -> str:
    """The list, from a form's file or as it is. Raises ApiProblem."""
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        form = await request.form(max_files=1, max_part_size=_MOST_FILE_BYTES)
        file = form.get("file")
        raw = (file or "").encode() if isinstance(file, str | None) else await file.read()
    else:
        raw = await request.body()
    if len(raw) > _MOST_FILE_BYTES:
        raise ApiProblem(
            Problem(413, "too-large", f"A list has at most {_MOST_FILE_BYTES} bytes.", "Send it in parts.")
        )
    try:
        return bytes(raw).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ApiProblem(Problem(422, "invalid", "The list is not UTF-8 text.")) from None


def _reported(report: ImportReport) -> ImportOut:
    lines = [ImportLineOut(line=one.number, masked=one.masked, outcome=one.outcome) for one in report.lines]
    return ImportOut(lines=lines, counts=report.counts())
