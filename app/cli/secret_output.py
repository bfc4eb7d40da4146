"""New secrets on their way out: into a file that nobody else can read, or shown once on standard output."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from app.cli.output import REFUSED, CommandFailed

if TYPE_CHECKING:
    from app.services.client_keys import NewClientKey

# Not to block: a pipe that nobody reads would hang before it can be refused.
_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
_OWNER_ONLY: Final = 0o600
_OTHERS: Final = 0o077


class SecretOutput(Protocol):
    """Takes each new secret at once. Raises OSError."""

    def take(self, made: NewClientKey) -> None: ...


class ShownSecrets:
    """For people: a line each, the secret first."""

    def take(self, made: NewClientKey) -> None:
        sys.stdout.write(f"{made.secret.reveal()}  {made.record.name}\n")
        sys.stdout.flush()


class GatheredSecrets:
    """For programs: told with everything else at the end."""

    def __init__(self) -> None:
        self.told: list[dict[str, str]] = []

    def take(self, made: NewClientKey) -> None:
        self.told.append(_told(made))


class SecretFile:
    """A JSON object a line, on the disk before anything else is done."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def take(self, made: NewClientKey) -> None:
        line = msgspec.json.encode(_told(made)) + b"\n"
        while line:
            line = line[os.write(self._fd, line) :]
        os.fsync(self._fd)


@contextlib.contextmanager
def secret_file(path: Path) -> Iterator[SecretFile]:
    """Made with rights for its owner alone; added to where it is there. Raises CommandFailed."""
    try:
        fd = os.open(path, _FLAGS, _OWNER_ONLY)
    except OSError as error:
        raise CommandFailed(f"{path} cannot be written: {error.strerror}. Nothing was changed.", REFUSED) from None
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode) or mode & _OTHERS:
            raise CommandFailed(
                f"{path} is there already, and not for its owner's eyes alone: chmod 600 it, or name another file. "
                "Nothing was changed.",
                REFUSED,
            )
        yield SecretFile(fd)
    finally:
        os.close(fd)


def _told(made: NewClientKey) -> dict[str, str]:
    return {"name": made.record.name, "id": made.record.id, "key": made.secret.reveal()}
