"""What `clients` and `groups` have in common: the options for limits and other terms, and how terms are shown."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app.cli.output import REFUSED, CommandFailed, say_table
from app.core.clock import SystemClock
from app.models.limits import Injection, Terms
from app.services.key_fields import injection_of
from app.services.key_names import KeyRefused
from app.services.limit_words import instant_of, limit_of, words_of

_REPEAT = 'Repeat for more; "" for none.'
_LIMIT = (
    "How much: usd/month=25, requests/minute=60, tokens/day=1000000, concurrent=8; then, if wanted, ;models=openai/* "
    ";each-user ;shadow ;raise=100@2026-12-01. All limits are named anew."
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Note = Annotated[str | None, typer.Option("--note", help="Whatever is to be remembered.")]
Allow = Annotated[list[str] | None, typer.Option(help=f"Models like openai/*; others not. {_REPEAT}")]
Deny = Annotated[list[str] | None, typer.Option(help=f"Models that are refused. {_REPEAT}")]
Endpoint = Annotated[
    list[str] | None, typer.Option(help=f"Classes of paths: chat, embeddings, images, …, all; others not. {_REPEAT}")
]
Address = Annotated[
    list[str] | None, typer.Option(metavar="NETWORK", help=f"Where calls may come from: 192.0.2.0/24. {_REPEAT}")
]
LimitWords = Annotated[list[str] | None, typer.Option(metavar="LIMIT", help=f"{_LIMIT} {_REPEAT}")]
AlertAt = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PERCENT", help='Of a money limit, at which somebody is told. "": the usual ones; none: never.'
    ),
]
Inject = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FIELD=VALUE",
        help=f"Written into calls that have none: user=team-a. With --enforce all is named anew. {_REPEAT}",
    ),
]
Enforce = Annotated[
    list[str] | None,
    typer.Option(metavar="FIELD=VALUE", help='Written over what calls have: provider.data_collection="deny".'),
]
Clamp = Annotated[
    bool | None,
    typer.Option("--clamp/--no-clamp", help="Lower max_tokens to what the money left pays for, instead of refusing."),
]
KeepBodies = Annotated[
    bool | None,
    typer.Option("--keep-bodies/--no-keep-bodies", help="Keep what is asked and answered, for a short time."),
]
WhichLimit = Annotated[str, typer.Argument(metavar="LIMIT", help="usd/month, or with what follows: usd/day;models=…")]
Size = Annotated[str, typer.Argument(metavar="SIZE", help="How much until then.")]
Until = Annotated[str, typer.Option(metavar="WHEN", help="2026-12-01, 2026-12-01T18:00Z (UTC), or from now: 12h, 7d.")]


def terms_given(
    *,
    note: str | None,
    allow: list[str] | None,
    deny: list[str] | None,
    endpoint: list[str] | None,
    address: list[str] | None,
    limit: list[str] | None,
    alert_at: list[str] | None,
    inject: list[str] | None,
    enforce: list[str] | None,
    clamp: bool | None,
    keep_bodies: bool | None,
) -> dict[str, Any]:
    """The changes that the options name. Raises CommandFailed."""
    given: dict[str, Any] = {
        "note": note,
        "models_allowed": listed(allow),
        "models_denied": listed(deny),
        "endpoints": listed(endpoint),
        "addresses": listed(address),
        "clamp": clamp,
        "keep_bodies": keep_bodies,
    }
    changes = {field: value for field, value in given.items() if value is not None}
    now_s = SystemClock().wall_s()
    try:
        if limit is not None:
            changes["limits"] = [limit_of(words, now_s) for words in limit if words]
        if inject is not None or enforce is not None:
            changes["injections"] = _injections(inject, enforced=False) + _injections(enforce, enforced=True)
    except KeyRefused as refusal:
        raise CommandFailed(str(refusal), REFUSED) from None
    if alert_at is not None:
        changes["alerts_at"] = _percents(alert_at)
    return changes


def listed(words: list[str] | None) -> list[str] | None:
    """Without the empty word, which stands for none."""
    return None if words is None else [word for word in words if word]


def when(text: str) -> float:
    """Raises CommandFailed."""
    try:
        return instant_of(text, SystemClock().wall_s())
    except KeyRefused as refusal:
        raise CommandFailed(str(refusal), REFUSED) from None


def _injections(words: list[str] | None, *, enforced: bool) -> list[Injection]:
    return [injection_of(word, enforced=enforced) for word in listed(words) or ()]


def _percents(words: list[str]) -> list[int] | None:
    if words == ["none"]:
        return []
    try:
        return [int(word.removesuffix("%")) for word in words if word] or None
    except ValueError:
        raise CommandFailed("--alert-at takes a percentage from 1 to 100, or none.", REFUSED) from None


def terms_view(terms: Terms) -> dict[str, Any]:
    """As people and programs may see them."""
    now_s = SystemClock().wall_s()
    return {
        "note": terms.note,
        "models_allowed": list(terms.models_allowed),
        "models_denied": list(terms.models_denied),
        "endpoints": list(terms.endpoints),
        "addresses": list(terms.addresses),
        "limits": [words_of(limit, now_s) for limit in terms.limits],
        "alerts_at": None if terms.alerts_at is None else list(terms.alerts_at),
        "injections": [{"field": one.field, "value": one.value, "enforced": one.enforced} for one in terms.injections],
        "clamp": terms.clamp,
        "keep_bodies": terms.keep_bodies,
    }


def say_record(view: dict[str, Any]) -> None:
    """What is set in a view, for people: a line for each value."""
    rows: list[tuple[str, str]] = []
    for field, value in view.items():
        if value in (None, "", [], False):
            continue
        values = value if isinstance(value, list) else [value]
        names = [field.replace("_", " "), *[""] * (len(values) - 1)]
        rows += zip(names, map(_cell, values), strict=True)
    say_table(("FIELD", "VALUE"), rows)


def _cell(value: object) -> str:
    if value is True:
        return "yes"
    if isinstance(value, dict) and "field" in value:
        return f"{value['field']}={value['value']}{' (enforced)' if value['enforced'] else ''}"
    if isinstance(value, dict):
        return f"{value['masked']} until {value['until']}"
    return str(value)
