"""`requests`: the single calls of the last days: list, look at one, follow, take away as a file."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from app.cli.output import REFUSED, USAGE, CommandFailed, note, say, say_json, say_table
from app.core.clock import SystemClock
from app.services.export import csv_lines, dollars, instant, jsonl, line_view
from app.services.ledger_filter import Filter, Line
from app.services.period import WORDS, PeriodError, period

if TYPE_CHECKING:
    from app.cli.ledger_session import LedgerSession

app = typer.Typer(no_args_is_help=True, help="The single calls of the last days.")

_HEADINGS: Final = ("TIME", "OUTCOME", "CLIENT", "MODEL", "KEY", "TOKENS", "COST", "FIRST", "TOTAL", "REQUEST")
_MODELS: Final = 40


class Form(StrEnum):
    CSV = "csv"
    JSONL = "jsonl"


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
PeriodOption = Annotated[str, typer.Option("--period", "-p", metavar="PERIOD", help=f"In UTC: {WORDS}.")]
ClientOption = Annotated[str, typer.Option(help="Only of this client: its id or name.")]
KeyOption = Annotated[str, typer.Option(help="Only those that served or tried this OpenRouter key.")]
ModelOption = Annotated[str, typer.Option(help="Only of this model, asked or served.")]
OutcomeOption = Annotated[str, typer.Option(help="Only served, rescued, failed, refused or left ones.")]
StatusOption = Annotated[int, typer.Option(min=0, max=999, help="Only those answered with this status.")]
SlowOption = Annotated[float, typer.Option("--min-ms", min=0, help="Only those that took at least so long.")]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What was named on the command line; names become ids when the keys are known."""

    words: str = ""
    client: str = ""
    key: str = ""
    rest: dict[str, Any] = field(default_factory=dict)

    def filter(self, session: LedgerSession) -> Filter:
        try:
            since_s, until_s = period(self.words, SystemClock().wall_s()) if self.words else (None, None)
        except PeriodError as error:
            raise CommandFailed(str(error), USAGE) from None
        return Filter(
            since_s=since_s,
            until_s=until_s,
            client_id=session.client_id(self.client) if self.client else "",
            key_id=session.key_id(self.key) if self.key else "",
            **self.rest,
        )


def _wanted(words: str, client: str, key: str, model: str, outcome: str, status: int, min_ms: float) -> _Wanted:
    return _Wanted(words, client, key, {"model": model, "outcome": outcome, "status": status, "min_ms": min_ms})


