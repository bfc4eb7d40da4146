"""`keys`: the OpenRouter keys of the pool. They come in from standard input or a file, and never go out again."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.connect import confirm, deed_author, with_keys
from app.cli.output import NANO, REFUSED, USAGE, CommandFailed, note, openrouter_view, say, say_json, say_table, short
from app.cli.secret_input import read_many, read_one
from app.models.keys import KeyKind, KeyState, OpenRouterKey

if TYPE_CHECKING:
    from app.services.key_import import ImportReport
    from app.services.key_manager import KeyManager

app = typer.Typer(no_args_is_help=True, help="The OpenRouter keys of the pool.")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
FromFile = Annotated[
    Path | None, typer.Option("--file", "-f", metavar="PATH", help="Read from a file instead of standard input.")
]
Name = Annotated[str, typer.Argument(metavar="KEY", help="Its id, the id's first 6 or more signs, or its label.")]

_REPEAT = 'Repeat for more; "" for none.'
_CAP = "For each worker. 0: no cap."
_MOST_USD = 1_000_000

_NOTES = {
    KeyKind.MANAGEMENT: "This is a management key: it is kept, and no call will ever run on it.",
    KeyKind.UNVERIFIED: "OpenRouter could not be asked about this key: it serves now, and is checked later.",
}


@app.command("add")
def add(
    label: Annotated[str, typer.Option(help="A name of your own for it.")] = "",
    file: FromFile = None,
    as_json: AsJson = False,
) -> None:
    """Add one OpenRouter key, read from standard input (asked for in a terminal) or a file."""
    key = _single(read_one(file, "OpenRouter key (not shown): "))
    added = with_keys(
        lambda keys: keys.add_openrouter_key(key, label=label, by=deed_author()), probe=True, makes_secrets=True
    )
    if as_json:
        say_json(openrouter_view(added.record) | {"known": added.known})
    else:
        say(f"{'already known' if added.known else 'added'}: {_line(added.record)}")
    if not added.known and (hint := _NOTES.get(added.record.kind)):
        note(hint)


def _single(text: str) -> str:
    from app.services.key_import import candidates

    found = list(candidates(text))
    if not found:
        raise CommandFailed("No key was given: pipe it in, or name a file with --file.", USAGE)
    if len(found) > 1:
        raise CommandFailed("This is more than one key: use `keys import`.", USAGE)
    return found[0].key


@app.command("import")
def import_(file: FromFile = None, as_json: AsJson = False) -> None:
    """Add a list of OpenRouter keys, one a line or between commas; # begins a comment. Known keys stay as they are."""
    text = read_many(file, "Paste the keys, one a line, and end with Ctrl-D.")
    report = with_keys(lambda keys: keys.import_openrouter_keys(text, by=deed_author()), probe=True, makes_secrets=True)
    _say_report(report, as_json=as_json)
    if report.lost:
        raise typer.Exit(REFUSED)


def _say_report(report: ImportReport, *, as_json: bool) -> None:
    if as_json:
        lines = [{"line": line.number, "masked": line.masked, "outcome": line.outcome.value} for line in report.lines]
        say_json({"lines": lines, "counts": report.counts()})
        return
    if report.lines:
        rows = [(str(line.number), line.masked or "-", _OUTCOMES[line.outcome.value]) for line in report.lines]
        say_table(("LINE", "KEY", "OUTCOME"), rows)
    note(", ".join(f"{count} {outcome}" for outcome, count in report.counts().items()) or "There was no key in it.")


