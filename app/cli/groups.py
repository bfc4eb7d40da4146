"""`groups`: what clients share. The group `gateway` holds the terms of all of them together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.connect import confirm, deed_author, with_keys
from app.cli.output import USAGE, CommandFailed, instant, note, say, say_json, say_table
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
    say_record,
    terms_given,
    terms_view,
    when,
)
from app.models.limits import GATEWAY_GROUP, Group

if TYPE_CHECKING:
    from app.services.key_manager import KeyManager

app = typer.Typer(no_args_is_help=True, help="Groups of clients that share limits and other terms.")

Name = Annotated[
    str, typer.Argument(metavar="GROUP", help=f"Its name or id; {GATEWAY_GROUP} is the group of all clients.")
]


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called.")],
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
    """Make a group. Clients join it with `clients set CLIENT --group NAME`."""
    changes = terms_given(
        note=note_, allow=allow, deny=deny, endpoint=endpoint, address=address, limit=limit, alert_at=alert_at,
        inject=inject, enforce=enforce, clamp=clamp, keep_bodies=keep_bodies,
    )  # fmt: skip
    _say_deed("made", lambda keys: keys.create_group(name, by=deed_author(), changes=changes), as_json=as_json)


@app.command("set")
def set_(
    group: Name,
    name: Annotated[str | None, typer.Option(help="What it is called.")] = None,
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
    """Set what a group's clients may use together. What is not named stays as it is."""
    changes = terms_given(
        note=note_, allow=allow, deny=deny, endpoint=endpoint, address=address, limit=limit, alert_at=alert_at,
        inject=inject, enforce=enforce, clamp=clamp, keep_bodies=keep_bodies,
    )  # fmt: skip
    if name is not None:
        changes["name"] = name
    if not changes:
        raise CommandFailed("Nothing to set was named: see `groups set --help`.", USAGE)
    _say_deed("set", lambda keys: keys.update_group(group, changes, by=deed_author()), as_json=as_json)


@app.command("raise")
def raise_(group: Name, limit: WhichLimit, size: Size, until: Until, as_json: AsJson = False) -> None:
    """Raise one limit of a group for a time. It falls back by itself."""
    until_s = when(until)
    _say_deed(
        f"raised until {instant(until_s)}",
        lambda keys: keys.raise_group_limit(group, limit, size, until_s, by=deed_author()),
        as_json=as_json,
    )


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the groups."""

    async def read(keys: KeyManager) -> list[dict[str, Any]]:
        return [_view(group, keys) for group in sorted(keys.groups.values(), key=lambda one: (one.created_at, one.id))]

    views = with_keys(read)
    if as_json:
        say_json(views)
    elif views:
        rows = [
            [view["id"], view["name"], str(view["clients"]), ", ".join(view["limits"]) or "-", view["note"] or "-"]
            for view in views
        ]
        say_table(("ID", "NAME", "CLIENTS", "LIMITS", "NOTE"), rows)
    else:
        note("There is no group yet: openrouter-middleware groups create NAME")


@app.command("show")
def show(group: Name, as_json: AsJson = False) -> None:
    """Show all that is set of a group."""

    async def read(keys: KeyManager) -> dict[str, Any]:
        return _view(keys.find_group(group), keys)

    view = with_keys(read)
    if as_json:
        say_json(view)
    else:
        say_record(view)


@app.command("delete")
def delete(
    group: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete a group that no client belongs to."""
    confirm(f"Delete the group {group}?", yes=yes)
    _say_deed("deleted", lambda keys: keys.delete_group(group, by=deed_author()), as_json=as_json)


def _say_deed(deed: str, work: Callable[[KeyManager], Awaitable[Group]], *, as_json: bool) -> None:
    async def run(keys: KeyManager) -> dict[str, Any]:
        return _view(await work(keys), keys)

    view = with_keys(run)
    if as_json:
        say_json(view)
    else:
        say(f"{deed}: {view['name']} (id {view['id']})")


def _view(group: Group, keys: KeyManager) -> dict[str, Any]:
    """As people and programs may see it. All clients belong to the gateway's group."""
    everybody = group.id == GATEWAY_GROUP
    return {
        "id": group.id,
        "name": group.name,
        "created_at": instant(group.created_at),
        "clients": sum(everybody or client.group == group.id for client in keys.client_keys.values()),
        **terms_view(group),
    }
