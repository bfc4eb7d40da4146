"""What one does to OpenRouter keys with a single press: test, let rest, bring back, enable, disable; and to many at
once. Each is a deed of whoever is signed in; nothing is shown here but the question before a deletion.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.core.security import SealBroken
from app.models.keys import KeyState, OpenRouterKey
from app.models.marks import Mark, MarkKind, Scope
from app.models.people import Person
from app.panel.context import Context, PanelContext, SignedIn
from app.panel.entry import Access
from app.panel.figures import span, usd
from app.panel.openrouter_forms import Form, read_form, whole
from app.panel.openrouter_list import record_of
from app.panel.openrouter_rows import PATH
from app.panel.openrouter_timeline import BY_HAND
from app.panel.render import go, page, say
from app.services.access import PanelAccess
from app.services.audit_chain import Deed
from app.services.key_names import KeyRefused, NoSuchKey, Outdated
from app.services.key_store import ConflictError
from app.services.return_path import HOME, return_path
from app.services.selection import Strategy
from app.services.switches import Switch
from app.services.upstream_api import ProbeFailed

router: Final = APIRouter(include_in_schema=False)
MOST_REST_S: Final = 7 * 86_400
_ONE: Final = f"{PATH}/{{key_id}}"
GONE: Final = "There is no such key any more."


def back_of(form: Form, usual: str = PATH) -> str:
    """The page that somebody came from, if it is one of the panel."""
    found = return_path(form.get("back"))
    return usual if found == HOME else found


def name_of(record: OpenRouterKey) -> str:
    return record.label or record.masked


async def noted(
    ctx: PanelContext,
    access: PanelAccess,
    person: Person,
    deed: str,
    record: OpenRouterKey,
    before: str = "",
    after: str = "",
) -> None:
    """Puts into the audit what leaves no trace there by itself. Raises RedisUnavailable."""
    await access.accounts.register.note(
        Deed(
            at=ctx.clock.wall_s(),
            by=person.by,
            deed=deed,
            kind="openrouter",
            id=record.id,
            name=record.masked,
            before=before,
            after=after,
        )
    )


# ---- one key


@router.post(f"{_ONE}/test")
async def test(request: Request, ctx: Context, key_id: str) -> Response:
    """Asks OpenRouter what the key is, which costs nothing and changes nothing."""
    form = await read_form(request)
    record = record_of(ctx, key_id)
    told = await _tested(request, ctx, record)
    if request.headers.get("hx-request-type") == "partial":
        # Escaped like everything: it may quote what OpenRouter calls the key.
        return page(request, "openrouter_tested.html", {"told": told})
    return go(back_of(form, f"{PATH}/{record.id[:16]}"), f"{name_of(record)}: {told}")


async def _tested(request: Request, ctx: PanelContext, record: OpenRouterKey) -> str:
    began_s = ctx.clock.monotonic_s()

    def took() -> str:
        return span((ctx.clock.monotonic_s() - began_s) * 1000)

    try:
        facts = await ctx.probe.describe(ctx.keys.secret_of(record.id))
    except SealBroken:
        return say(request, "its stored secret cannot be opened: replace it")
    except ProbeFailed as failure:
        if failure.unknown_key:
            return say(request, "✗ OpenRouter does not know it (401), %(took)s", took=took())
        return say(request, "✗ no usable answer (%(why)s), %(took)s", why=failure.reason, took=took())
    if facts.available_nano is not None:
        return say(request, "✓ good, %(left)s left, %(took)s", left=usd(facts.available_nano), took=took())
    return say(request, "✓ good, %(took)s", took=took())


@router.post(f"{_ONE}/cool")
async def cool(request: Request, ctx: Context, access: Access, person: SignedIn, key_id: str) -> Response:
    """Lets a key rest: running calls go on, and no new one begins."""
    form = await read_form(request)
    record = record_of(ctx, key_id)
    minutes = whole(form.get("minutes")) or 0
    await let_rest(ctx, access, person, record, minutes * 60.0)
    told = say(request, "%(name)s rests for %(minutes)s min.", name=name_of(record), minutes=minutes)
    return go(back_of(form), told)


async def let_rest(
    ctx: PanelContext, access: PanelAccess, person: Person, record: OpenRouterKey, rest_s: float
) -> None:
    """Raises KeyRefused, RedisUnavailable."""
    if not 0 < rest_s <= MOST_REST_S:
        raise KeyRefused(f"A key rests for 1 to {MOST_REST_S // 60} minutes.")
    now_s = ctx.clock.wall_s()
    mark = Mark(
        scope=Scope.KEY, subject=record.id, kind=MarkKind.COOL, until_s=now_s + rest_s, reason=BY_HAND,
        at_s=now_s, by=person.by,
    )  # fmt: skip
    ctx.marks.put([mark])
    await ctx.marks.flush()
    await noted(ctx, access, person, "cool", record, after=f"{rest_s / 60:g} min")


@router.post(f"{_ONE}/clear")
async def clear(request: Request, ctx: Context, access: Access, person: SignedIn, key_id: str) -> Response:
    """Takes the mark away from a key; with `all` those on its account and workspace too, which hit their other keys."""
    form = await read_form(request)
    record = record_of(ctx, key_id)
    if not await bring_back(ctx, access, person, record, everywhere=bool(form.get("all"))):
        return go(back_of(form), say(request, "%(name)s bears no mark of its own.", name=name_of(record)))
    told = say(request, "%(name)s is back: the next call tries it out.", name=name_of(record))
    return go(back_of(form), told)


async def bring_back(
    ctx: PanelContext, access: PanelAccess, person: Person, record: OpenRouterKey, *, everywhere: bool
) -> list[Mark]:
    """The marks that were taken away. Raises RedisUnavailable."""
    facts = ctx.facts.get(record.id)
    account = ctx.rotation.account_of(record.id) or f"key:{record.id}"
    subjects = [(Scope.KEY, record.id)]
    if everywhere:
        families = [(Scope.FAMILY, mark.subject) for mark in ctx.marks.in_force() if _is_family(mark, account)]
        subjects += [(Scope.ACCOUNT, account), *families]
        subjects += [(Scope.WORKSPACE, facts.workspace)] if facts is not None and facts.workspace else []
    cleared = [mark for scope, subject in subjects if (mark := ctx.marks.find(scope, subject)) is not None]
    for mark in cleared:
        ctx.marks.clear(mark.scope, mark.subject, person.by)
    await ctx.marks.flush()
    rest = [mark for mark in cleared if mark.kind is not MarkKind.DISABLED]  # that one is in the audit by itself
    if rest:
        await noted(ctx, access, person, "clear", record, before=", ".join(mark.reason for mark in rest))
    return cleared


def _is_family(mark: Mark, account: str) -> bool:
    return mark.scope is Scope.FAMILY and mark.subject.rpartition(" ")[0] == account


@router.post(f"{_ONE}/enable")
async def enable(request: Request, ctx: Context, person: SignedIn, key_id: str) -> Response:
    form = await read_form(request)
    record = await ctx.keys.set_openrouter_state(record_of(ctx, key_id).id, KeyState.ENABLED, by=person.by)
    return go(back_of(form), say(request, "%(name)s is enabled.", name=name_of(record)))


@router.post(f"{_ONE}/disable")
async def disable(request: Request, ctx: Context, person: SignedIn, key_id: str) -> Response:
    form = await read_form(request)
    record = await ctx.keys.set_openrouter_state(record_of(ctx, key_id).id, KeyState.DISABLED, by=person.by)
    told = say(request, "%(name)s is disabled; running calls end in peace.", name=name_of(record))
    return go(back_of(form), told)


@router.post(f"{PATH}/strategy")
async def strategy(request: Request, ctx: Context, person: SignedIn) -> Response:
    """How the next key is chosen, in all workers and at once."""
    form = await read_form(request)
    wanted = None if form.get("default") else form.get("strategy")
    if wanted is not None and wanted not in list(Strategy):
        raise KeyRefused(f"The strategy is one of {', '.join(Strategy)}.")
    await ctx.switches.set(Switch.STRATEGY, wanted, person.by)
    return go(PATH, say(request, "The strategy is %(name)s now.", name=wanted or ctx.settings.pool_strategy))


# ---- many keys


@router.post(f"{PATH}/bulk")
async def bulk(request: Request, ctx: Context, person: SignedIn) -> Response:
    """The same deed on each of the selected keys. To delete them, their number is to be typed."""
    form = await read_form(request)
    records = [ctx.keys.openrouter_keys[key] for key in form.all("key") if key in ctx.keys.openrouter_keys]
    if not records:
        return go(back_of(form), say(request, "No key is selected: tick the ones you mean first."))
    deed, tag = form.get("deed"), form.get("tag").strip()
    if deed == "delete" and form.get("typed").strip() != str(len(records)):
        values = {"records": records, "back": back_of(form), "wrong": form.has("typed")}
        return page(request, "openrouter_bulk_delete.html", values, status=422 if form.has("typed") else 200)
    if deed in ("tag", "untag") and not tag:
        return go(back_of(form), say(request, "Type the tag first."))
    problems = await do_to_many(ctx, person.by, records, deed, tag)
    told = say(request, "Done for %(n)s keys.", n=sum(not problem for problem in problems))
    refused = [problem for problem in problems if problem not in ("", GONE)]
    return go(back_of(form), f"{told} {refused[-1] if refused else ''}".strip())


async def do_to_many(ctx: PanelContext, by: str, records: Sequence[OpenRouterKey], deed: str, tag: str) -> list[str]:
    """For each key a sentence, which is empty where it was done. Raises KeyRefused for a deed that there is not."""
    do = _of_many(ctx, by, deed, tag)
    problems = []
    for record in records:
        problem = ""
        try:
            await do(record)
        except NoSuchKey:
            problem = GONE  # somebody else was faster
        except (KeyRefused, ConflictError, Outdated) as refusal:
            problem = str(refusal) or "Somebody else has changed it in the meantime."
        problems.append(problem)
    return problems


def _of_many(ctx: PanelContext, by: str, deed: str, tag: str) -> Callable[[OpenRouterKey], Awaitable[OpenRouterKey]]:
    """Raises KeyRefused for a deed that there is not."""
    keys = ctx.keys
    match deed:
        case "enable":
            return lambda record: keys.set_openrouter_state(record.id, KeyState.ENABLED, by=by)
        case "disable":
            return lambda record: keys.set_openrouter_state(record.id, KeyState.DISABLED, by=by)
        case "tag":
            return lambda record: keys.update_openrouter_key(record.id, {"tags": (*record.tags, tag)}, by=by)
        case "untag":
            return lambda record: keys.update_openrouter_key(record.id, {"tags": _without(record, tag)}, by=by)
        case "delete":
            return lambda record: keys.delete_openrouter_key(record.id, by=by)
    raise KeyRefused("There is no such deed.")


def _without(record: OpenRouterKey, tag: str) -> tuple[str, ...]:
    return tuple(one for one in record.tags if one != tag)
