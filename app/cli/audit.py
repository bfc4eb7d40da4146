"""`audit`: who did what to which key, group or setting, and whether anybody has tampered with the list."""

from __future__ import annotations

import re
import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.connect import with_keys
from app.cli.output import REFUSED, USAGE, CommandFailed, instant, note, say, say_json, say_table

if TYPE_CHECKING:
    from app.services.audit import Noted
    from app.services.audit_chain import ChainCheck
    from app.services.key_manager import KeyManager

app = typer.Typer(no_args_is_help=True, help="The list of all changes, and the proof that it is whole.")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
_ENTRY = re.compile(r"[0-9]{1,19}-[0-9]{1,19}")
_LONGEST_CELL = 60


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 50,
    by: Annotated[str, typer.Option(metavar="WHO", help="Only what was done by them: cli:ann.")] = "",
    kind: Annotated[str, typer.Option(help="Only on these: openrouter, client, group, mark, setting.")] = "",
    on: Annotated[str, typer.Option(metavar="NAME", help="Only on what has this id or name.")] = "",
    before: Annotated[str, typer.Option(metavar="ENTRY", help="Only older ones than this entry.")] = "",
    as_json: AsJson = False,
) -> None:
    """List the changes, the newest first."""
    if before and not _ENTRY.fullmatch(before):
        raise CommandFailed("--before takes an entry as `audit list` shows it.", USAGE)

    def wanted(noted: Noted) -> bool:
        deed = noted.deed
        if deed is None:
            return not (by or kind or on)
        return by in ("", deed.by) and kind in ("", deed.kind) and on in ("", deed.id, deed.name)

    async def read(keys: KeyManager) -> list[Noted]:
        found: list[Noted] = []
        async with aclosing(keys.audit.entries(before)) as entries:
            async for noted in entries:
                if wanted(noted):
                    found.append(noted)
                    if len(found) == limit:
                        break
        return found

    found = with_keys(read)
    if as_json:
        say_json([_view(noted) for noted in found])
    elif found:
        say_table(("ENTRY", "WHEN", "BY", "DEED", "ON", "NAME", "BEFORE", "AFTER"), [_row(noted) for noted in found])
    else:
        note("Nothing was changed yet.")


def _view(noted: Noted) -> dict[str, Any]:
    view: dict[str, Any] = {"entry": noted.id, "linked": noted.linked}
    if (deed := noted.deed) is not None:
        view |= {"at": instant(deed.at), "by": deed.by, "deed": deed.deed, "kind": deed.kind, "id": deed.id}
        view |= {"name": deed.name, "before": deed.before, "after": deed.after}
    return view


def _row(noted: Noted) -> tuple[str, ...]:
    if (deed := noted.deed) is None:
        return (noted.id, "-", "-", "unreadable", "-", "-", "-", "-")
    told = (deed.name, _short(deed.before), _short(deed.after))
    return (noted.id, instant(deed.at), deed.by, deed.deed, deed.kind, *(text or "-" for text in told))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_CELL else text[: _LONGEST_CELL - 1] + "…"


@app.command("verify")
def verify(
    known: Annotated[
        str, typer.Option(metavar="HASH", help="A hash that an earlier check printed: it must still be in the chain.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Check the whole list: whether an entry was changed, removed or put in."""

    def progress(entries: int) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{entries} entries read")

    check = with_keys(lambda keys: keys.audit.verify(known.strip().lower(), progress))
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")
    if as_json:
        say_json(_check_view(check))
    else:
        _say_check(check)
    if not check.intact:
        raise typer.Exit(REFUSED)


def _check_view(check: ChainCheck) -> dict[str, Any]:
    return {
        "intact": check.intact,
        "links": check.links,
        "sealed_by_links": check.sealed,
        "not_sealed_yet": check.open,
        "from_before_the_chain": check.before,
        "hash": check.last.hash,
        "known_found": check.known_seen if check.known else None,
        "breaks": [{"entry": one.entry_id, "flaw": one.flaw.value, "detail": str(one)} for one in check.breaks],
    }


def _say_check(check: ChainCheck) -> None:
    for one in check.breaks:
        say(f"broken: {one}")
    if check.known and not check.known_seen:
        say("broken: the known hash is not in the chain any more")
    say(f"{'intact' if check.intact else 'NOT intact'}: {check.links} linked entries, {check.sealed} sealed by them")
    if check.before:
        note(f"{check.before} entries are from before there was a chain: nothing proves them.")
    if check.open:
        note(f"{check.open} entries behind the last link are sealed by the next one.")
    if check.links:
        say(f"hash: {check.last.hash}")
        note("Keep this hash elsewhere: `audit verify --known HASH` proves later that nothing before it was replaced.")
