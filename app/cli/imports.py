"""`import`: what another gateway kept, as a declarative file on standard output. It changes nothing; `apply` does.

What cannot be carried over stands in the file, at each entry, and in a few words on standard error.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from app.cli.output import NOT_REACHABLE, REFUSED, USAGE, CommandFailed, note, say_json
from app.cli.secret_input import read_many
from app.core.clock import SystemClock

if TYPE_CHECKING:
    from app.services.import_report import Imported

app = typer.Typer(
    no_args_is_help=True,
    help="Make a declarative file of what another gateway kept: import … > gateway.yaml, then plan and apply it.",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
_SEEN: Final = "Every user of the machine can see arguments: with a password, set EARLIER_REDIS_URL instead."
_NEXT: Final = "Look at the file, then: openrouter-middleware plan FILE"


@app.command("earlier")
def earlier(
    context: typer.Context,
    redis_url: Annotated[
        str,
        typer.Option(
            envvar="EARLIER_REDIS_URL",
            show_envvar=True,
            metavar="URL",
            help="Its Redis. With a password in it, set the variable instead.",
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Read the Redis of the earlier middleware (clientkey:*, openrouter:*). Nothing is changed there."""
    from app.core.redis import RedisReplyError, RedisUnavailable
    from app.core.redis_url import RedisUrlError
    from app.services.earlier_store import read_earlier
    from app.services.import_earlier import imported_from

    source = context.get_parameter_source("redis_url")
    if "@" in redis_url and source is not None and source.name == "COMMANDLINE":
        raise CommandFailed(_SEEN, USAGE)
    try:
        found = asyncio.run(read_earlier(redis_url, SystemClock()))
    except RedisUrlError as error:
        raise CommandFailed(f"--redis-url {error}", USAGE) from None
    except (RedisUnavailable, RedisReplyError) as error:
        raise CommandFailed(f"{error}: check --redis-url, and the password in it.", NOT_REACHABLE) from None
    if not (found.clients or found.keys or found.active):
        raise CommandFailed(
            "There is nothing of the earlier middleware in this Redis: is it another /database?", REFUSED
        )
    _say(imported_from(found), "the earlier middleware", as_json=as_json)


@app.command("litellm")
def litellm(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE…",
            help="/key/list?return_full_object=true and /team/list as JSON, or their tables as CSV; config.yaml.",
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Read LiteLLM's exports: keys, teams and its config.yaml, best all together."""
    from app.services.import_litellm import imported_from
    from app.services.litellm_files import Exports, NotLiteLlm

    exports = Exports()
    for file in files:
        try:
            exports.take(read_many(file, "Paste the export, and end with Ctrl-D."))
        except NotLiteLlm as error:
            raise CommandFailed(f"{file} is no export of LiteLLM: {error}.", REFUSED) from None
    _say(imported_from(exports, SystemClock().wall_s()), "LiteLLM", as_json=as_json)


def _say(found: Imported, source: str, *, as_json: bool) -> None:
    from app.services.desired_export import yaml_of

    if as_json:
        say_json({"document": found.document(), "notes": found.told(), "lost": found.lost, "counts": found.counts()})
        return
    header = (f"Made of what {source} kept. No secret is in it.", *found.lost)
    sys.stdout.write(yaml_of(found.document(), header=header, comments=found.comments()))
    counts = found.counts()
    for sentence in found.lost:
        note(sentence)
    note(
        f"{counts['client_keys']} client keys ({counts['disabled']} of them disabled), {counts['groups']} groups, "
        f"{counts['openrouter_keys']} OpenRouter keys; {len(found.comments())} entries with remarks. {_NEXT}"
    )
