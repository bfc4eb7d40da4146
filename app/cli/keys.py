"""`keys`: the OpenRouter keys of the pool. They come in from standard input or a file, and never go out again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.connect import confirm, deed_author, with_keys
from app.cli.output import REFUSED, USAGE, CommandFailed, note, openrouter_view, say, say_json, say_table, short
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
