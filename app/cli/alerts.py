"""`alerts`: what somebody should have heard of, and whether messages arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.output import REFUSED, CommandFailed, instant, note, say, say_json, say_table
from app.models.alerts import Alert, AlertKind

if TYPE_CHECKING:
    from app.cli.watch_session import WatchSession

app = typer.Typer(no_args_is_help=True, help="What somebody should have heard of.")


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="Most alerts shown.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Show the newest alerts."""
    from app.cli.watch_session import run_on_watch

    async def read(session: WatchSession) -> tuple[list[Alert], int, bool]:
        alerts = await session.alerts.kept(limit)
        return alerts, await session.alerts.waiting(), bool(session.settings.webhook_url)

    alerts, waiting, sends = run_on_watch(read)
    if as_json:
        say_json(
            [
                {"id": one.id, "kind": one.kind.value, "at": instant(one.at_s), "title": one.title, "text": one.text}
                for one in alerts
            ]
        )
        return
    if alerts:
        say_table(("TIME", "KIND", "WHAT"), [(instant(one.at_s), one.kind.value, one.title) for one in alerts])
    else:
        note("There was nothing to tell.")
    if not sends:
        note("They are sent nowhere: set WEBHOOK_URL.")
    elif waiting:
        note(f"{waiting} wait to be delivered.")


@app.command("test")
def test() -> None:
    """Send a message to WEBHOOK_URL now."""
    from app.cli.watch_session import run_on_watch

    async def send(session: WatchSession) -> str:
        now_s = session.clock.wall_s()
        return await session.alerts.try_out(
            Alert(id=f"test:{now_s:.3f}", kind=AlertKind.TEST, at_s=now_s, subject="", title="A test of the alerts")
        )

    problem = run_on_watch(send)
    if problem:
        raise CommandFailed(problem, REFUSED)
    say("It was taken.")