_OUTCOMES = {
    "added": "added",
    "known": "known before",
    "duplicate": "twice in this list",
    "invalid": "not an OpenRouter key (sk-or-…)",
    "management": "added; a management key, never used for calls",
    "refused": "OpenRouter does not know it",
    "failed": "not saved: Redis did not answer",
}


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the OpenRouter keys."""

    async def read(keys: KeyManager) -> list[OpenRouterKey]:
        return sorted(keys.openrouter_keys.values(), key=lambda record: (record.added_at, record.id))

    records = with_keys(read)
    if as_json:
        say_json([openrouter_view(record) for record in records])
    elif records:
        say_table(("ID", "KEY", "LABEL", "KIND", "STATE", "ADDED"), [_row(record) for record in records])
    else:
        note("There is no OpenRouter key yet: openrouter-middleware keys add")


def _row(record: OpenRouterKey) -> tuple[str, ...]:
    view = openrouter_view(record)
    return (short(record.id), record.masked, record.label, view["kind"], view["state"], view["added_at"])


@app.command("set")
def set_(
    name: Name,
    label: Annotated[str | None, typer.Option(help="A name of your own for it.")] = None,
    note_: Annotated[str | None, typer.Option("--note", help="Whatever is to be remembered.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help=f"For clients bound to it. {_REPEAT}")] = None,
    weight: Annotated[
        int | None, typer.Option(help="Its share of the calls, 0 to 1000; 100 if not set. 0: only where no other can.")
    ] = None,
    tier: Annotated[int | None, typer.Option(help="With the strategy tiers: the lowest goes first.")] = None,
    allow: Annotated[list[str] | None, typer.Option(help=f"Models like openai/*; others not. {_REPEAT}")] = None,
    deny: Annotated[list[str] | None, typer.Option(help=f"Models that never run on it. {_REPEAT}")] = None,
    max_rpm: Annotated[int | None, typer.Option(help=f"Most calls in a minute. {_CAP}")] = None,
    max_in_flight: Annotated[int | None, typer.Option(help=f"Most calls at once. {_CAP}")] = None,
    max_usd_day: Annotated[
        str | None, typer.Option(metavar="USD", help="Most dollars in a UTC day. 0: no cap.")
    ] = None,
    account: Annotated[str | None, typer.Option(help='Whose key it is, where no probe tells. "": unknown.')] = None,
    as_json: AsJson = False,
) -> None:
    """Set what a key may be used for, and how much of it. What is not named stays as it is."""
    given = {
        "label": label,
        "note": note_,
        "tags": _listed(tag),
        "weight": weight,
        "tier": tier,
        "models_allowed": _listed(allow),
        "models_denied": _listed(deny),
        "max_rpm": max_rpm,
        "max_in_flight": max_in_flight,
        "max_day_nano": None if max_usd_day is None else _nano(max_usd_day),
        "account": account,
    }
    caps = ("max_rpm", "max_in_flight", "max_day_nano")
    changes = {
        field: None if field in caps and value == 0 else value for field, value in given.items() if value is not None
    }
    if not changes:
        raise CommandFailed("Nothing to set was named: see `keys set --help`.", USAGE)
    record = with_keys(lambda keys: keys.update_openrouter_key(name, changes, by=deed_author()))
    _say_changed(record, "set", {}, as_json=as_json)


def _listed(words: list[str] | None) -> list[str] | None:
    return None if words is None else [word for word in words if word]


def _nano(usd: str) -> int:
    try:
        dollars = Decimal(usd)
    except InvalidOperation:
        dollars = Decimal(-1)
    if not (dollars.is_finite() and 0 <= dollars <= _MOST_USD):
        raise CommandFailed(f"--max-usd-day must be an amount of dollars from 0 to {_MOST_USD}.", USAGE)
    return int(dollars * NANO)


@app.command("enable")
def enable(name: Name, as_json: AsJson = False) -> None:
    """Let calls run on a key again."""
    _set_state(name, KeyState.ENABLED, as_json=as_json)


@app.command("disable")
def disable(name: Name, as_json: AsJson = False) -> None:
    """Let no further call run on a key; it is kept. Running calls end in peace."""
    _set_state(name, KeyState.DISABLED, as_json=as_json)


def _set_state(name: str, state: KeyState, *, as_json: bool) -> None:
    record = with_keys(lambda keys: keys.set_openrouter_state(name, state, by=deed_author()))
    _say_changed(record, state.value, {}, as_json=as_json)


@app.command("delete")
def delete(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Forget a key here. At OpenRouter it stays what it is."""
    confirm(f"Forget the OpenRouter key {name}?", yes=yes)
    record = with_keys(lambda keys: keys.delete_openrouter_key(name, by=deed_author()))
    _say_changed(record, "deleted", {"state": "deleted"}, as_json=as_json)


def _say_changed(record: OpenRouterKey, deed: str, extra: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        say_json(openrouter_view(record) | extra)
    else:
        say(f"{deed}: {_line(record)}")


def _line(record: OpenRouterKey) -> str:
    return f"{record.masked} ({record.kind.value}, id {short(record.id)})"
