"""`pool`: how the OpenRouter keys stand and what comes next, the strategy, and marks taken away by hand. Talks, and
decides nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from app.cli.connect import deed_author
from app.cli.output import NANO, USAGE, CommandFailed, instant, note, say, say_json, say_table
from app.models.keys import USUAL_WEIGHT
from app.models.marks import Scope
from app.services.forecast import in_words
from app.services.key_picture import KeyPicture, MarkPicture, accounts_warning, incident_likely, marked_models
from app.services.selection import Strategy

if TYPE_CHECKING:
    from app.cli.pool_session import PoolSession

app = typer.Typer(no_args_is_help=True, help="How the OpenRouter keys are used, and how they are.")

_Result = TypeVar("_Result")
_SHOWN: Final = 16
_HEADINGS: Final = ("KEY", "STATE", "MARKS", "LEFT", "NEXT", "ACCOUNT", "SET")
_INCIDENT: Final = (
    "OpenRouter refuses keys that have nothing to do with each other (401): this looks like a fault of its own. "
    "No key is disabled for it; probes bring them back."
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Name = Annotated[str, typer.Argument(metavar="KEY", help="Its id, the id's first 6 or more signs, or its label.")]


def _on_pool(work: Callable[[PoolSession], Awaitable[_Result]]) -> _Result:
    from app.cli.pool_session import run_on_pool

    return run_on_pool(work)


@app.command("status")
def status(as_json: AsJson = False) -> None:
    """Show each key: what it is good for now, its marks, its money, and what comes next."""

    async def look(session: PoolSession) -> tuple[tuple[KeyPicture, ...], tuple[MarkPicture, ...], str, float]:
        now_s = session.clock.wall_s()
        models = marked_models(session.marks.in_force(), now_s)
        return session.pictures(), models, _strategy_view(session)["strategy"], now_s

    pictures, models, strategy, now_s = _on_pool(look)
    warning, incident = accounts_warning(pictures), incident_likely(pictures)
    if as_json:
        say_json(
            {
                "strategy": strategy,
                "warning": warning,
                "incident": incident,
                "keys": [picture_view(picture) for picture in pictures],
                "models": [_mark_view(mark) for mark in models],
            }
        )
        return
    if not pictures:
        note("There is no OpenRouter key yet: openrouter-middleware keys add")
        return
    say_table(*_told(_HEADINGS, [_row(picture, now_s) for picture in pictures]))
    note(f"strategy: {strategy}")
    for mark in models:
        note(f"exhausted at its providers: {mark.subject}{_until(mark, now_s)} (shuts no key out)")
    for sentence in (warning, _INCIDENT if incident else ""):
        if sentence:
            note(sentence)


@app.command("strategy")
def strategy(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help=f"{', '.join(Strategy)}.")] = "",
    default: Annotated[bool, typer.Option("--default", help="Back to POOL_STRATEGY.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show how the next key is chosen, or switch it, in all workers and at once."""
    if name and default:
        raise CommandFailed("A strategy and --default exclude each other.", USAGE)
    if name and name not in list(Strategy):
        raise CommandFailed(f"There is no strategy {name!r}: it is one of {', '.join(Strategy)}.", USAGE)

    async def work(session: PoolSession) -> dict[str, Any]:
        from app.services.switches import Switch

        if name or default:
            await session.switches.set(Switch.STRATEGY, name or None, deed_author())
        return _strategy_view(session)

    view = _on_pool(work)
    if as_json:
        say_json(view)
    else:
        say(f"{view['strategy']} ({'switched at run time' if view['switched'] else 'from POOL_STRATEGY'})")


def _strategy_view(session: PoolSession) -> dict[str, Any]:
    from app.services.switches import Switch

    switched = session.switches.get(Switch.STRATEGY)
    return {
        "strategy": switched or session.settings.pool_strategy,
        "switched": bool(switched),
        "default": session.settings.pool_strategy,
        "choices": list(Strategy),
    }


