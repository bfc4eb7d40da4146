"""How the command line speaks: results on standard output, everything else on standard error. Knows no store."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from app.models.keys import ClientKey, OpenRouterKey

REFUSED: Final = 1
USAGE: Final = 2
NOT_REACHABLE: Final = 3
NANO: Final = 1_000_000_000  # nano-dollars in a dollar

_WIDE: Final = 240  # columns where no terminal says how many there are: a file or a pipe is not to be wrapped
_SHORT_ID: Final = 12


class CommandFailed(Exception):  # noqa: N818 - a condition
    """The command ends with a sentence for people, and this exit code."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.code = code


def say(text: str) -> None:
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    from app.core.security import redact

    sys.stderr.write(redact(text) + "\n")


def say_json(value: object) -> None:
    say(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


@contextmanager
def progress(what: str, count: int) -> Iterator[Callable[[], None]]:
    """A bar in a terminal, to be moved on by calling; nothing for programs."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=count)
        yield lambda: bar.advance(task)


def say_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns that grow with their content; in a terminal they fold to its width."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else _WIDE, highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_plain(cell)) for cell in row))
    console.print(table)


def _plain(text: str) -> str:
    """Without what could move a terminal's cursor."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def openrouter_view(record: OpenRouterKey) -> dict[str, Any]:
    """An OpenRouter key as people and programs may see it."""
    return {
        "id": record.id,
        "masked": record.masked,
        "label": record.label,
        "kind": record.kind.value,
        "state": record.state.value,
        "added_at": instant(record.added_at),
        "note": record.note,
        "tags": list(record.tags),
        "weight": record.weight,
        "tier": record.tier,
        "models_allowed": list(record.models_allowed),
        "models_denied": list(record.models_denied),
        "max_rpm": record.max_rpm,
        "max_in_flight": record.max_in_flight,
        "max_usd_day": None if record.max_day_nano is None else record.max_day_nano / NANO,
        "account": record.account,
    }


def client_view(record: ClientKey) -> dict[str, Any]:
    """A client key as people and programs may see it."""
    return {
        "id": record.id,
        "name": record.name,
        "masked": record.masked,
        "owner": record.owner,
        "state": record.state.value,
        "created_at": instant(record.created_at),
        "expires_at": instant(record.expires_at) if record.expires_at is not None else None,
        "tags": list(record.tags),
        "trace": record.trace,
    }


def instant(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def short(record_id: str) -> str:
    """As much of an id as a person needs to name the record."""
    return record_id if record_id.startswith("ck_") else record_id[:_SHORT_ID]
