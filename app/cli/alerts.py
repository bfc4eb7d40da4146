"""`alerts`: what is due, what somebody should have heard of, and whether messages arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.connect import deed_author
from app.cli.output import REFUSED, USAGE, CommandFailed, instant, note, say, say_json, say_table
from app.models.alerts import ActiveAlert, Alert, Silence
from app.services.alert_states import LONGEST_SILENCE_H, may_be_silenced

if TYPE_CHECKING:
    from app.cli.watch_session import WatchSession

app = typer.Typer(no_args_is_help=True, help="What somebody should have heard of.")

_Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
_SENT_NOWHERE = "They are sent nowhere: set WEBHOOK_URL, or SMTP_URL and ALERT_EMAIL_TO."


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="Most alerts shown.")] = 20,
    as_json: _Json = False,
) -> None:
    """Show what was told, the newest first."""
    from app.cli.watch_session import run_on_watch

    async def read(session: WatchSession) -> tuple[list[Alert], int, bool]:
        alerts = await session.alerts.kept(limit)
        return alerts, await session.alerts.waiting(), bool(session.alerts.receivers)

    alerts, waiting, sends = run_on_watch(read)
    if as_json:
        say_json([_fields(one, one.at_s) for one in alerts])
        return
    if alerts:
        say_table(("TIME", "KIND", "WHAT"), [(instant(one.at_s), one.kind.value, one.title) for one in alerts])
    else:
        note("There was nothing to tell.")
    if not sends:
        note(_SENT_NOWHERE)
    elif waiting:
        note(f"{waiting} wait to be delivered.")


@app.command()
def active(as_json: _Json = False) -> None:
    """Show what is due now, the gravest first."""
    from app.cli.watch_session import run_on_watch

    async def read(session: WatchSession) -> list[ActiveAlert]:
        return await session.alerts.active()

    alerts = run_on_watch(read)
    if as_json:
        say_json(
            [
                {**_fields(one, one.since_s), "silenced_until": _until(one.silenced_until_s), "told": one.is_told}
                for one in alerts
            ]
        )
    elif alerts:
        rows = [(instant(one.since_s), one.gravity.value, one.title, _silent(one), one.id) for one in alerts]
        say_table(("SINCE", "GRAVITY", "WHAT", "SILENT UNTIL", "ID"), rows)
        note("docs/alerts.md says what each kind means and what to do.")
    else:
        note("All is well.")


@app.command("test")
def try_out(
    receiver: Annotated[str, typer.Option("--receiver", "-r", help="Only this one: slack, email, webhook-2 …")] = "",
    as_json: _Json = False,
) -> None:
    """Send a message to every receiver now, or to one of them."""
    from app.cli.watch_session import run_on_watch

    async def send(session: WatchSession) -> tuple[str, list[str]]:
        alerts = session.alerts
        reached = [name for name in alerts.receivers if receiver in ("", name)]
        return await alerts.try_out(alerts.test_alert(deed_author()), receiver), reached

    problem, reached = run_on_watch(send)
    if problem:
        raise CommandFailed(problem, REFUSED)
    if as_json:
        say_json({"taken_by": reached})
    else:
        say(f"It was taken by {', '.join(reached)}.")


@app.command()
def silence(
    what: Annotated[str, typer.Argument(help="An id of `alerts active`, a kind like key_spent, or all.")],
    hours: Annotated[float, typer.Argument(min=0, max=LONGEST_SILENCE_H, help="For how long. 0: no more.")],
    as_json: _Json = False,
) -> None:
    """Send nothing of it for some hours. It is shown all the same, and told afterwards if it lasts."""
    from app.cli.watch_session import run_on_watch

    async def hush(session: WatchSession) -> Silence:
        if hours and not may_be_silenced(what, await session.alerts.active()):
            raise CommandFailed("This is neither an id of `alerts active` nor a kind.", USAGE)
        return await session.alerts.silence(what, hours, by=deed_author())

    made = run_on_watch(hush)
    if as_json:
        say_json({"what": what, "until": instant(made.until_s) if hours else None, "by": made.by})
    else:
        say(f"Silent until {instant(made.until_s)}." if hours else "It is told again.")


@app.command()
def silences(as_json: _Json = False) -> None:
    """Show what is not sent at present. `alerts silence WHAT 0` ends one."""
    from app.cli.watch_session import run_on_watch

    async def read(session: WatchSession) -> list[Silence]:
        return await session.alerts.silences()

    found = run_on_watch(read)
    if as_json:
        say_json([{"what": one.what, "until": instant(one.until_s), "by": one.by} for one in found])
    elif found:
        say_table(("WHAT", "UNTIL", "BY"), [(one.what, instant(one.until_s), one.by) for one in found])
    else:
        note("Nothing is silenced.")


def _fields(one: Alert | ActiveAlert, at_s: float) -> dict[str, Any]:
    return {
        "id": one.id,
        "kind": one.kind.value,
        "gravity": one.gravity.value,
        "at": instant(at_s),
        "title": one.title,
        "text": one.text,
        "subject": one.subject,
        "place": one.place,
        "runbook": one.kind.runbook,
    }


def _until(at_s: float) -> str | None:
    return instant(at_s) if at_s else None


def _silent(one: ActiveAlert) -> str:
    return _until(one.silenced_until_s) or ""
