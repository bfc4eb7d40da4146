"""`reconcile`: the gateway's books beside OpenRouter's, for one UTC day."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from app.cli.output import USAGE, CommandFailed, note, say_json, say_table
from app.models.books import Comparison, Finding
from app.services.money import dollars

if TYPE_CHECKING:
    from app.cli.watch_session import WatchSession

_IN_WORDS: Final = {
    Finding.AGREES: "agrees",
    Finding.ELSEWHERE: "used elsewhere too",
    Finding.TOO_MUCH: "the gateway's books say too much",
    Finding.CORRECTED: "unknown costs were corrected",
    Finding.NOT_COMPARED: "not compared: nobody tells",
}


def reconcile(
    day: Annotated[str, typer.Option(metavar="DAY", help="Such as 2026-11-22, in UTC. Else today so far.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Compare the books with OpenRouter's now. Unknown costs are corrected where the sums prove them."""
    from app.cli.watch_session import run_on_watch

    async def compare(session: WatchSession) -> tuple[list[Comparison], dict[str, str]]:
        today = datetime.fromtimestamp(session.clock.wall_s(), UTC).date()
        found = await session.reconciliation.run(_day(day) if day else today)
        return found, {key.id: key.label or key.masked for key in session.keys.openrouter_keys.values()}

    found, names = run_on_watch(compare)
    if as_json:
        say_json([
            {
                "day": one.day, "key_id": one.key_id, "finding": one.finding.value, "source": one.source,
                "own_usd": dollars(one.own_nano), "unknown_usd": dollars(one.unknown_nano),
                "openrouter_usd": None if one.theirs_nano is None else dollars(one.theirs_nano),
            }
            for one in found
        ])  # fmt: skip
        return
    if not found:
        note("There is no OpenRouter key to compare.")
        return
    say_table(("KEY", "GATEWAY", "OPENROUTER", "FINDING"), [_row(one, names) for one in found])
    if any(one.finding is Finding.NOT_COMPARED for one in found):
        note("Completed days are told by a management key of the same account: openrouter-middleware keys add.")


def _row(one: Comparison, names: dict[str, str]) -> tuple[str, ...]:
    theirs = "" if one.theirs_nano is None else f"${dollars(one.theirs_nano)}"
    return names.get(one.key_id, one.key_id[:12]), f"${dollars(one.own_nano)}", theirs, _IN_WORDS[one.finding]


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise CommandFailed("A day looks like 2026-11-22.", USAGE) from None
