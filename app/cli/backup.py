"""`openrouter-middleware backup` and `restore`: everything in one sealed file, and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.connect import confirm, deed_author
from app.cli.output import REFUSED, CommandFailed, progress, say, say_json

if TYPE_CHECKING:
    from app.cli.backup_session import CopySession
    from app.services.backup_diff import Picture

_File = Annotated[Path, typer.Argument(metavar="FILE", show_default=False)]
_Phrase = Annotated[Path | None, typer.Option("--passphrase-file", help="Else BACKUP_PASSPHRASE, else asked for.")]
_Json = Annotated[bool, typer.Option("--json", help="For programs.")]


def backup(
    file: _File,
    passphrase_file: _Phrase = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE.")] = False,
    as_json: _Json = False,
) -> None:
    """Write everything into one sealed file: keys, clients, groups, people, books, and the secrets that open them.

    Gateways may run meanwhile. It is no snapshot: what changes while it is written is in it or not, each record whole.
    Calls that are not booked yet are in DATA_DIR/journal.
    """
    from app.cli.backup_session import passphrase, run_on_copy
    from app.services.backup_file import BackupWriter

    if file.exists() and not force:
        raise CommandFailed(f"{file} is there already: --force overwrites it.", REFUSED)
    phrase = passphrase(passphrase_file, twice=True)

    async def work(session: CopySession) -> tuple[int, int]:
        names = await session.copy.names()
        writer = BackupWriter(file, phrase)
        try:
            writer.add(["head", session.clock.wall_s(), session.secrets(), len(names)])
            with progress("reading", len(names)) as step:
                for name in names:
                    async for block in session.copy.blocks([name]):
                        writer.add(block)
                    step()
            return len(names), writer.finish()
        finally:
            writer.abort()

    count, size = run_on_copy(work)
    if as_json:
        say_json({"file": str(file), "names": count, "bytes": size})
    else:
        say(f"{file}: {size / 1e6:.1f} MB. Whoever has it and the passphrase has every key: keep them apart.")


def restore(
    file: _File,
    passphrase_file: _Phrase = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    look: Annotated[bool, typer.Option("--look", help="Only show what would change.")] = False,
    secrets_out: Annotated[
        Path | None, typer.Option("--secrets-out", help="Write the backup's secrets there (.env form, 0600), and end.")
    ] = None,
    as_json: _Json = False,
) -> None:
    """Make the store what it was: shows what would change, asks, and replaces everything.

    No gateway may run. This machine needs the secrets of the backup: on a new one without settings they are put into
    DATA_DIR, else --secrets-out writes them for its .env. A restore that was ended half way is simply run again.
    """
    from app.cli.backup_session import passphrase, run_on_copy
    from app.services.backup_diff import changes, counted

    phrase = passphrase(passphrase_file, twice=False)
    if secrets_out is not None:
        _write_secrets(secrets_out, _head(file, phrase)["secrets"])
        say(f"{secrets_out}: put these lines into the .env of the new machine, and delete the file.")
        return

    async def work(session: CopySession) -> None:
        head = _head(file, phrase)
        then, now = _picture_of(file, phrase), await _picture_now(session)
        found = changes(now, then)
        if as_json:
            say_json([{"sign": one.sign, "kind": one.kind, "name": one.name} for one in found])
        else:
            _show(found, counted(found), head, now, then)
        if look:
            return
        if session.running:
            raise CommandFailed(f"{session.running} gateway processes run on this store: stop them first.", REFUSED)
        _take_secrets(session, head["secrets"])
        confirm("Replace everything?", yes=yes)
        await _put_back(session, file, phrase)

    run_on_copy(work, private=not look)


def _blocks(file: Path, phrase: str) -> Any:
    from app.services import backup_file

    return backup_file.read(file, phrase)


def _head(file: Path, phrase: str) -> dict[str, Any]:
    from app.services.backup_file import BackupBroken

    for block in _blocks(file, phrase):
        word, at_s, secrets, count = block
        if word != "head":
            break
        return {"at_s": at_s, "secrets": dict(secrets), "count": count}
    raise CommandFailed(str(BackupBroken("This backup has no head.")), REFUSED)


def _picture_of(file: Path, phrase: str) -> Picture:
    """Reads the file to its end: a restore begins only with one that is whole."""
    from app.services.backup_diff import Picture

    picture = Picture()
    for number, block in enumerate(_blocks(file, phrase)):
        if number:
            picture.take(block)
    return picture


async def _picture_now(session: CopySession) -> Picture:
    from app.services.backup_diff import Picture

    picture = Picture()
    for name in await session.copy.names():
        async for block in session.copy.blocks([name]):
            picture.take(block)
    return picture


def _show(found: Any, counts: Any, head: dict[str, Any], now: Picture, then: Picture) -> None:
    from app.cli.output import instant

    say(f"The backup was made at {instant(head['at_s'])}.")
    for one in found[:_MOST_SHOWN]:
        say(f"{one.sign} {one.kind} {one.name}")
    if len(found) > _MOST_SHOWN:
        rest = ", ".join(f"{sign}{count} {kind}s" for (kind, sign), count in sorted(counts.items()))
        say(f"… in all: {rest}")
    if not found:
        say("The same keys, clients, groups and accounts as now.")
    say(f"Books, audit and the rest: {len(now.others)} names now, {len(then.others)} in the backup.")


_MOST_SHOWN = 100


def _take_secrets(session: CopySession, secrets: dict[str, str]) -> None:
    """Raises CommandFailed where this machine has others, and they are set by hand."""
    if session.secrets() == secrets:
        return
    settings = session.settings
    if (
        settings.embedded_redis
        and not settings.session_secret_key.get_secret_value()
        and not any(
            secrets[name] or getattr(settings, name).get_secret_value()
            for name in ("encryption_keys", "client_key_pepper")
        )
    ):
        path = settings.data_dir / "session-secret"
        path.unlink(missing_ok=True)
        _write(path, secrets["session_secret_key"] + "\n")
        return
    raise CommandFailed(
        "This machine has other secrets than the backup: with them no key would open. `restore FILE --secrets-out "
        "restored.env` writes those of the backup; put them into .env, and run this again.",
        REFUSED,
    )


async def _put_back(session: CopySession, file: Path, phrase: str) -> None:
    from app.models.accounts import Account
    from app.services.audit import Audit
    from app.services.audit_chain import Deed
    from app.services.people_store import Register

    await session.copy.clear()
    count = _head(file, phrase)["count"]
    seen: set[bytes] = set()
    with progress("restoring", count) as step:
        for number, block in enumerate(_blocks(file, phrase)):
            if not number:
                continue
            await session.copy.put(block)
            if block[0] not in seen:
                seen.add(block[0])
                step()
    # What this machine remembers is the store from before: it is meant to be another one now.
    session.mark_file().unlink(missing_ok=True)
    register = Register(session.redis, Audit(session.redis), session.redis.keys.people("accounts"), Account)
    await register.note(
        Deed(at=session.clock.wall_s(), by=deed_author(), deed="restore", kind="gateway", id="store", name=file.name,
             before="", after="")
    )  # fmt: skip
    say("Restored. Start the gateways.")


def _write_secrets(path: Path, secrets: dict[str, str]) -> None:
    _write(path, "".join(f"{name.upper()}={value}\n" for name, value in secrets.items() if value))


def _write(path: Path, text: str) -> None:
    import os

    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
