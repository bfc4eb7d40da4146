"""`clients`: the keys that callers of the gateway use. A secret is shown once, when it is made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.connect import confirm, deed_author, with_keys
from app.cli.output import USAGE, CommandFailed, client_view, instant, note, say, say_json, say_table
from app.cli.term_options import (
    Address,
    AlertAt,
    Allow,
    AsJson,
    Clamp,
    Deny,
    Endpoint,
    Enforce,
    Inject,
    KeepBodies,
    LimitWords,
    Note,
    Size,
    Until,
    WhichLimit,
    listed,
    say_record,
    terms_given,
    terms_view,
    when,
)
from app.core.clock import SystemClock
from app.models.keys import ClientKey, KeyState

if TYPE_CHECKING:
    from app.services.client_keys import NewClientKey
    from app.services.key_manager import KeyManager

app = typer.Typer(no_args_is_help=True, help="The client keys: who may call the gateway.")

Client = Annotated[str, typer.Argument(metavar="CLIENT", help="Its id, the id's first signs, or its name.")]
Tags = Annotated[
    list[str] | None,
    typer.Option(help='Its calls run only on keys with one of its tags. Repeat for more; "": any key.'),
]
GroupName = Annotated[str | None, typer.Option(help='The group whose limits and terms it shares. "": none.')]
Expires = Annotated[
    str | None, typer.Option(metavar="WHEN", help='When it ends: 2026-12-01, or from now 12h, 30d. "": never.')
]
_DAY_S = 86_400


class Overlap(StrEnum):
    """How long an old secret stays good."""

    NONE = "0"
    HOUR = "1h"
    DAY = "24h"
    WEEK = "7d"


_OVERLAP_S = {Overlap.NONE: 0, Overlap.HOUR: 3600, Overlap.DAY: _DAY_S, Overlap.WEEK: 7 * _DAY_S}


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who or what will call with it.")],
    owner: Annotated[str, typer.Option(help="Whom to ask about it.")] = "",
    expires_days: Annotated[
        int | None, typer.Option(min=1, max=36_500, metavar="DAYS", help="After so many days it ends. Default: never.")
    ] = None,
    expires: Expires = None,
    group: GroupName = None,
    tag: Tags = None,
    trace: Annotated[bool, typer.Option("--trace", help="Its answers tell which keys were tried.")] = False,
    note_: Note = None,
    allow: Allow = None,
    deny: Deny = None,
    endpoint: Endpoint = None,
    address: Address = None,
    limit: LimitWords = None,
    alert_at: AlertAt = None,
    inject: Inject = None,
    enforce: Enforce = None,
    clamp: Clamp = None,
    keep_bodies: KeepBodies = None,
    as_json: AsJson = False,
) -> None:
    """Make a client key and print it, this one time."""
    if expires_days is not None and expires is not None:
        raise CommandFailed("Give --expires or --expires-days, not both.", USAGE)
    if expires_days is not None:
        expires = f"{expires_days}d"
    changes = _given(None, None, expires, group, tag, trace) | terms_given(
        note=note_, allow=allow, deny=deny, endpoint=endpoint, address=address, limit=limit, alert_at=alert_at,
        inject=inject, enforce=enforce, clamp=clamp, keep_bodies=keep_bodies,
    )  # fmt: skip
    made, view = _made(lambda keys: keys.create_client_key(name, owner=owner, by=deed_author(), changes=changes))
    _say_secret(made, view, as_json=as_json)


def _given(
    name: str | None,
    owner: str | None,
    expires: str | None,
    group: str | None,
    tag: list[str] | None,
    trace: bool | None,
) -> dict[str, Any]:
    given = {"name": name, "owner": owner, "group": group, "tags": listed(tag), "trace": trace}
    changes: dict[str, Any] = {field: value for field, value in given.items() if value is not None}
    if expires is not None:
        changes["expires_at"] = when(expires) if expires else None
    return changes


def _made(work: Callable[[KeyManager], Awaitable[NewClientKey]]) -> tuple[NewClientKey, dict[str, Any]]:
    async def run(keys: KeyManager) -> tuple[NewClientKey, dict[str, Any]]:
        made = await work(keys)
        return made, _view(made.record, keys)

    return with_keys(run, makes_secrets=True)


def _say_secret(made: NewClientKey, view: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        say_json({"key": made.secret.reveal()} | view)
        return
    say(made.secret.reveal())
    note(f"This is the key of {made.record.name} (id {made.record.id}). It is not shown again: keep it safe.")


def _changed(work: Callable[[KeyManager], Awaitable[ClientKey]]) -> dict[str, Any]:
    async def run(keys: KeyManager) -> dict[str, Any]:
        return _view(await work(keys), keys)

    return with_keys(run)


def _view(record: ClientKey, keys: KeyManager) -> dict[str, Any]:
    now_s = SystemClock().wall_s()
    group = keys.groups.get(record.group)
    older = [secret for secret in record.old_secrets if secret.until_s > now_s]
    return {
        **client_view(record),
        "group": record.group if group is None else group.name,
        "old_keys": [{"masked": secret.masked, "until": instant(secret.until_s)} for secret in older],
        **terms_view(record),
    }


@app.command("set")
def set_(
    client: Client,
    name: Annotated[str | None, typer.Option(help="Who or what calls with it.")] = None,
    owner: Annotated[str | None, typer.Option(help="Whom to ask about it.")] = None,
    expires: Expires = None,
    group: GroupName = None,
    tag: Tags = None,
    trace: Annotated[
        bool | None, typer.Option("--trace/--no-trace", help="Whether its answers tell which keys were tried.")
    ] = None,
    note_: Note = None,
    allow: Allow = None,
    deny: Deny = None,
    endpoint: Endpoint = None,
    address: Address = None,
    limit: LimitWords = None,
    alert_at: AlertAt = None,
    inject: Inject = None,
    enforce: Enforce = None,
    clamp: Clamp = None,
    keep_bodies: KeepBodies = None,
    as_json: AsJson = False,
) -> None:
    """Set what a client key may use. What is not named stays as it is."""
    changes = _given(name, owner, expires, group, tag, trace) | terms_given(
        note=note_, allow=allow, deny=deny, endpoint=endpoint, address=address, limit=limit, alert_at=alert_at,
        inject=inject, enforce=enforce, clamp=clamp, keep_bodies=keep_bodies,
    )  # fmt: skip
    if not changes:
        raise CommandFailed("Nothing to set was named: see `clients set --help`.", USAGE)
    view = _changed(lambda keys: keys.update_client_key(client, changes, by=deed_author()))
    _say_deed("set", view, as_json=as_json)


def _say_deed(deed: str, view: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        say_json(view)
    else:
        say(f"{deed}: {view['name']} ({view['masked']}, id {view['id']})")


@app.command("raise")
def raise_(client: Client, limit: WhichLimit, size: Size, until: Until, as_json: AsJson = False) -> None:
    """Raise one limit of a client key for a time. It falls back by itself."""
    until_s = when(until)
    view = _changed(lambda keys: keys.raise_client_limit(client, limit, size, until_s, by=deed_author()))
    _say_deed(f"raised until {instant(until_s)}", view, as_json=as_json)


@app.command("rotate")
def rotate(
    client: Client,
    overlap: Annotated[
        Overlap, typer.Option(help="How long the old secret stays good. 0: it, and older ones, end now.")
    ] = Overlap.DAY,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Give a client key a new secret and print it, this one time."""
    if overlap is Overlap.NONE:
        confirm(f"End the present secret of {client} at once?", yes=yes)
    overlap_s = _OVERLAP_S[overlap]
    made, view = _made(lambda keys: keys.rotate_client_key(client, overlap_s=overlap_s, by=deed_author()))
    _say_secret(made, view, as_json=as_json)
    if not as_json:
        for old in view["old_keys"]:
            note(f"{old['masked']} stays good until {old['until']}.")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the client keys."""

    async def read(keys: KeyManager) -> list[dict[str, Any]]:
        records = sorted(keys.client_keys.values(), key=lambda record: (record.created_at, record.id))
        return [_view(record, keys) for record in records]

    views = with_keys(read)
    if as_json:
        say_json(views)
    elif views:
        columns = ("id", "name", "masked", "owner", "group", "state", "created_at", "expires_at")
        rows = [[view[column] or "-" for column in columns] for view in views]
        for row, view in zip(rows, views, strict=True):
            row[2] = " ".join((row[2], *(f"({old['masked']} until {old['until']})" for old in view["old_keys"])))
        say_table(("ID", "NAME", "KEY", "OWNER", "GROUP", "STATE", "CREATED", "EXPIRES"), rows)
    else:
        note("There is no client key yet: openrouter-middleware clients create NAME")


@app.command("show")
def show(client: Client, as_json: AsJson = False) -> None:
    """Show all that is set of a client key."""

    async def read(keys: KeyManager) -> dict[str, Any]:
        return _view(keys.find_client(client), keys)

    view = with_keys(read)
    if as_json:
        say_json(view)
    else:
        say_record(view)


@app.command("revoke")
def revoke(
    name: Client,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Refuse a client key from now on, for good, in every worker within a second."""
    confirm(f"Revoke the client key {name} for good?", yes=yes)
    view = _changed(lambda keys: keys.set_client_state(name, KeyState.REVOKED, by=deed_author()))
    _say_deed("revoked", view, as_json=as_json)
