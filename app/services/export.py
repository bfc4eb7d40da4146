"""Calls and sums as CSV and JSON lines, in pieces: a ledger of any length passes through a bounded memory."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from app.models.ledger import Entry
from app.services.cells import Figures
from app.services.insight_plan import Answer
from app.services.ledger_filter import Line
from app.services.spreadsheet import safe_cell

_PIECE: Final = 64 * 1024
_DOLLAR: Final = 10**9
_RENAMED: Final = {
    "at_s": "at", "cost_nano": "cost_usd", "upstream_nano": "upstream_usd", "reserved_nano": "reserved_usd",
}  # fmt: skip
_COLUMNS: Final = (*(_RENAMED.get(name, name) for name in Entry.__struct_fields__), "corrected_usd")


def entry_view(entry: Entry, corrected_nano: int | None = None) -> dict[str, Any]:
    """An entry for programs: instants, and dollars as exact decimals in text. `corrected_usd` is what a call costs that
    was first charged `cost_usd` without proof; None where nothing was corrected.
    """
    fields = {name: getattr(entry, name) for name in Entry.__struct_fields__}
    view = dict(zip(_COLUMNS, (*fields.values(), None), strict=True))
    view["corrected_usd"] = None if corrected_nano is None else dollars(corrected_nano)
    view["at"] = instant(entry.at_s)
    for name in ("cost", "upstream", "reserved"):
        view[f"{name}_usd"] = dollars(fields[f"{name}_nano"])
    view["tries"] = [{"key_id": one.key_id, "result": one.result, "ms": one.ms} for one in entry.tries]
    view["flags"] = list(entry.flags)
    return view


def line_view(line: Line) -> dict[str, Any]:
    return entry_view(line.entry, line.corrected_nano)


def figures_view(figures: Figures) -> dict[str, Any]:
    """Sums for programs."""
    counted = ("served", "rescued", "failed", "refused", "left", "unknown")
    tokens = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
    ended = max(1, figures.requests)
    return {
        "requests": figures.requests,
        **{name: getattr(figures, name) for name in (*counted, *tokens)},
        "cost_usd": dollars(figures.cost_nano),
        "upstream_usd": dollars(figures.upstream_nano),
        "first_token_ms": round(figures.first_token_ms / figures.first_tokens, 1) if figures.first_tokens else None,
        "duration_ms": round(figures.duration_ms / ended, 1),
        "overhead_ms": round(figures.overhead_us / ended / 1000, 3),
    }


async def jsonl(lines: AsyncIterator[Line]) -> AsyncIterator[bytes]:
    """One JSON object a line."""
    piece = bytearray()
    async for line in lines:
        piece += msgspec.json.encode(line_view(line)) + b"\n"
        if len(piece) >= _PIECE:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)


async def csv_lines(lines: AsyncIterator[Line]) -> AsyncIterator[bytes]:
    """RFC 4180, with a line of headings."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    async for line in lines:
        view = line_view(line)
        view["tries"] = " ".join(f"{one.key_id}:{one.result}:{one.ms:g}" for one in line.entry.tries)
        view["flags"] = " ".join(line.entry.flags)
        writer.writerow([safe_cell(value) for value in view.values()])
        if text.tell() >= _PIECE:
            yield _taken(text)
    yield _taken(text)


def usage_csv(answer: Answer, names: Mapping[str, str] | None = None) -> Iterator[bytes]:
    """The rows of an answer, or without a grouping its buckets of time."""
    text = io.StringIO()
    writer = csv.writer(text)
    for row in _usage_rows(answer, names or {}):
        writer.writerow([safe_cell(value) for value in row])
        if text.tell() >= _PIECE:
            yield _taken(text)
    yield _taken(text)


def _usage_rows(answer: Answer, names: Mapping[str, str]) -> Iterable[Sequence[Any]]:
    headings = list(figures_view(Figures()))
    if not answer.by:
        yield ["since", *headings]
        for start_s, figures in zip(answer.starts_s, answer.series, strict=True):
            yield [instant(start_s), *figures_view(figures).values()]
        return
    yield [*answer.by, *headings]
    for row in answer.rows:
        yield [*(names.get(value, value) for value in row.values), *figures_view(row.figures).values()]


def _taken(text: io.StringIO) -> bytes:
    piece = text.getvalue().encode()
    text.seek(0)
    text.truncate()
    return piece


def dollars(nano: int) -> str:
    """Exact, without zeros at the end."""
    whole, rest = divmod(abs(nano), _DOLLAR)
    sign = "-" if nano < 0 else ""
    return f"{sign}{whole}.{rest:09d}".rstrip("0").rstrip(".")


def instant(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
