"""`backup` and `restore`: everything that is not a cache in one sealed file, and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import filesize

from app import __version__
from app.cli.connect import confirm, deed_author
from app.cli.output import REFUSED, CommandFailed, instant, note, progress, say, say_json, say_table

if TYPE_CHECKING:
    from app.cli.backup_session import StoreSession
    from app.services.backup import Written
    from app.services.restore import Compared
    from app.services.sealed_file import SealedReader

_PERCENT = 100
_MOST_SHOWN = 100

_File = Annotated[Path, typer.Argument(metavar="FILE", show_default=False)]
_Phrase = Annotated[
    Path | None,
    typer.Option("--passphrase-file", metavar="PATH", help="Its first line; else BACKUP_PASSPHRASE, else asked for."),
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def backup(
    file: _File,
    passphrase_file: _Phrase = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it is there.")] = False,
    as_json: _Json = False,
) -> None:
    """Write everything into one sealed file: keys, clients, groups, people, settings, books and audit.

    Gateways may run meanwhile. Each record in it is whole, and the audit is whole up to its last link; what changes
    while it is written is in it or not. Not in it: sessions of the panel, kept bodies, caches, and the secrets of this
    machine (.env, DATA_DIR), for it is restored with those of the machine that takes it.
    """
    from app.cli.backup_session import passphrase, run_on_store
    from app.services.sealed_file import SealedWriter

    if file.exists() and not force:
        raise CommandFailed(f"{file} is there already: --force replaces it.", REFUSED)
    phrase = passphrase(passphrase_file, new=True)

    async def work(session: StoreSession) -> Written:
        one = await session.backup()
        await session.note(deed_author(), "backup", file.name)
        survey = await one.survey()
        with (
            SealedWriter(file, phrase, release=__version__, made_s=session.clock.wall_s()) as sealed,
            progress("writing", _PERCENT) as step,
        ):
            done = 0

            def count(rows: int) -> None:
                nonlocal done
                before, done = done, done + rows
                total = max(1, survey.rows)
                for _ in range(done * _PERCENT // total - before * _PERCENT // total):
                    step()

            return await one.write(sealed, survey, __version__, count)

    written = run_on_store(work)
    if as_json:
        told = {"names": written.names, "rows": written.rows, "bytes": written.size, "broken": list(written.broken)}
        say_json({"file": str(file), **told})
    else:
        say(f"{file}: {written.rows} records, {filesize.decimal(written.size)}")
        note("Whoever has it and its passphrase has every key: keep them apart. Without the passphrase it is lost.")
    if written.broken:
        note(f"{len(written.broken)} secrets do not open on this machine, and will not after a restore.")


def restore(
    file: _File,
    passphrase_file: _Phrase = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    look: Annotated[bool, typer.Option("--look", help="Only show what would change. Gateways may run.")] = False,
    as_json: _Json = False,
) -> None:
    """Make the store what it was when a backup was made, on this machine or on another one.

    Reads all of the file, shows what would change, asks, and replaces everything: what was added since is gone, what
    was revoked since is good again. No gateway may run. Until the last step the store stays as it was.
    """
    from app.cli.backup_session import passphrase, run_on_store
    from app.services.sealed_file import SealedReader

    phrase = passphrase(passphrase_file, new=False)

    async def work(session: StoreSession) -> None:
        with SealedReader(file, phrase) as sealed:
            one = session.restore()
            with progress("reading", sealed.parts) as step:
                compared = await one.compare(sealed, step)
            if not as_json:
                _show(compared)
            broken = None if look else await _replace(session, sealed, compared, yes=yes)
        if as_json:
            say_json(_view(compared) | {"restored": not look, "broken": broken or 0})
        elif not look:
            say("Restored: start the gateways.")
            if broken:
                note(f"{broken} secrets did not open on the machine of the backup, and do not here.")

    run_on_store(work, alone=not look)


async def _replace(session: StoreSession, sealed: SealedReader, compared: Compared, *, yes: bool) -> int:
    if count := await session.restore().running():
        raise CommandFailed(
            f"{count} gateway processes run on this store: stop them first. One that was killed is forgotten after "
            "20 seconds. Nothing was changed.",
            REFUSED,
        )
    confirm(f"Replace everything in this store by the backup of {instant(compared.begin.made_s)}?", yes=yes)
    with progress("restoring", sealed.parts) as step:
        return await session.restore().replace(sealed, step, by=deed_author(), known_mark=session.known_mark)


def _show(compared: Compared) -> None:
    begin, found = compared.begin, compared.difference
    say(f"Backup of {instant(begin.made_s)}, made by release {begin.release}")
    if found.changes:
        rows = [(one.sign.value, one.kind, one.name, ", ".join(one.fields)) for one in found.changes[:_MOST_SHOWN]]
        say_table(("WHAT", "KIND", "NAME", "FIELDS"), rows)
    else:
        say("Keys, clients, groups, people and settings are the same as now.")
    if len(found.changes) > _MOST_SHOWN:
        say(f"… and {len(found.changes) - _MOST_SHOWN} more: --json tells all of them. Altogether:")
        say_table(
            ("WHAT", "KIND", "HOW MANY"),
            [(sign.value, kind, str(count)) for (kind, sign), count in sorted(found.counts.items())],
        )
    say_table(("", "NOW", "BACKUP"), [(label, str(now), str(then)) for label, now, then in found.others()])
    if revived := [one.name for one in found.changes if one.revives]:
        names = ", ".join(revived[:10]) + (" …" if len(revived) > 10 else "")
        note(f"Good again, although switched off or revoked since: {names}")
    if compared.brings_pepper:
        note("The backup is from a machine with other secrets: its client keys go on being good here.")


def _view(compared: Compared) -> dict[str, Any]:
    found = compared.difference
    changes = [
        {"change": one.sign.value, "kind": one.kind, "id": one.id, "name": one.name, "fields": list(one.fields),
         "good_again": one.revives}
        for one in found.changes
    ]  # fmt: skip
    others = {label: {"now": now, "backup": then} for label, now, then in found.others()}
    begin = compared.begin
    return {"made_at": instant(begin.made_s), "release": begin.release, "changes": changes, "others": others}
