"""`usage`: what was used and what it cost, over any period, by client, group, key, account, model or provider."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from app.cli.output import USAGE, CommandFailed, note, say_json, say_table
from app.core.clock import SystemClock
from app.services.cells import Figures, Step, short_key
from app.services.export import dollars, figures_view, instant, usage_csv
from app.services.insight_plan import Answer, Dimension, Order, Query
from app.services.period import WORDS, PeriodError, period

if TYPE_CHECKING:
    from app.cli.ledger_session import LedgerSession

_ORDERS: Final = {order.name.lower(): order for order in Order}
_HEADINGS: Final = ("REQUESTS", "RESCUED", "FAILED", "TOKENS IN", "OUT", "COST", "FIRST", "TOTAL")
_SECOND_MS: Final = 1000

Only = Annotated[list[str] | None, typer.Option(help="Only these. Repeat for more.")]
Periods = Annotated[str, typer.Option("--period", "-p", metavar="PERIOD", help=f"In UTC: {WORDS}.")]


def usage(
    words: Periods = "7d",
    by: Annotated[str, typer.Option(help=f"One or two of {', '.join(Dimension)}, by a comma.")] = "",
    step: Annotated[Step | None, typer.Option(help="Tell it over time, in such steps.")] = None,
    top: Annotated[int, typer.Option(min=1, max=1000, help="Most rows; what is left is one row `other`.")] = 10,
    order: Annotated[str, typer.Option(help=f"The first rows are first by {', '.join(_ORDERS)}.")] = "cost",
    compare: Annotated[bool, typer.Option("--compare", help="Beside the period of the same length before.")] = False,
    client: Only = None,
    group: Only = None,
    key: Only = None,
    account: Only = None,
    model: Only = None,
    provider: Only = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Show what was used and what it cost."""
    query = _query(words, by, step, top, order, compare=compare)
    only = {
        Dimension.CLIENT: client, Dimension.GROUP: group, Dimension.KEY: key, Dimension.ACCOUNT: account,
        Dimension.MODEL: model, Dimension.PROVIDER: provider,
    }  # fmt: skip
    answer, names = _asked(query, {dimension: values for dimension, values in only.items() if values})
    if as_json:
        say_json(_view(answer, names))
    elif as_csv:
        for piece in usage_csv(answer, names):
            sys.stdout.write(piece.decode())
    else:
        _show(answer, names, over_time=step is not None and not query.by)


def _query(words: str, by: str, step: Step | None, top: int, order: str, *, compare: bool) -> Query:
    """Raises CommandFailed."""
    try:
        since_s, until_s = period(words, SystemClock().wall_s())
        dimensions = tuple(Dimension(word.strip()) for word in by.split(",") if word.strip())
        return Query(
            since_s=since_s,
            until_s=until_s,
            step=step,
            by=dimensions,
            top=top,
            order=_ORDERS[order],
            compare=compare,
            spans=True,
        )
    except PeriodError as error:
        raise CommandFailed(str(error), USAGE) from None
    except ValueError:
        raise CommandFailed(f"Usage is told by {', '.join(Dimension)}.", USAGE) from None
    except KeyError:
        raise CommandFailed(f"Rows are ordered by {', '.join(_ORDERS)}.", USAGE) from None


def _asked(query: Query, only: dict[Dimension, list[str]]) -> tuple[Answer, dict[str, str]]:
    import msgspec

    from app.cli.ledger_session import run_on_ledger

    async def ask(session: LedgerSession) -> tuple[Answer, dict[str, str]]:
        where = {dimension: tuple(_ids(session, dimension, values)) for dimension, values in only.items()}
        return await session.insight.answer(msgspec.structs.replace(query, where=where)), session.names()

    return run_on_ledger(ask)


def _ids(session: LedgerSession, dimension: Dimension, values: Sequence[str]) -> Sequence[str]:
    """The names that people use as those of cells."""
    if dimension is Dimension.CLIENT:
        return [session.client_id(name) for name in values]
    if dimension is Dimension.KEY:
        return [short_key(session.key_id(name)) for name in values]
    return values


def _view(answer: Answer, names: dict[str, str]) -> dict[str, Any]:
    return {
        "since": instant(answer.since_s),
        "until": instant(answer.until_s),
        "step": answer.step.value,
        "complete": answer.complete,
        "spans": answer.spans,
        "total": figures_view(answer.total),
        "before": None if answer.before is None else figures_view(answer.before),
        "rows": [
            {
                "by": dict(zip(answer.by, row.values, strict=True)),
                "name": ", ".join(names.get(value, value) for value in row.values),
                **figures_view(row.figures),
                "spans": row.spans,
                "before": None if row.before is None else figures_view(row.before),
            }
            for row in answer.rows
        ],
        "series": [
            {"since": instant(start_s), **figures_view(figures)}
            for start_s, figures in zip(answer.starts_s, answer.series, strict=True)
        ],
    }


def _show(answer: Answer, names: dict[str, str], *, over_time: bool) -> None:
    titles = ["SINCE"] if over_time else [dimension.upper() for dimension in answer.by] or [""]
    rows: list[list[str]] = []
    if over_time:
        for start_s, figures in zip(answer.starts_s, answer.series, strict=True):
            rows.append([instant(start_s)[:16].replace("T", " "), *_cells(figures)])
    else:
        rows += [
            [*(names.get(value, value) or "-" for value in row.values), *_cells(row.figures)] for row in answer.rows
        ]
    blank = [""] * (len(titles) - 1)
    rows.append(["total", *blank, *_cells(answer.total)])
    if answer.before is not None:
        rows.append(["before", *blank, *_cells(answer.before)])
    say_table((*titles, *_HEADINGS), rows)
    note(f"from {instant(answer.since_s)[:16]}Z to {instant(answer.until_s)[:16]}Z, by the {answer.step}")
    for word, told in (("first token", answer.spans.first_token), ("whole call", answer.spans.duration)):
        if told is not None:
            note(f"{word}: half within {_ms(told.p50_ms)}, 95 % within {_ms(told.p95_ms)}")
    if answer.spans.overhead is not None:
        note(f"the gateway itself: half within {answer.spans.overhead.p50_ms:.2f} ms")
    if not answer.complete:
        note("Not complete: there were more kinds of calls than are kept apart, and some may fit these filters.")


def _cells(figures: Figures) -> list[str]:
    view = figures_view(figures)
    return [
        str(figures.requests), str(figures.rescued), str(figures.failed), str(figures.input_tokens),
        str(figures.output_tokens), f"${dollars(figures.cost_nano)}", _ms(view["first_token_ms"]),
        _ms(view["duration_ms"] if figures.requests else None),
    ]  # fmt: skip


def _ms(ms: float | None) -> str:
    if ms is None:
        return "-"
    return f"{ms:.0f} ms" if ms < _SECOND_MS else f"{ms / _SECOND_MS:.1f} s"
