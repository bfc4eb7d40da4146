"""`keys rotate` and its kin: renewal of OpenRouter keys through a management key. Talks, and decides nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from app.cli.connect import confirm, deed_author
from app.cli.output import REFUSED, CommandFailed, instant, note, say, say_json, say_table, short
from app.models.renewal import Entry, ManagedKey, Pace, Step, Terms

if TYPE_CHECKING:
    from app.services.key_manager import KeyManager
    from app.services.renewal import Renewal

_Result = TypeVar("_Result")
_NANO: Final = 1_000_000_000
_RESETS: Final = ("daily", "weekly", "monthly", "none")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Name = Annotated[str, typer.Argument(metavar="KEY", help="Its id, the id's first 6 or more signs, or its label.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Begin only; the running gateway does the rest.")]
StageSeconds = Annotated[
    float | None,
    typer.Option("--stage-s", min=0, metavar="SECONDS", help="Time for each growing share of the traffic."),
]
QuarantineHours = Annotated[
    float | None, typer.Option("--quarantine-h", min=0, metavar="HOURS", help="Instead of ROTATE_QUARANTINE_H.")
]
Limit = Annotated[float | None, typer.Option("--limit-usd", min=0, metavar="USD", help="No limit without it.")]
Reset = Annotated[str, typer.Option("--reset", help="daily, weekly, monthly, or none: a limit for life.")]


def _on_renewals(work: Callable[[Renewal, KeyManager], Awaitable[_Result]]) -> _Result:
    from app.cli.rotation_session import run_on_renewals

    return run_on_renewals(work)


def rotate(
    name: Name,
    undo: Annotated[
        bool, typer.Option("--undo", help="Take a renewal back; possible until the old key is deleted.")
    ] = False,
    no_wait: NoWait = False,
    stage_s: StageSeconds = None,
    quarantine_h: QuarantineHours = None,
    as_json: AsJson = False,
) -> None:
    """Replace a key by a new one at OpenRouter, without a lost call. `keys plan` shows what would happen."""

    async def begin(renewal: Renewal) -> Entry:
        if undo:
            return await renewal.undo(name, by=deed_author())
        return await renewal.renew(name, by=deed_author(), pace=_pace(renewal, stage_s, quarantine_h))

    _say_entry(_begun(begin, wait=not no_wait), as_json=as_json, undone_is_well=undo)


def retire(
    name: Name,
    yes: Yes = False,
    no_wait: NoWait = False,
    quarantine_h: QuarantineHours = None,
    as_json: AsJson = False,
) -> None:
    """Take a key out of use and delete it at OpenRouter, without a successor."""
    confirm(f"Retire the OpenRouter key {name}, and delete it after its quarantine?", yes=yes)

    async def begin(renewal: Renewal) -> Entry:
        return await renewal.retire(name, by=deed_author(), pace=_pace(renewal, None, quarantine_h))

    _say_entry(_begun(begin, wait=not no_wait), as_json=as_json)


def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name at OpenRouter, and its label here.")],
    admin: Annotated[str, typer.Option("--admin", help="The management key that makes it; its id or label.")],
    limit_usd: Limit = None,
    reset: Reset = "none",
    expires_days: Annotated[int | None, typer.Option(min=1, metavar="DAYS", help="After so many days it ends.")] = None,
    workspace: Annotated[str, typer.Option(help="The id of its workspace; else the default one.")] = "",
    guardrail: Annotated[str, typer.Option(help="The id of a guardrail for it.")] = "",
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Make a new key at OpenRouter and take it into the pool. Its secret is shown nowhere."""
    terms = Terms(
        name=name,
        limit_nano=_nano(limit_usd),
        limit_reset=_reset(reset),
        workspace=workspace,
        guardrail=guardrail,
        lifetime_s=None if expires_days is None else expires_days * 86_400.0,
    )

    async def begin(renewal: Renewal) -> Entry:
        return await renewal.create(terms, admin=admin, by=deed_author())

    _say_entry(_begun(begin, wait=not no_wait), as_json=as_json)


def _pace(renewal: Renewal, stage_s: float | None, quarantine_h: float | None) -> Pace:
    usual = renewal.pace
    return Pace(
        stage_s=usual.stage_s if stage_s is None else stage_s,
        quarantine_s=usual.quarantine_s if quarantine_h is None else quarantine_h * 3600,
    )


def _begun(begin: Callable[[Renewal], Awaitable[Entry]], *, wait: bool) -> Entry:
    async def work(renewal: Renewal, _: KeyManager) -> Entry:
        from app.cli.rotation_session import follow

        entry = await begin(renewal)
        return await follow(renewal, entry) if wait else entry

    return _on_renewals(work)


def _say_entry(entry: Entry, *, as_json: bool, undone_is_well: bool = False) -> None:
    if as_json:
        say_json(_entry_view(entry))
    else:
        names = [short(key) for key in (entry.key, entry.successor) if key]
        say(f"{entry.kind.value} {' → '.join(names)}: {entry.step.value}")
        if entry.step is Step.QUARANTINE:
            note("The running gateway deletes the old key after its quarantine; until then --undo brings it back.")
    if entry.step is Step.UNDONE and not undone_is_well:
        raise CommandFailed(f"It was taken back: {entry.reason}.", REFUSED)


