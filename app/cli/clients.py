"""`clients`: the keys that callers of the gateway use. A key is shown once, when it is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.connect import confirm, deed_author, with_keys
from app.cli.output import USAGE, CommandFailed, client_view, note, say, say_json, say_table
from app.core.clock import SystemClock
from app.models.keys import ClientKey, KeyState

if TYPE_CHECKING:
    from app.services.key_manager import KeyManager

app = typer.Typer(no_args_is_help=True, help="The client keys: who may call the gateway.")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Client = Annotated[str, typer.Argument(metavar="CLIENT", help="Its id, the id's first signs, or its name.")]
Tags = Annotated[
    list[str] | None,
    typer.Option(help='Its calls run only on keys with one of its tags. Repeat for more; "": any key.'),
]
_DAY_S = 86_400


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who or what will call with it.")],
    owner: Annotated[str, typer.Option(help="Whom to ask about it.")] = "",
    expires_days: Annotated[
        int | None, typer.Option(min=1, max=36_500, metavar="DAYS", help="After so many days it ends. Default: never.")
    ] = None,
    tag: Tags = None,
    trace: Annotated[bool, typer.Option("--trace", help="Its answers tell which keys were tried.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a client key and print it, this one time."""
    expires_at = None if expires_days is None else SystemClock().wall_s() + expires_days * _DAY_S
    made = with_keys(
        lambda keys: keys.create_client_key(
            name, owner=owner, expires_at=expires_at, by=deed_author(), changes={"tags": _listed(tag), "trace": trace}
        ),
        makes_secrets=True,
    )
    if as_json:
        say_json({"key": made.secret.reveal()} | client_view(made.record))
        return
    say(made.secret.reveal())
    note(f"This is the key of {made.record.name} (id {made.record.id}). It is not shown again: keep it safe.")


def _listed(words: list[str] | None) -> list[str]:
    return [word for word in words or () if word]


@app.command("set")
def set_(
    client: Client,
    name: Annotated[str | None, typer.Option(help="Who or what calls with it.")] = None,
    owner: Annotated[str | None, typer.Option(help="Whom to ask about it.")] = None,
    tag: Tags = None,
    trace: Annotated[
        bool | None, typer.Option("--trace/--no-trace", help="Whether its answers tell which keys were tried.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Set what a client key may use. What is not named stays as it is."""
    given = {"name": name, "owner": owner, "tags": None if tag is None else _listed(tag), "trace": trace}
    changes = {field: value for field, value in given.items() if value is not None}
    if not changes:
        raise CommandFailed("Nothing to set was named: see `clients set --help`.", USAGE)
    record = with_keys(lambda keys: keys.update_client_key(client, changes, by=deed_author()))
    if as_json:
        say_json(client_view(record))
    else:
        say(f"set: {record.name} ({record.masked}, id {record.id})")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the client keys."""

    async def read(keys: KeyManager) -> list[ClientKey]:
        return sorted(keys.client_keys.values(), key=lambda record: (record.created_at, record.id))

    views = [client_view(record) for record in with_keys(read)]
    if as_json:
        say_json(views)
    elif views:
        columns = ("id", "name", "masked", "owner", "state", "created_at", "expires_at")
        say_table(
            ("ID", "NAME", "KEY", "OWNER", "STATE", "CREATED", "EXPIRES"),
            [[view[column] or "-" for column in columns] for view in views],
        )
    else:
        note("There is no client key yet: openrouter-middleware clients create NAME")


@app.command("revoke")
def revoke(
    name: Client,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Refuse a client key from now on, for good, in every worker within a second."""
    confirm(f"Revoke the client key {name} for good?", yes=yes)
    record = with_keys(lambda keys: keys.set_client_state(name, KeyState.REVOKED, by=deed_author()))
    if as_json:
        say_json(client_view(record))
    else:
        say(f"revoked: {record.name} ({record.masked}, id {record.id})")