@app.command("clear")
def clear(
    name: Name,
    all_: Annotated[
        bool, typer.Option("--all", help="The marks on its account and workspace too, which hit their other keys.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Take the mark away from a key. The next call tries it out; if it is refused again, it is marked again."""

    async def work(session: PoolSession) -> tuple[KeyPicture, list[MarkPicture]]:
        key_id = session.keys.find_openrouter(name).id
        picture = next(picture for picture in session.pictures() if picture.id == key_id)
        cleared = [mark for mark in picture.marks if all_ or mark.scope is Scope.KEY]
        for mark in cleared:
            session.marks.clear(mark.scope, mark.subject, deed_author())
        await session.marks.flush()
        return picture, cleared

    picture, cleared = _on_pool(work)
    left = [mark for mark in picture.marks if mark not in cleared]
    if as_json:
        say_json(
            {
                "id": picture.id,
                "cleared": [_mark_view(mark) for mark in cleared],
                "left": [_mark_view(mark) for mark in left],
            }
        )
        return
    for mark in cleared:
        say(f"cleared: {_named(picture)}: {_mark_words(mark)}")
    if not cleared:
        note(f"{_named(picture)} bears no mark of its own.")
    if left:
        scopes = ", ".join(dict.fromkeys(_mark_words(mark) for mark in left))
        note(f"Left: {scopes}. --all takes these away too, from the other keys as well.")


def picture_view(picture: KeyPicture) -> dict[str, Any]:
    """A key's picture for programs: dollars and instants instead of nano-dollars and seconds."""
    coming = picture.forecast
    return {
        "id": picture.id,
        "masked": picture.masked,
        "label": picture.label,
        "standing": picture.standing.value,
        "state": picture.state.value,
        "kind": picture.kind.value,
        "account": picture.account,
        "workspace": picture.workspace,
        "tags": list(picture.tags),
        "weight": picture.weight,
        "tier": picture.tier,
        "marks": [_mark_view(mark) for mark in picture.marks],
        "probed_at": _at(picture.probed_at),
        "limit_usd": _usd(picture.limit_nano),
        "limit_reset": picture.limit_reset,
        "left_usd": _usd(picture.available_nano),
        "balance_usd": _usd(picture.balance_nano),
        "used_usd": _usd(picture.usage_nano),
        "used_today_usd": _usd(picture.usage_daily_nano),
        "free_calls_left": picture.free_remaining,
        "expires_at": _at(picture.expires_at),
        "usd_per_h": _usd(coming.nano_per_h),
        "dry_in_s": coming.dry_in_s,
        "resets_in_s": coming.resets_in_s,
        "expires_in_s": coming.expires_in_s,
        "outlook": list(picture.outlook),
    }


def _mark_view(mark: MarkPicture) -> dict[str, Any]:
    return {
        "scope": mark.scope.value,
        "subject": mark.subject,
        "kind": mark.kind.value,
        "reason": mark.reason,
        "at": instant(mark.at_s),
        "until": _at(mark.until_s),
        "by": mark.by,
    }


def _usd(nano: int | None) -> float | None:
    return None if nano is None else nano / NANO


def _at(at_s: float | None) -> str | None:
    return None if at_s is None else instant(at_s)


def _row(picture: KeyPicture, now_s: float) -> tuple[str, ...]:
    marks = "; ".join(_mark_words(mark) + _until(mark, now_s) for mark in picture.marks)
    return (
        _named(picture),
        picture.standing.value,
        marks or "-",
        _left(picture),
        ", ".join(picture.outlook) or "-",
        " / ".join(_cut(part) for part in (picture.account, picture.workspace) if part) or "-",
        _set(picture),
    )


def _told(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """Without the columns that tell nothing of any key."""
    columns = [number for number in range(len(headings)) if any(row[number] != "-" for row in rows)]
    return [headings[number] for number in columns], [[row[number] for number in columns] for row in rows]


def _named(picture: KeyPicture) -> str:
    return picture.label or picture.masked


def _mark_words(mark: MarkPicture) -> str:
    """`key_limit`, `free_minute (free models)`, `budget spent (workspace)`: its kind is in the key's state."""
    if mark.family:
        return f"{mark.reason} ({mark.family.lstrip(':')} models)"
    return mark.reason if mark.scope is Scope.KEY else f"{mark.reason} ({mark.scope.value})"


def _until(mark: MarkPicture, now_s: float) -> str:
    return " until cleared" if mark.until_s is None else f" {in_words(mark.until_s - now_s)}"


def _left(picture: KeyPicture) -> str:
    """Of the key's own limit or the budget that blocks first; of the account's credits where a probe may see them."""
    parts: list[str] = []
    if picture.available_nano is not None:
        limit = "" if picture.limit_nano is None else f" of {_money(picture.limit_nano)}"
        parts.append(f"{_money(picture.available_nano)}{limit} {picture.limit_reset}".rstrip())
    if picture.balance_nano is not None:
        parts.append(f"account: {_money(picture.balance_nano)}")
    return ", ".join(parts) or ("no limit" if picture.probed_at is not None else "-")


def _money(nano: int) -> str:
    return f"${nano / NANO:,.2f}"


def _set(picture: KeyPicture) -> str:
    parts: Iterable[str] = (
        *picture.tags,
        f"weight {picture.weight}" if picture.weight != USUAL_WEIGHT else "",
        f"tier {picture.tier}" if picture.tier else "",
    )
    return " ".join(part for part in parts if part) or "-"


def _cut(text: str) -> str:
    return f"{text[: _SHOWN - 1]}…" if len(text) > _SHOWN else text