def _entry_view(entry: Entry) -> dict[str, Any]:
    """Without the sealed secret."""
    return {
        "kind": entry.kind.value,
        "step": entry.step.value,
        "key": entry.key,
        "successor": entry.successor,
        "name": entry.name,
        "by": entry.by,
        "began_at": instant(entry.began_s),
        "since": instant(entry.since_s),
        "next_at": instant(entry.due_s) if entry.is_open else None,
        "problem": entry.problem or entry.reason,
    }


def renewals(as_json: AsJson = False) -> None:
    """List what is under way, and what was done in the last months."""

    async def read(renewal: Renewal, _: KeyManager) -> list[Entry]:
        return sorted((await renewal.entries()).values(), key=lambda entry: entry.began_s)

    views = [_entry_view(entry) for entry in _on_renewals(read)]
    if as_json:
        say_json(views)
    elif views:
        rows = [
            (view["kind"], short(view["key"]), short(view["successor"]), view["step"], view["since"], view["problem"])
            for view in views
        ]
        say_table(("DEED", "KEY", "SUCCESSOR", "NEXT STEP", "SINCE", "PROBLEM"), rows)
    else:
        note("No key was renewed yet: openrouter-middleware keys rotate KEY")


def plan(name: Name, as_json: AsJson = False) -> None:
    """Show what `keys rotate` would do. Changes nothing."""
    steps = _on_renewals(lambda renewal, _: renewal.plan(name))
    if as_json:
        say_json([{"step": step.step.value, "what": step.what} for step in steps])
    else:
        say_table(("STEP", "WHAT"), [(step.step.value, step.what) for step in steps])


def drift(
    fix: Annotated[bool, typer.Option("--fix", help="Do the actions that need nobody's hand.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare what OpenRouter lists with what the pool knows: each difference with one action."""

    async def work(renewal: Renewal, _: KeyManager) -> list[dict[str, str]]:
        from app.services.renewal import RenewalRefused

        views = []
        for found in await renewal.drift():
            view = {"drift": found.drift.value, "action": found.action.value, "id": found.key}
            view |= {"key": found.name, "what": found.what, "done": "no"}
            if fix:
                try:
                    await renewal.settle(found, by=deed_author())
                    view["done"] = "yes"
                except RenewalRefused:
                    view["done"] = "by hand"
            views.append(view)
        return views

    views = _on_renewals(work)
    if as_json:
        say_json(views)
    elif views:
        rows = [(short(view["id"]), view["key"], view["what"], view["action"], view["done"]) for view in views]
        say_table(("ID", "KEY", "WHAT", "ACTION", "DONE"), rows)
    else:
        note("OpenRouter and the pool agree.")


def adopt(
    name: Name,
    release: Annotated[
        bool, typer.Option("--release", help="The contrary: renew it only by hand from now on.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Let the gateway renew a key by itself (ROTATE_EVERY_DAYS, before it expires) and watch its limit."""

    async def work(renewal: Renewal, _: KeyManager) -> ManagedKey | None:
        if release:
            await renewal.release(name)
            return None
        return await renewal.adopt(name, by=deed_author())

    _say_managed(_on_renewals(work), name, as_json=as_json)


def cap(name: Name, limit_usd: Limit = None, reset: Reset = "none", as_json: AsJson = False) -> None:
    """Set a key's limit at OpenRouter."""
    limit, period = _nano(limit_usd), _reset(reset)
    managed = _on_renewals(lambda renewal, _: renewal.cap(name, limit, period, by=deed_author()))
    _say_managed(managed, name, as_json=as_json)


def _say_managed(managed: ManagedKey | None, name: str, *, as_json: bool) -> None:
    if managed is None:
        if as_json:
            say_json({"managed": False})
        else:
            say(f"released: {name}")
        return
    terms = managed.terms
    limit = None if terms.limit_nano is None else terms.limit_nano / _NANO
    if as_json:
        say_json({"managed": True, "id": managed.id, "name": terms.name, "limit": limit, "reset": terms.limit_reset})
        return
    shown = "no limit" if limit is None else f"{limit:g} USD {terms.limit_reset or 'for life'}"
    say(f"managed: {terms.name} (id {short(managed.id)}, {shown})")


def revoke(name: Name, yes: Yes = False, as_json: AsJson = False) -> None:
    """A key has leaked: disable it at OpenRouter at once, and then here."""
    confirm(f"Revoke the OpenRouter key {name} now?", yes=yes)
    entry = _on_renewals(lambda renewal, _: renewal.revoke(name, by=deed_author()))
    if as_json:
        say_json(_entry_view(entry))
    else:
        say(f"revoked: {short(entry.key)}")
    if entry.is_open:
        raise CommandFailed(
            f"It is revoked here only: {entry.problem}. The gateway goes on trying; disable it in OpenRouter's "
            "settings as well.",
            REFUSED,
        )


def _nano(usd: float | None) -> int | None:
    return None if usd is None else round(usd * _NANO)


def _reset(word: str) -> str:
    if word not in _RESETS:
        raise typer.BadParameter("expected daily, weekly, monthly or none", param_hint="--reset")
    return "" if word == "none" else word


COMMANDS: Final[dict[str, Callable[..., None]]] = {
    "rotate": rotate,
    "plan": plan,
    "renewals": renewals,
    "drift": drift,
    "adopt": adopt,
    "revoke": revoke,
    "create": create,
    "cap": cap,
    "retire": retire,
}
"""To be added to `keys`."""
