"""The command line `openrouter-middleware`: runs the gateway, and works on the keys and the pool of a running one."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from app import __version__
from app.cli import alerts, audit, clients, groups, imports, keys, pool, requests, rotation
from app.cli.backup import backup, restore
from app.cli.doctor import doctor
from app.cli.output import USAGE, CommandFailed, note, say
from app.cli.plan import apply, export, plan
from app.cli.reconcile import reconcile
from app.cli.reseal import reseal
from app.cli.serve import serve
from app.cli.usage import usage

_INTERRUPTED = 130
_SECRET = re.compile(r"sk-or-[A-Za-z0-9_-]{20,}|gw_live_[A-Za-z0-9]{20,}")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
    help="A gateway between a team's programs and OpenRouter.",
)
for _name, _command in rotation.COMMANDS.items():
    keys.app.command(_name)(_command)
app.add_typer(keys.app, name="keys")
app.add_typer(clients.app, name="clients")
app.add_typer(groups.app, name="groups")
app.add_typer(pool.app, name="pool")
app.add_typer(requests.app, name="requests")
app.add_typer(alerts.app, name="alerts")
app.add_typer(audit.app, name="audit")
app.add_typer(imports.app, name="import")
app.command("usage")(usage)
app.command("backup")(backup)
app.command("restore")(restore)
app.command("doctor")(doctor)
app.command("reseal")(reseal)
app.command("plan")(plan)
app.command("apply")(apply)
app.command("export")(export)
app.command("reconcile")(reconcile)
app.command("serve")(serve)


def _say_version(wanted: bool) -> None:
    if wanted:
        say(f"openrouter-middleware {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """What comes before a command."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. 0 done, 1 refused, 2 wrong usage or settings, 3 Redis or gateway not reachable. `plan` ends
    with 2 where there is something to do.
    """
    # Failures are told in one sentence here; `serve` sets up the real log.
    logging.getLogger().addHandler(logging.NullHandler())
    words = list(sys.argv[1:] if arguments is None else arguments)
    if any(_SECRET.search(word) for word in words):
        note(
            "openrouter-middleware: keys are read from standard input or --file, never from the arguments, which "
            "every user of the machine can see. Take the key in this command as leaked, and replace it."
        )
        return USAGE
    try:
        code = int(app(words, prog_name="openrouter-middleware", standalone_mode=False) or 0)
        sys.stdout.flush()
        return code
    except CommandFailed as failure:
        note(f"openrouter-middleware: {failure}")
        return failure.code
    except typer.TyperException as error:
        return _explain_usage(error)
    except (typer.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read has heard enough; what is left unwritten must not be tried again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _explain_usage(error: typer.TyperException) -> int:
    if message := error.format_message().removesuffix("."):  # there is none where the help was printed
        note(f"openrouter-middleware: {message}. See `openrouter-middleware --help`.")
    return error.exit_code