@app.command("list")
def list_(
    words: PeriodOption = "",
    client: ClientOption = "",
    key: KeyOption = "",
    model: ModelOption = "",
    outcome: OutcomeOption = "",
    status: StatusOption = 0,
    min_ms: SlowOption = 0,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="Most calls shown.")] = 20,
    before: Annotated[str, typer.Option(metavar="PLACE", help="Those older than the place told last.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show the newest calls."""
    from app.cli.ledger_session import run_on_ledger

    wanted = _wanted(words, client, key, model, outcome, status, min_ms)

    async def read(session: LedgerSession) -> tuple[Any, dict[str, str]]:
        return await session.ledger.page(wanted.filter(session), before=before, size=limit), session.names()

    page, names = run_on_ledger(read)
    if as_json:
        lines = [{"place": line.place, **line_view(line)} for line in page.lines]
        say_json({"requests": lines, "older": page.older, "complete": page.complete})
        return
    if page.lines:
        say_table(_HEADINGS, [_row(line, names) for line in page.lines])
    else:
        note("There is no such call.")
    if not page.complete:
        note("The search has stopped before it was through the ledger.")
    if page.older:
        note(f"older ones: --before {page.older}")


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(metavar="ID", help="Of the request, the generation or the entry.")],
    body: Annotated[bool, typer.Option("--body", help="What was asked and answered too, if it is kept.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show all that is known of one call."""
    from app.cli.ledger_session import run_on_ledger

    async def read(session: LedgerSession) -> dict[str, Any]:
        line = await session.ledger.find(name)
        if line is None:
            raise CommandFailed("There is no such call in the ledger.", REFUSED)
        names = session.names()
        view = {"place": line.place, **line_view(line)}
        view["client"] = names.get(line.entry.client_id, "")
        for one in view["tries"]:
            one["key"] = names.get(one["key_id"], "")
        if body:
            kept = await session.bodies.read(line.entry.request_id)
            view["asked"] = None if kept is None else kept.asked.decode("utf-8", "replace")
            view["answered"] = None if kept is None else kept.answered.decode("utf-8", "replace")
        return view

    view = run_on_ledger(read)
    if as_json:
        say_json(view)
        return
    tries, asked, answered = view.pop("tries"), view.pop("asked", None), view.pop("answered", None)
    say_table(
        ("FIELD", "VALUE"), [[field, _text(value)] for field, value in view.items() if value not in ("", [], 0, None)]
    )
    if tries:
        say_table(
            ("TRIED", "RESULT", "MS"),
            [[one["key"] or one["key_id"], one["result"], f"{one['ms']:.0f}"] for one in tries],
        )
    if body:
        say(
            f"asked:\n{_shown(asked)}\nanswered:\n{_shown(answered)}" if asked is not None else "No body is kept of it."
        )


@app.command("tail")
def tail(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes in.")] = False,
    client: ClientOption = "",
    key: KeyOption = "",
    model: ModelOption = "",
    outcome: OutcomeOption = "",
    status: StatusOption = 0,
    min_ms: SlowOption = 0,
    limit: Annotated[int, typer.Option("--lines", "-n", min=0, max=1000, help="How many to begin with.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Show the last calls, one a line, the newest last."""
    from app.cli.ledger_session import run_on_ledger

    wanted = _wanted("", client, key, model, outcome, status, min_ms)

    async def run(session: LedgerSession) -> None:
        names, filter_ = session.names(), wanted.filter(session)
        newest = await session.ledger.newest()
        page = await session.ledger.page(filter_, size=limit) if limit else None
        for line in reversed(page.lines if page is not None else ()):
            _print_line(line, names, as_json=as_json)
            newest = line.place
        if follow:
            async for line in session.ledger.follow(filter_, after=newest):
                _print_line(line, names, as_json=as_json)

    run_on_ledger(run)


@app.command("export")
def export(
    words: PeriodOption = "30d",
    client: ClientOption = "",
    key: KeyOption = "",
    model: ModelOption = "",
    outcome: OutcomeOption = "",
    status: StatusOption = 0,
    min_ms: SlowOption = 0,
    form: Annotated[Form, typer.Option("--format", help="How calls are written.")] = Form.CSV,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Into this file. Default: standard output.")] = None,
) -> None:
    """Write all calls of a period, the oldest first."""
    from app.cli.ledger_session import run_on_ledger

    wanted = _wanted(words, client, key, model, outcome, status, min_ms)

    async def run(session: LedgerSession) -> int:
        lines = session.ledger.lines(wanted.filter(session))
        return await _written(csv_lines(lines) if form is Form.CSV else jsonl(lines), out)

    written = run_on_ledger(run)
    if out is not None:
        note(f"written: {out} ({written} bytes)")


async def _written(pieces: AsyncIterator[bytes], out: Path | None) -> int:
    try:
        file = sys.stdout.buffer if out is None else out.open("wb")
    except OSError as error:
        raise CommandFailed(f"{out} cannot be written: {error.strerror}.", REFUSED) from None
    written = 0
    try:
        async for piece in pieces:
            written += file.write(piece)
    finally:
        file.flush() if out is None else file.close()
    return written


def _print_line(line: Line, names: dict[str, str], *, as_json: bool) -> None:
    import msgspec

    if as_json:
        say(msgspec.json.encode({"place": line.place, **line_view(line)}).decode())
    else:
        say("  ".join(_shown(cell) for cell in _row(line, names)))
    sys.stdout.flush()


def _row(line: Line, names: dict[str, str]) -> list[str]:
    entry = line.entry
    keys = [names.get(one.key_id, one.key_id[:12]) for one in entry.tries] or [names.get(entry.key_id, "-")]
    return [
        instant(entry.at_s)[:19].replace("T", " "),
        f"{entry.outcome} {entry.status}" if entry.status else entry.outcome,
        names.get(entry.client_id, entry.client_id),
        (entry.model or entry.model_asked or "-")[:_MODELS],
        " > ".join(keys),
        f"{entry.input_tokens} > {entry.output_tokens}",
        _cost(line),
        f"{entry.first_token_ms:.0f} ms" if entry.first_token_ms else "-",
        f"{entry.duration_ms:.0f} ms",
        entry.request_id,
    ]


def _cost(line: Line) -> str:
    """With a question mark where it was charged without proof, and behind it what it was corrected to."""
    charged = f"${dollars(line.entry.cost_nano)}{'?' if line.entry.cost_kind == 'unknown' else ''}"
    return charged if line.corrected_nano is None else f"{charged} > ${dollars(line.corrected_nano)}"


def _text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _shown(text: str | None) -> str:
    """Without what could move a terminal's cursor."""
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "?" for sign in text or "")
